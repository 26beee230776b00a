"""Trains the tiny model on one CPU core, against a clock.

The learning rate follows the minutes that a core has worked: it rises, holds, and falls to zero at the limit, so that
whatever the machine's speed, and whatever else it does meanwhile, the run ends as a finished schedule. A checkpoint is
written every three minutes and
`train` goes on from it. Muon moves the matrices, Adam the embedding and the norms. Examples come in shards (see
`training.data.examples`), easy ones first; within a shard they are sorted by length, so that little is padding.

    taskset -c 1 python -m training.train WORK --minutes 90
"""

import argparse
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import model as network
from .decode import load_gguf
from .drill import drill
from .tokenizer import PADDING, Tokenizer

LENGTHS = (56, 80, 112, 160, 240, 400)
TOKENS_A_STEP = 4480


def read_shard(path):
    """[(tokens, which of them are to be learned)] of one shard."""
    with np.load(path) as data:
        tokens, learned, ends = data["tokens"], data["learned"], data["ends"]
    starts = np.concatenate(([0], ends[:-1]))
    return [(tokens[s:e], learned[s:e]) for s, e in zip(starts, ends)]


def batches(examples, rng):
    """Lists of examples with the length that they are padded to."""
    byte_length = {}
    for example in examples:
        n = len(example[0])
        length = next((l for l in LENGTHS if n <= l), None)
        if length:
            byte_length.setdefault(length, []).append(example)
    out = []
    for length, members in byte_length.items():
        rng.shuffle(members)
        size = TOKENS_A_STEP // length
        for i in range(0, len(members), size):
            part = members[i:i + size]
            while len(part) < size:
                part.append(rng.choice(members))
            out.append((length, part))
    rng.shuffle(out)
    return out


def tensors(length, part):
    """(tokens, targets, weights of the targets, which positions are the prompt's own), each batch × length.

    A long answer counts more than a short one, but by the root of its length: else the objects of key_value would
    drown a category or a refusal, which are a token or two. The first token counts most: there the question is decided,
    what follows is copying.
    """
    tokens = np.full((len(part), length), PADDING, dtype=np.int64)
    targets = np.full((len(part), length), -1, dtype=np.int64)
    weights = np.zeros((len(part), length), dtype=np.float32)
    prompts = np.zeros((len(part), length), dtype=bool)
    for row, (ids, learned) in enumerate(part):
        tokens[row, :len(ids)] = ids
        targets[row, :len(ids) - 1] = ids[1:]
        edges = np.flatnonzero(np.diff(learned, prepend=0, append=0))
        for start, end in zip(edges[::2], edges[1::2]):
            weights[row, start - 1:end - 1] = (end - start) ** -0.5
            weights[row, start - 1] = 1.5
        prompts[row, 5:max(5, edges[0] - 6)] = True
        targets[row, (weights[row] == 0) & ~prompts[row]] = -1
    return torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(weights), torch.from_numpy(prompts)


class Muon(torch.optim.Optimizer):
    """Momentum whose step for a matrix is made orthogonal by four Newton-Schulz rounds; equal shapes go together."""

    def __init__(self, matrices, lr, dtype, momentum=0.95, decay=0.02):
        super().__init__(matrices, dict(lr=lr, momentum=momentum, decay=decay))
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                by_shape.setdefault(tuple(p.shape), []).append((p, p.grad.lerp(state["momentum"], group["momentum"])))
            for (rows, columns), members in by_shape.items():
                steps = orthogonal(torch.stack([g for _, g in members]), self.dtype)
                for (p, _), step in zip(members, steps):
                    p.mul_(1 - group["lr"] * group["decay"])
                    p.add_(step.float(), alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonal(x, dtype, rounds=4):
    x = x.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(1, 2) if tall else x


def faster_type():
    """bfloat16 where the CPU multiplies it in hardware (AMX, AVX-512 BF16), else single precision."""
    def seconds(dtype):
        a, b = torch.ones(2048, 256, dtype=dtype), torch.ones(256, 640, dtype=dtype)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - begun)
        return min(times)
    return min((torch.bfloat16, torch.float32), key=seconds)


def schedule(progress):
    """Share of the full learning rate."""
    return min(1, progress / 0.02) * (1 if progress < 0.3 else max(0.0, (1 - progress) / 0.7))


