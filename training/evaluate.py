"""Measures a model per kind, on the held-out split or the calibration split, and on what lies beyond it.

    python -m training.evaluate MODEL [--split heldout] [--rows 300] [--show 5]

MODEL is a GGUF or a checkpoint. Where models/ghost-tiny.toml (or --table) gives thresholds, the figures are those of
the answers above them; without, every answer counts.
"""

import argparse
import json
import tomllib
from collections import defaultdict
from pathlib import Path

import torch

from .data import beyond, classify, email_parse, extract_value, json_field, key_value, status_update
from .data.examples import KINDS, MAX_BYTES, content, make
from .data.words import seeded
from .decode import answer_all, load_gguf, shape_of
from .model import load
from .tokenizer import Tokenizer

# The kind that a prompt beyond the model is most easily mistaken for.
NEAREST = {beyond.over_json: "json_field", json_field.absent: "json_field", extract_value.absent: "extract_value", beyond.over_text: "extract_value", beyond.over_pairs: "key_value", beyond.over_mail: "email_parse", beyond.unsorted: "classify"}


def open_model(path):
    return load_gguf(path) if str(path).endswith(".gguf") else load(path)[0]


def interval(good, count):
    """Wilson's 95 % interval."""
    if not count:
        return 0.0, 1.0
    z, p = 1.96, good / count
    middle, half = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def in_kind(kind, split, count, salt="measure"):
    return [make(kind, seeded(salt, kind, i), split) for i in range(count)]


def outside(split, count, salt="measure"):
    """[(example, kind under which it arrives)]"""
    out, i = [], 0
    while len(out) < count:
        rng = seeded(salt, "beyond", i)
        i += 1
        well = rng.choice(beyond.WELLS)
        example = well(rng, split, 1.0)
        if example and example["kind"] is None and len(content(example).encode()) <= MAX_BYTES:
            out.append((example, NEAREST.get(well) or rng.choice(list(KINDS))))
    return out


def right(kind, expected, given):
    if kind in ("key_value", "email_parse"):
        try:
            return json.loads(given) == json.loads(expected)
        except ValueError:
            return False
    return given == expected


def run(model, tokenizer, examples):
    """`examples`: [(example, kind)] → [(example, kind, answer, confidence, correct)]"""
    items = [(content(e), shape_of(kind, content(e), e.get("categories"))) for e, kind in examples]
    results = answer_all(model, tokenizer, items)
    return [(e, kind, text, sure, e["answer"] is not None and right(kind, e["answer"], text)) for (e, kind), (text, sure, _) in zip(examples, results)]


def thresholds(path):
    path = Path(path)
    if not path.exists():
        return defaultdict(float)
    return {k: v["min_confidence"] for k, v in tomllib.loads(path.read_text())["kinds"].items()}


def figures(results, limits):
    """{kind: (answered, correct, all)}, and of beyond (answered, all)"""
    table, leaked, outside_count = {}, 0, 0
    for example, kind, _, sure, correct in results:
        given = sure >= limits[kind]
        if example["answer"] is None:
            outside_count += 1
            leaked += given
        else:
            a, c, n = table.get(kind, (0, 0, 0))
            table[kind] = (a + given, c + (given and correct), n + 1)
    return table, (leaked, outside_count)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("model")
    args.add_argument("--split", default="heldout")
    args.add_argument("--rows", type=int, default=300)
    args.add_argument("--show", type=int, default=0, help="so many wrong answers of each kind")
    args.add_argument("--table", default="models/ghost-tiny.toml")
    args = args.parse_args()
    torch.set_num_threads(1)
    tokenizer, model = Tokenizer.load(), open_model(args.model)
    examples = [(e, kind) for kind in KINDS for e in in_kind(kind, args.split, args.rows)] + outside(args.split, 2 * args.rows)
    results = run(model, tokenizer, examples)
    limits = thresholds(args.table)
    table, (leaked, count) = figures(results, limits)
    print(f"{'kind':15} {'n':>5} {'precision':>10} {'95 % interval':>17} {'coverage':>9} {'all right':>9}")
    for kind, (answered, correct, n) in table.items():
        low, high = interval(correct, answered)
        exact = sum(c for e, k, _, _, c in results if k == kind and e["answer"] is not None) / n
        print(f"{kind:15} {n:5} {correct / max(1, answered):10.3f} {low:8.3f}–{high:.3f}  {answered / n:9.3f} {exact:9.3f}")
    print(f"beyond: {leaked} of {count} answered")
    if args.show:
        shown = defaultdict(int)
        for example, kind, text, sure, correct in sorted(results, key=lambda r: -r[3]):
            group = kind if example["answer"] is not None else "beyond"
            if correct or (group == "beyond" and sure < limits[kind]) or shown[group] >= args.show:
                continue
            shown[group] += 1
            print(f"\n[{group} as {kind}, {sure:.2f}] {content(example)}\n  wanted {example['answer']!r}\n  given  {text!r}")


if __name__ == "__main__":
    main()
