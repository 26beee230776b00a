"""Drills for the first minutes of training: made of random tokens, they teach looking back before anything else.

Half of them repeat a random sequence; half are a small document of random names and values, and questions that consist
of a name alone. What they leave behind (heads that find the place and copy from there, for every token alike) is what
all six kinds are built from; without them the same heads take several times longer to appear.
"""

import numpy as np

from .tokenizer import END, START, SPECIALS


def drill(tokenizer, length, rng):
    """(tokens, which of them are to be learned), at most `length` long."""
    draw = lambda n: [rng.randrange(len(SPECIALS), len(tokenizer.tokens)) for _ in range(n)]
    if rng.random() < 0.4:
        half = rng.randint(8, length // 2 - 1)
        some = draw(half)
        return np.array(some + some, dtype=np.int64), np.array([0] * half + [1] * half, dtype=np.uint8)
    mark = {c: tokenizer.id[c] for c in '{}":,='}
    line, space = tokenizer.encode("\n"), tokenizer.encode(" ")
    user, assistant = [START, *tokenizer.encode("user\n")], [END, *line, START, *tokenizer.encode("assistant\n")]
    form = rng.randrange(4)
    before, between, after = (([mark['"']], [mark['"'], mark[":"], *space, mark['"']], [mark['"'], mark[","], *space]), ([], [mark["="]], line), ([], [mark[":"], *space], [mark[","], *space]), ([mark['"']], [mark['"'], mark[":"]], [mark[","]]))[form]
    pairs = []
    for _ in range(rng.randint(2, 3 + length // 28)):
        pairs.append((draw(rng.choice((1, 1, 2, 3))), draw(rng.choice((1, 1, 2, 3, 4, 6)))))
    tokens, learned = list(user), [0] * len(user)

    def add(more, mask):
        tokens.extend(more)
        learned.extend([mask] * len(more))

    def document():
        for key, value in pairs:
            add(before + key + between + value + after, 0)

    first = True
    while True:
        key, value = rng.choice(pairs)
        if first and rng.random() < 0.5:
            document()
            add(line + key, 0)
        elif first:
            add(key + line, 0)
            document()
        else:
            add(line + user + key, 0)
        first = False
        add(assistant, 0)
        add(value + [END], 1)
        if len(tokens) + 24 > length or len(tokens) > length:
            break
    if len(tokens) > length:
        return drill(tokenizer, length, rng)
    return np.array(tokens, dtype=np.int64), np.array(learned, dtype=np.uint8)