def main():
    args = argparse.ArgumentParser()
    args.add_argument("work", type=Path)
    args.add_argument("--minutes", type=float, default=90)
    args.add_argument("--width", type=int, default=256)
    args.add_argument("--layers", type=int, default=6)
    args.add_argument("--hidden", type=int, default=640)
    args.add_argument("--bench", type=float, default=0, help="stop after so many seconds and tell the speed")
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--start", type=Path, help="a GGUF whose weights to begin with, where there is no checkpoint")
    args.add_argument("--started", type=float, default=0, help="the minutes that went into it; --minutes counts them too")
    args.add_argument("--first", type=int, default=0, help="the first shard to read, where there is no checkpoint")
    args.add_argument("--muon", type=float, default=0.005)
    args.add_argument("--adam", type=float, default=0.0015)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.cache_size_limit = 64

    tokenizer = Tokenizer.load()
    shape = network.Shape(vocab=tokenizer.size, width=args.width, layers=args.layers, heads=args.width // 64, hidden=args.hidden)
    tiny = network.Tiny(shape)
    matrices = [p for p in tiny.blocks.parameters() if p.ndim == 2]
    others = [p for p in tiny.parameters() if p.ndim == 1] + [tiny.embedding]
    dtype = faster_type()
    muon = Muon(matrices, lr=args.muon, dtype=dtype)
    adam = torch.optim.Adam(others, lr=args.adam, betas=(0.9, 0.97), eps=1e-9)
    at = {"used": args.started * 60, "shard": args.first, "seen": 0, "step": 0, "tokens": 0}
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists() and not args.bench:
        saved = torch.load(checkpoint, weights_only=False)
        tiny.load_state_dict(saved["weights"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        at = saved["at"]
    elif args.start:
        tiny.load_state_dict(load_gguf(args.start).state_dict())
    tiny.layer = torch.compile(network.layer, dynamic=False)
    print(json.dumps({"parameters": sum(p.numel() for p in tiny.parameters()), "matrices": sum(p.numel() for p in matrices), **at}), flush=True)

    begun = time.process_time() - at["used"]
    used = lambda: time.process_time() - begun
    limit = args.minutes * 60
    last_save, last_log, sums = used(), used(), []
    earlier = at["used"], at["tokens"]

    def save():
        at["used"] = used()
        network.save(args.work / "checkpoint.tmp", tiny, muon=muon.state_dict(), adam=adam.state_dict(), at=at)
        os.replace(args.work / "checkpoint.tmp", checkpoint)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while used() < limit and not stop:
        path = args.work / f"shard-{at['shard']:04}.npz"
        if not path.exists():
            newest = sorted(args.work.glob("shard-*.npz"))
            assert newest, "no shards: run training.data.examples first"
            at["shard"] = max(0, at["shard"] - max(1, len(newest) // 2))  # data ran out: go round the later half again
            continue
        rng = random.Random(at["shard"] * 7919 + at["seen"])
        for index, (length, part) in enumerate(batches(read_shard(path), rng)):
            progress = used() / limit
            if progress >= 1 or stop:
                break
            for optimiser, full in ((muon, args.muon), (adam, args.adam)):
                for group in optimiser.param_groups:
                    group["lr"] = full * schedule(progress)
            if rng.random() < 0.6 * (1 - progress / 0.3):
                part = [drill(tokenizer, length, rng) for _ in part]
            tokens, targets, weights, prompts = tensors(length, part)
            # Early on, a share of the prompt's own tokens is predicted as well: it teaches looking back sooner.
            share = max(0.0, 0.25 * (1 - progress / 0.15))
            drop = prompts & (torch.rand(prompts.shape) >= share)
            targets[drop] = -1
            where = (targets.flatten() >= 0).nonzero().squeeze(1)
            hidden = tiny.hidden(tokens, dtype).flatten(0, 1)[where]
            losses = F.cross_entropy(tiny.head(hidden), targets.flatten()[where], reduction="none")
            asked = prompts.flatten()[where]
            answer, weight = losses[~asked], weights.flatten()[where][~asked]
            loss = (answer * weight).sum() / weight.sum() + (0.4 * losses[asked].mean() if asked.any() else 0)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            muon.step(), adam.step()
            muon.zero_grad(), adam.zero_grad()
            at["seen"] += len(part)
            at["step"] += 1
            at["tokens"] += tokens.numel()
            sums.append(answer.mean().item())
            if used() - last_log > (8 if args.bench else 30):
                last_log = used()
                print(json.dumps({"minute": round(used() / 60, 1), **{k: at[k] for k in ("shard", "step", "seen")}, "loss": round(sum(sums) / len(sums), 4), "tokens_s": round((at["tokens"] - earlier[1]) / (used() - earlier[0]))}), flush=True)
                sums = []
            if args.bench and used() > args.bench:
                return
            if used() - last_save > 180:
                last_save = used()
                save()
        else:
            at["shard"] += 1
    save()
    print(json.dumps({"finished": not stop, **at}), flush=True)


if __name__ == "__main__":
    main()
