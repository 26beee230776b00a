"""What the scripts promise, in a few seconds: `python -m training.tests.test_training`."""

import json
import random

from ..data import words
from ..data.examples import KINDS, content, encode, row
from ..decode import Choice, JsonOfSpans, Span
from ..drill import drill
from ..tokenizer import Tokenizer


def a_row_follows_from_its_number():
    assert all(row(n, "train") == row(n, "train") for n in range(20))


def no_word_is_in_two_splits():
    parts = words.NOUNS.parts
    assert not set(parts["train"]) & set(parts["heldout"]) and not set(parts["train"]) & set(parts["calibration"])


def text_survives_the_tokenizer():
    tokenizer = Tokenizer.load()
    for text in ("  two  spaces\n\ttab 12,345.6 it's 'status' ", "naïve 日本語 🙂 e\u0301 ½"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def a_word_is_cut_alike_wherever_it_stands():
    tokenizer = Tokenizer.load()
    alone = tokenizer.encode("shipment")
    for text in (" shipment", '"shipment"', "(shipment)", "42shipment"):
        ids = tokenizer.encode(text)
        assert any(ids[i:i + len(alone)] == alone for i in range(len(ids)))


def what_is_to_be_learned_is_the_answer_and_its_end():
    tokenizer = Tokenizer.load()
    for n in range(200):
        example = row(n, "train")
        ids, learned = encode(tokenizer, example)
        first = next(i for i, flag in enumerate(learned) if flag)
        assert ids[:first] == tokenizer.prompt(content(example)) and learned[-1] == 1


def the_answers_have_the_shapes_of_their_kinds():
    for n in range(400):
        example = row(n, "train")
        if example["kind"] in ("key_value", "email_parse"):
            keys = ("sender", "subject") if example["kind"] == "email_parse" else None
            assert JsonOfSpans(content(example), keys).whole(example["answer"].encode()), example
        elif example["kind"] in ("json_field", "extract_value"):
            assert Span(content(example)).whole(example["answer"].encode()), example
        elif example["kind"] == "classify":
            choices = example["categories"]
            assert (Choice(choices) if choices else Span(content(example))).whole(example["answer"].encode()), example
        elif example["kind"] is None:
            assert example["answer"] is None


def a_shape_refuses_what_is_not_in_the_input():
    shape = JsonOfSpans("From: a@b.example\nSubject: Hi", ("sender", "subject"))
    assert shape.fits(b'{"sender":"a@b') and not shape.fits(b'{"sender":"c@') and not shape.fits(b'{"subject')
    assert shape.whole(json.dumps({"sender": "a@b.example", "subject": "Hi"}, separators=(",", ":")).encode())


def drills_keep_their_length():
    tokenizer, rng = Tokenizer.load(), random.Random(1)
    assert all(len(drill(tokenizer, length, rng)[0]) <= length for length in (56, 112, 400) for _ in range(50))


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if callable(test) and getattr(test, "__module__", None) == __name__:
            test()
            print("ok", name.replace("_", " "))
    assert len(KINDS) == 6
