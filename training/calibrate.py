"""Learns from the calibration split how sure an answer must be, and writes the capability table.

    python -m training.calibrate MODEL models/ghost-tiny.toml

For each kind the lowest threshold is taken at which the given answers are right often enough and what lies beyond the
model stays unanswered. Accuracy and coverage in the table are then measured on the held-out tasks, which take no part in
choosing the thresholds.
"""

import argparse
from pathlib import Path

import torch

from .data.examples import KINDS
from .evaluate import HELD_OUT, figures, in_kind, open_model, outside, report, rows_of, run
from .tokenizer import Tokenizer

PRECISION = 0.97
LEAK = 0.06  # of the near misses of its own kind, most of which the kind detector cannot tell apart either
FLOOR = 0.35
ENOUGH = 20  # answers behind a threshold; a kind with fewer stays shut


def threshold(results, kind):
    mine = sorted(((sure, correct, e["answer"] is None) for e, k, _, sure, correct in results if k == kind), reverse=True)
    strangers = sum(m[2] for m in mine)
    best, answered, right, leaked = 1.0, 0, 0, 0
    for i, (sure, correct, stranger) in enumerate(mine):
        leaked += stranger
        answered += not stranger
        right += correct
        if sure < FLOOR:
            break
        if answered >= ENOUGH and right / answered >= PRECISION and leaked <= max(1, LEAK * strangers):
            best = sure
    return round(max(FLOOR, best - 0.0005), 3)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("model")
    args.add_argument("table", type=Path)
    args.add_argument("--rows", type=int, default=400, help="calibration tasks of each kind")
    args = args.parse_args()
    torch.set_num_threads(1)
    tokenizer, model = Tokenizer.load(), open_model(args.model)
    examples = [(e, kind) for kind in KINDS for e in in_kind(kind, "calibration", args.rows, "calibrate")] + outside("calibration", 3 * args.rows, "calibrate")
    results = run(model, tokenizer, examples)
    limits = {kind: threshold(results, kind) for kind in KINDS}
    held_out = run(model, tokenizer, rows_of(HELD_OUT))
    table, _ = figures(held_out, limits)
    lines = ["# What ghost-tiny can do, learned and measured by training/calibrate.py; see ghost-tiny.md.", 'model = "ghost-tiny"', "general = false            # these kinds and nothing else",
             "context_tokens = 1024", "max_input_bytes = 800      # longer prompts go to the LLM", 'languages = ["en"]']
    for kind in KINDS:
        answered, correct, n = table[kind]
        lines += ["", f"[kinds.{kind}]", f"accuracy = {correct / max(1, answered):.3f}           # held out, of what it answers", f"coverage = {answered / n:.3f}           # held out, share that it answers", f"min_confidence = {limits[kind]:.3f}     # an answer below is not given but sent up"]
    args.table.parent.mkdir(parents=True, exist_ok=True)
    args.table.write_text("\n".join(lines) + "\n")
    print(args.table.read_text())
    print(report(held_out, limits))


if __name__ == "__main__":
    main()
