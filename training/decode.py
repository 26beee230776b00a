"""Answers with the model as the Rust engine does: greedily, inside the shape of the kind, with its confidence.

A shape only forbids: `fits(prefix)` says whether an answer may begin so, `whole(prefix)` whether it may end there.
Of the allowed tokens the likeliest is taken. The confidence is the probability that the free model gives to exactly
this answer and its end, so a model that would rather refuse is never confident in what a shape forced out of it.
"""

import json
import math

import gguf
import numpy as np
import torch
import torch.nn.functional as F

from .model import Shape, Tiny, norm, rotate
from .tokenizer import END, PASS


class Span:
    def __init__(self, content):
        self.content = content.encode()

    def fits(self, prefix):
        return prefix in self.content

    def whole(self, prefix):
        return len(prefix) > 0 and prefix in self.content


class Choice:
    def __init__(self, choices):
        self.choices = [c.encode() for c in choices]

    def fits(self, prefix):
        return any(c.startswith(prefix) for c in self.choices)

    def whole(self, prefix):
        return prefix in self.choices


class Line:
    def fits(self, prefix):
        return b"\n" not in prefix and len(prefix) < 300

    def whole(self, prefix):
        return len(prefix) > 0


class JsonOfSpans:
    """`{"key":"value",…}` whose values (and keys, where `keys` is None) stand in the JSON-escaped content."""

    def __init__(self, content, keys=None):
        self.source = json.dumps(content, ensure_ascii=False)[1:-1].encode()
        self.keys = [k.encode() for k in keys] if keys else None

    def _walk(self, text):
        """(may begin so, is whole)"""
        i, count = 0, 0

        def literal(wanted):
            nonlocal i
            rest = text[i:i + len(wanted)]
            i += len(rest)
            return wanted[:len(rest)] == rest, len(rest) == len(wanted)

        def string(options):
            """Everything up to the closing quote."""
            nonlocal i
            j = i
            while j < len(text) and text[j] != 34:
                j += 2 if text[j] == 92 else 1
            body = text[i:min(j, len(text))]
            i = min(j, len(text))
            closed = i < len(text)
            if options is not None:
                return (body in options if closed else any(o.startswith(body) for o in options)), closed
            return body in self.source, closed

        good, complete = literal(b'{"')
        while good and complete:
            wanted = [self.keys[count]] if self.keys else None
            good, complete = string(wanted)
            if not (good and complete):
                break
            good, complete = literal(b'":"')
            if not (good and complete):
                break
            good, complete = string(None)
            if not (good and complete):
                break
            count += 1
            i += 1
            if i >= len(text):
                return True, False
            last = count == len(self.keys) if self.keys else text[i] == 125
            if last:
                return text[i:] == b"}", text[i:] == b"}"
            good, complete = literal(b',"')
        return good, False

    def fits(self, prefix):
        return self._walk(prefix)[0]

    def whole(self, prefix):
        return self._walk(prefix)[1]


def shape_of(kind, content, choices=None):
    if kind == "classify":
        return Choice(choices) if choices else Span(content)
    if kind == "email_parse":
        return JsonOfSpans(content, ("sender", "subject"))
    if kind == "key_value":
        return JsonOfSpans(content)
    return Line() if kind == "status_update" else Span(content)


def load_gguf(path):
    """The model as the file holds it, quantisation included."""
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    shape = Shape(vocab=field("llama.vocab_size"), width=field("llama.embedding_length"), layers=field("llama.block_count"), heads=field("llama.attention.head_count"), hidden=field("llama.feed_forward_length"), context=field("llama.context_length"))
    model = Tiny(shape)
    found = {t.name: torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type))).float() for t in reader.tensors}
    from .export import NAMES
    with torch.no_grad():
        model.embedding.copy_(found["token_embd.weight"])
        model.norm.copy_(found["output_norm.weight"])
        for i, block in enumerate(model.blocks):
            for ours, theirs in NAMES.items():
                block[ours].copy_(found[f"blk.{i}.{theirs}.weight"].reshape(block[ours].shape))
    return model


