"""Where words come from, and which split each belongs to.

A split is decided by a hash of the item itself (a template, a name, a word), never by chance: so an item that is
held out stays unseen through every shard, seed and rerun. `values` and `phrasing` ask here before they pick.
"""

import hashlib
import random
import re
from functools import lru_cache
from pathlib import Path

TRAIN, CALIBRATION, HELD_OUT = "train", "calibration", "heldout"

WORDNET = Path("/usr/share/wordnet")
DICTIONARY = Path("/usr/share/dict/american-english")


def split_of(item, train=86, calibration=6):
    """The split an item belongs to; the shares are per cent."""
    place = int.from_bytes(hashlib.blake2b(item.encode(), digest_size=4).digest(), "big") % 100
    if place < train:
        return TRAIN
    return CALIBRATION if place < train + calibration else HELD_OUT


class Pool:
    """A list of items divided among the splits. A split that got too few items shares the whole list."""

    def __init__(self, items, least=4):
        items = list(dict.fromkeys(items))
        self.all = items
        self.parts = {s: [i for i in items if split_of(i) == s] for s in (TRAIN, CALIBRATION, HELD_OUT)}
        for split, part in self.parts.items():
            if len(part) < least:
                self.parts[split] = items

    def pick(self, rng, split):
        return rng.choice(self.parts[split])


# Not in a generator that puts words into people's mouths.
UNWANTED = set("""shit shits fuck fucks fucked fucking cunt cunts bitch bitches whore whores slut sluts rape rapes raped rapist nigger niggers faggot faggots kike kikes dyke dykes spic spics wetback gook retard retards
bastard bastards piss pissed cock cocks penis penises vagina dick dicks tits ass asses arse asshole porn porno holocaust genocide lynch lynching incest pedophile molest molester nazi nazis negro negroes darky coon tranny
shitty bullshit crap turd jihad slave slaves suicide bugger wank semen orgasm erotic anal anus erection masturbate""".split())


@lru_cache(None)
def common_nouns():
    """Lower-case nouns that WordNet's tagged texts used at least once, most frequent first."""
    seen = {}
    for line in (WORDNET / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        word = key.split("%")[0]
        if key.split("%")[1][0] == "1" and re.fullmatch(r"[a-z]{3,11}", word) and word not in UNWANTED:
            seen[word] = seen.get(word, 0) + int(count)
    return sorted(seen, key=lambda w: (-seen[w], w))


@lru_cache(None)
def common_adjectives():
    seen = set()
    for line in (WORDNET / "cntlist.rev").read_text().splitlines():
        key = line.split()[0]
        word = key.split("%")[0]
        if key.split("%")[1][0] in "35" and re.fullmatch(r"[a-z]{3,11}", word) and word not in UNWANTED:
            seen.add(word)
    return sorted(seen)


@lru_cache(None)
def dictionary():
    return [w for w in DICTIONARY.read_text().splitlines() if re.fullmatch(r"[a-z]{3,12}", w) and w not in UNWANTED]


@lru_cache(None)
def members(roots):
    """Single words and pairs that stand below the WordNet noun synsets of `roots` ('animal.01', …)."""
    synsets, by_word = _nouns()
    found, queue = [], []
    for root in roots:
        word, number = root.rsplit(".", 1)
        queue.append(by_word[word][int(number) - 1])
    seen = set(queue)
    while queue:
        words, below, _ = synsets[queue.pop()]
        found += words
        for offset in below:
            if offset not in seen:
                seen.add(offset)
                queue.append(offset)
    known = set(common_nouns()[:9000])
    plain = [w.replace("_", " ") for w in dict.fromkeys(found) if re.fullmatch(r"[a-z]+(_[a-z]+)?", w)]
    # Rare taxonomy ("genus", Latin names) teaches nothing that people write; a word must be used, or be made of words in use.
    return [w for w in plain if all(p in known for p in w.split())]


@lru_cache(None)
def _nouns():
    synsets, by_word = {}, {}
    for line in (WORDNET / "data.noun").read_text().splitlines():
        if line.startswith(" "):
            continue
        head, _, gloss = line.partition(" | ")
        f = head.split()
        count = int(f[3], 16)
        words = [f[4 + 2 * i] for i in range(count)]
        rest = f[4 + 2 * count + 1:]
        below = [rest[i + 1] for i in range(0, len(rest) - 3, 4) if rest[i] in ("~", "~i") and rest[i + 2] == "n"]
        synsets[f[0]] = (words, below, gloss)
    for line in (WORDNET / "index.noun").read_text().splitlines():
        if line.startswith(" "):
            continue
        f = line.split()
        by_word[f[0]] = f[-int(f[2]):]
    return synsets, by_word


ONSETS = "b c d f g h j k l m n p r s t v w z br cr dr fr gr kr pr tr bl cl fl gl pl sl st sp sk ch sh th qu".split()
VOWELS = "a e i o u a e i o ai ea ee oo ou ia y".split()
CODAS = ["", "", "", "n", "r", "l", "s", "m", "t", "k", "nd", "rt", "st", "x", "ck", "ng"]


def invented(rng, syllables=None):
    """A word nobody has met, so that copying it cannot be memory."""
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


NOUNS = Pool(common_nouns()[:7000])
ADJECTIVES = Pool(common_adjectives())
ANY = Pool(dictionary())


def noun(rng, split):
    """A word for a key, a title, a thing: mostly in common use, sometimes rare, sometimes invented."""
    chance = rng.random()
    if chance < 0.75:
        return NOUNS.pick(rng, split)
    return ANY.pick(rng, split) if chance < 0.92 else invented(rng)


def seeded(*parts):
    return random.Random("/".join(map(str, parts)))
