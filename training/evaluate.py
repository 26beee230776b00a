"""Measures a model: per kind on the held-out tasks, and on the prompts that lie beyond it.

    python -m training.evaluate MODEL [--table models/ghost-tiny.toml] [--show 5]

MODEL is a GGUF or a checkpoint. With a table only the answers at or above its thresholds count as given; with
`--table none` every answer does. The Rust side measures the same files through llama.cpp: `make eval-slm`.
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


HELD_OUT = Path("models/eval/held-out.jsonl")
BEYOND = Path("tests/data/beyond.jsonl")


def rows_of(path):
    """[(example, kind under which it arrives)] of a file of tasks."""
    out = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        task = row.get("task", row)
        given = task.get("parameters", {})
        example = {"description": task["description"], "prompt": given.get("prompt"), "categories": given.get("categories"), "answer": row.get("expected")}
        # A type that is none of the kinds gets the loosest shape.
        out.append((example, task["task_type"] if task["task_type"] in KINDS else "extract_value"))
    return out


def report(results, limits):
    table, (leaked, count) = figures(results, limits)
    lines = ["| kind | tasks | answered | precision (95 % interval) | coverage (95 % interval) |", "|---|---|---|---|---|"]
    for kind, (answered, correct, n) in table.items():
        (low, high), (less, more) = interval(correct, answered), interval(answered, n)
        lines.append(f"| `{kind}` | {n} | {answered} | {correct / max(1, answered):.3f} ({low:.3f}–{high:.3f}) | {answered / n:.3f} ({less:.3f}–{more:.3f}) |")
    low, high = interval(leaked, count)
    lines.append(f"\nBeyond: {leaked} of {count} prompts end as its answer ({leaked / max(1, count):.3f}, {low:.3f}–{high:.3f}).")
    return "\n".join(lines)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("model")
    args.add_argument("--table", default="models/ghost-tiny.toml")
    args.add_argument("--show", type=int, default=0, help="so many wrong answers of each kind")
    args = args.parse_args()
    torch.set_num_threads(1)
    tokenizer, model = Tokenizer.load(), open_model(args.model)
    limits = thresholds(args.table)
    beyond_rows = [(e, k) for e, k in rows_of(BEYOND) if len(content(e).encode()) <= MAX_BYTES]  # longer ones are never shown to it
    results = run(model, tokenizer, rows_of(HELD_OUT) + beyond_rows)
    print(report(results, limits))
    shown = defaultdict(int)
    for example, kind, text, sure, correct in sorted(results, key=lambda r: -r[3]):
        group = kind if example["answer"] is not None else "beyond"
        if correct or shown[group] >= args.show:
            continue
        shown[group] += 1
        print(f"\n[{group} as {kind}, {sure:.2f}] {content(example)}\n  wanted {example['answer']!r}\n  given  {text!r}")


if __name__ == "__main__":
    main()