@torch.no_grad()
def step(model, tokens, positions, cache, mask):
    """Runs `tokens` (batch, n) at `positions`, writes keys and values into `cache`, returns the hidden states."""
    s = model.shape
    x = F.embedding(tokens, model.embedding)
    batch, n, width = x.shape
    cos, sin = model.cos[positions].unsqueeze(1), model.sin[positions].unsqueeze(1)
    rows = torch.arange(batch).unsqueeze(1)
    for block, (keys, values) in zip(model.blocks, cache):
        h = norm(x, block["attn_norm"], s.epsilon)
        q, k, v = (F.linear(h, block[name]).view(batch, n, s.heads, 64).transpose(1, 2) for name in ("q", "k", "v"))
        keys[rows, :, positions] = rotate(k, cos, sin).transpose(1, 2)
        values[rows, :, positions] = v.transpose(1, 2)
        scores = rotate(q, cos, sin) @ keys.transpose(-1, -2) * 0.125 + mask
        x = x + F.linear((scores.softmax(-1) @ values).transpose(1, 2).reshape(batch, n, width), block["o"])
        h = norm(x, block["ffn_norm"], s.epsilon)
        x = x + F.linear(F.silu(F.linear(h, block["gate"])) * F.linear(h, block["up"]), block["down"])
    return x


def choose(logprobs, shape, text, tokenizer):
    """The likeliest token that the shape allows after `text`, or None."""
    def likeliest():
        yield from logprobs.topk(32).indices.tolist()
        yield from logprobs.argsort(descending=True).tolist()[32:]

    for token in likeliest():
        if token == END:
            if shape.whole(text):
                return token
        else:
            piece = tokenizer.bytes_of(token)
            if piece and shape.fits(text + piece):
                return token
    return None


@torch.no_grad()
def answer_batch(model, tokenizer, prompts, shapes, budget=160):
    """[(answer, confidence, share of the refusal at the first token)] for token lists `prompts`."""
    lengths = torch.tensor([len(p) for p in prompts])
    count, longest = len(prompts), int(lengths.max())
    tokens = torch.zeros(count, longest, dtype=torch.long)
    for i, p in enumerate(prompts):
        tokens[i, :len(p)] = torch.tensor(p)
    room = longest + budget
    cache = [(torch.zeros(count, model.shape.heads, room, 64), torch.zeros(count, model.shape.heads, room, 64)) for _ in model.blocks]
    until = lambda n: [(k[:, :, :n], v[:, :, :n]) for k, v in cache]
    hidden = step(model, tokens, torch.arange(longest).expand(count, -1), until(longest), torch.full((longest, longest), -1e9).triu(1))
    logits = model.head(hidden[torch.arange(count), lengths - 1])
    texts, sums = [b""] * count, [0.0] * count
    refusal = logits.log_softmax(-1)[:, PASS].exp().tolist()
    rows = list(range(count))  # which answer each row of the batch belongs to; finished ones leave
    for turn in range(budget):
        logprobs = logits.log_softmax(-1)
        following, staying = [], []
        for place, i in enumerate(rows):
            token = choose(logprobs[place], shapes[i], texts[i], tokenizer)
            sums[i] += -1e9 if token is None else logprobs[place, token].item()
            if token not in (None, END):
                texts[i] += tokenizer.bytes_of(token)
                following.append(token)
                staying.append(place)
        if not staying:
            rows = []
            break
        if len(staying) < len(rows):
            index = torch.tensor(staying)
            rows, lengths, cache = [rows[p] for p in staying], lengths[index], [(k[index], v[index]) for k, v in cache]
        positions = lengths.unsqueeze(1) + turn
        seen = int(positions.max()) + 1
        mask = torch.where(torch.arange(seen).view(1, 1, 1, -1) <= positions.view(-1, 1, 1, 1), 0.0, -1e9)
        logits = model.head(step(model, torch.tensor(following).unsqueeze(1), positions, until(seen), mask)[:, 0])
    for i in rows:
        sums[i] = -1e9  # the budget ended inside the answer
    return [(texts[i].decode("utf-8", "replace"), math.exp(sums[i]) if sums[i] > -50 else 0.0, refusal[i]) for i in range(count)]


def answer_all(model, tokenizer, items, batch=48):
    """`items`: [(content, shape)]; results in the same order."""
    prompts = [tokenizer.prompt(content) for content, _ in items]
    order = sorted(range(len(items)), key=lambda i: (isinstance(items[i][1], JsonOfSpans), len(prompts[i])))
    results = [None] * len(items)
    for start in range(0, len(order), batch):
        part = order[start:start + batch]
        for i, result in zip(part, answer_batch(model, tokenizer, [prompts[i] for i in part], [items[i][1] for i in part])):
            results[i] = result
    return results
