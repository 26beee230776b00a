"""Mixes the kinds into one stream, and writes it: training shards, the kind detector's rows, the held-out tasks.

    python -m training.data.examples shards WORK --count 40       # WORK/shard-0000.npz …, easy ones first
    python -m training.data.examples kinds OUT.jsonl --rows 64000  # for TaskMaster's kind detector
    python -m training.data.examples sample WORK                   # what the tokenizer learns from
    python -m training.data.examples heldout OUT.jsonl --rows 150  # the evaluation set of a kind

Every row follows from its number: `row(n, split)` is the same on every machine.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from ..tokenizer import END, PASS, Tokenizer
from . import beyond, classify, email_parse, extract_value, json_field, key_value, status_update
from .words import HELD_OUT, TRAIN, seeded

KINDS = {m.KIND: m for m in (json_field, email_parse, classify, key_value, extract_value, status_update)}
SHARES = (("json_field", 14), ("classify", 4), ("key_value", 18), ("extract_value", 27), ("email_parse", 7), ("status_update", 17), (None, 13))
ROWS_A_SHARD = 10_000
MAX_BYTES = 800


def content(example):
    """What the model reads as the user's turn."""
    text = example["description"]
    if example.get("prompt"):
        text += "\n\n" + example["prompt"]
    if example.get("categories"):
        text += "\n\nCategories: " + ", ".join(example["categories"])
    return text


def make(kind, rng, split, hardness=1.0):
    module = KINDS.get(kind, beyond)
    while True:
        example = module.example(rng, split, hardness)
        if example and example["kind"] == kind and 0 < len(content(example).encode()) <= MAX_BYTES and (example["answer"] is None or 0 < len(example["answer"]) < 300):
            example.setdefault("categories", None)
            return example


def row(number, split, hardness=1.0):
    rng = seeded("row", split, number)
    kinds, shares = zip(*SHARES)
    return make(rng.choices(kinds, shares)[0], rng, split, hardness)


def encode(tokenizer, example):
    """(tokens, which of them are to be learned)"""
    tokens, learned = [], []
    turns = [(content(example), example["answer"])] + example.get("more", [])
    for i, (text, answer) in enumerate(turns):
        prompt = (tokenizer.encode("\n") if i else []) + tokenizer.prompt(text)
        target = [PASS] if answer is None else tokenizer.encode(answer) + [END]
        tokens += prompt + target
        learned += [0] * len(prompt) + [1] * len(target)
    return tokens, learned


def hardness_of(shard):
    return min(1.0, 0.2 + shard * 0.1)


def shard(number, path, tokenizer):
    tokens, learned, ends = [], [], []
    for i in range(ROWS_A_SHARD):
        ids, mask = encode(tokenizer, row(number * ROWS_A_SHARD + i, TRAIN, hardness_of(number)))
        tokens += ids
        learned += mask
        ends.append(len(tokens))
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, tokens=np.array(tokens, dtype=np.uint16), learned=np.array(learned, dtype=np.uint8), ends=np.array(ends))
    os.replace(temporary, path)
    return len(tokens) / ROWS_A_SHARD


def parameters(example):
    found = {}
    if example["prompt"]:
        found["prompt"] = example["prompt"]
    if example["categories"]:
        found["categories"] = example["categories"]
    return found


def task_type(example, rng):
    """What somebody might have written there; for what is beyond, often one of the kinds."""
    if example["kind"]:
        return example["kind"]
    return rng.choice(list(KINDS)) if rng.random() < 0.5 else rng.choice(("generate", "reasoning", "summarize", "chat", "translate", "code", "question", "analysis"))


def kinds_rows(count):
    shares = (("train", 0.84), ("calibration", 0.08), ("heldout", 0.08))
    for split, share in shares:
        for i in range(int(count * share)):
            rng = seeded("kinds", split, i)
            kind = rng.choice(list(KINDS) + [None] * 4)
            e = make(kind, rng, split)
            yield {"task_type": task_type(e, rng), "description": e["description"], "parameters": parameters(e), "kind": e["kind"], "why": e.get("why"), "split": split}


def held_out_rows(count):
    for kind in KINDS:
        for i in range(count):
            rng = seeded("evaluation", kind, i)
            e = make(kind, rng, HELD_OUT)
            yield {"task": {"task_type": kind, "description": e["description"], "parameters": parameters(e)}, "expected": e["answer"]}


def write_lines(path, rows):
    temporary = Path(str(path) + ".tmp")
    with open(temporary, "w", encoding="utf-8") as out:
        for r in rows:
            out.write(json.dumps(r, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("what", choices=("shards", "kinds", "sample", "heldout"))
    args.add_argument("out", type=Path)
    args.add_argument("--count", type=int, default=40)
    args.add_argument("--first", type=int, default=0)
    args.add_argument("--rows", type=int)
    args = args.parse_args()
    if args.what == "shards":
        tokenizer = Tokenizer.load()
        args.out.mkdir(parents=True, exist_ok=True)
        for n in range(args.first, args.first + args.count):
            path = args.out / f"shard-{n:04}.npz"
            if not path.exists():
                print(path.name, "tokens a row:", shard(n, path, tokenizer), flush=True)
    elif args.what == "kinds":
        write_lines(args.out, kinds_rows(args.rows or 64_000))
    elif args.what == "heldout":
        write_lines(args.out, held_out_rows(args.rows or 150))
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        rows = (row(i, TRAIN) for i in range(10 ** 9, 10 ** 9 + (args.rows or 25_000)))
        write_lines(args.out / "tokenizer-sample.jsonl", ({"content": content(e), "answer": e["answer"]} for e in rows))


if __name__ == "__main__":
    main()
