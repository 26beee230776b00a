"""The tokenizer: byte-level BPE whose merges stay inside words.

A token never joins a space, a newline, a digit or a mark with letters. So a word is cut the same way after a space,
after a quote and at the start of an answer, and copying it is copying its tokens. llama.cpp reads the same tokens
from the GGUF (tokenizer `gpt2`, pre-tokenizer `smollm`: single digits first, then GPT-2's pattern), which
`PRETOKEN` and `DIGIT` mirror here.

    python -m training.tokenizer learn WORK     # writes training/tokenizer.json from WORK's sample of training texts
"""

import json
import sys
from collections import Counter
from pathlib import Path

import regex

FILE = Path(__file__).with_name("tokenizer.json")
MERGES = 1500

DIGIT = regex.compile(r"\p{N}")
PRETOKEN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
WORD = regex.compile(r"[A-Za-z]+|  +|\n+")

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pass|>"]
PADDING, START, END, PASS = range(4)


def _byte_letters():
    """GPT-2's mapping: each byte as one printable character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


LETTER = _byte_letters()
BYTE = {letter: byte for byte, letter in LETTER.items()}


def learn(counts, merges):
    """Plain BPE over counted words; returns the list of merged pairs, best first."""
    words = {w: [LETTER[b] for b in w.encode()] for w in counts}
    pairs, where = Counter(), {}
    for w, parts in words.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += counts[w]
            where.setdefault(pair, set()).add(w)
    found = []
    while len(found) < merges and pairs:
        best = max(pairs, key=lambda p: (pairs[p], p))
        found.append(best)
        for w in list(where[best]):
            parts = words[w]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= counts[w]
                where[pair].discard(w)
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            words[w] = merged
            for pair in zip(merged, merged[1:]):
                pairs[pair] += counts[w]
                where.setdefault(pair, set()).add(w)
        del pairs[best]
    return found


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.tokens = SPECIALS + list(LETTER.values()) + list(dict.fromkeys(a + b for a, b in self.merges))
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.size = -(-len(self.tokens) // 32) * 32  # rounded up: filler tokens that nothing produces
        self.cache = {}

    @classmethod
    def load(cls, file=FILE):
        return cls(json.loads(Path(file).read_text())["merges"])

    def _word(self, word):
        parts = [LETTER[b] for b in word.encode()]
        while len(parts) > 1:
            ranked = [(self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:]))]
            rank, i = min(ranked)
            if rank == 1 << 30:
                break
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        return [self.id[p] for p in parts]

    def encode(self, text):
        out, cache = [], self.cache
        pieces, last = [], 0
        for m in DIGIT.finditer(text):
            pieces += [text[last:m.start()], m[0]]
            last = m.end()
        pieces.append(text[last:])
        for piece in pieces:
            for word in PRETOKEN.findall(piece):
                known = cache.get(word)
                if known is None:
                    known = self._word(word)
                    if len(cache) < 400_000:
                        cache[word] = known
                out += known
        return out

    def bytes_of(self, token):
        if token < len(SPECIALS) or token >= len(self.tokens):
            return b""
        return bytes(BYTE[c] for c in self.tokens[token])

    def decode(self, ids):
        return b"".join(self.bytes_of(i) for i in ids).decode("utf-8", "replace")

    def prompt(self, content):
        """One user turn and the opening of the assistant's, as the chat template writes them."""
        return [START, *self.encode("user\n" + content), END, *self.encode("\n"), START, *self.encode("assistant\n")]


def main(work):
    texts = (json.loads(line) for line in open(Path(work) / "tokenizer-sample.jsonl"))
    counts = Counter()
    for row in texts:
        counts.update(WORD.findall(row["content"] + " " + (row["answer"] or "")))
    counts = {w: min(c, 4000) for w, c in counts.items()}
    counts["user"] = counts["assistant"] = 10 ** 6
    counts = {(w if w.strip() else w[:8]): c for w, c in counts.items()}
    merges = learn(counts, MERGES)
    FILE.write_text(json.dumps({"merges": merges}, ensure_ascii=False, separators=(",", ":")) + "\n")
    t = Tokenizer.load()
    print(len(t.tokens), "tokens,", t.size, "with filler")


if __name__ == "__main__":
    main(sys.argv[2])
