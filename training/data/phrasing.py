"""Templates that unfold into sentences, and the noise with which people write them.

`<a|b|c>` chooses, `[x]` and `[x|y]` may be left out, `{slot}` is filled in by the caller afterwards. Templates are divided
among the splits by their own text, and long choices hold some of their options back as well, so that a held-out
sentence is built from templates and words of its own. `layout` joins an instruction with its data.
"""

import re
from functools import lru_cache

from .words import CALIBRATION, Pool, TRAIN, split_of

TOKEN = re.compile(r"[<>|\[\]]|[^<>|\[\]]+")


@lru_cache(None)
def parse(template):
    tokens = TOKEN.findall(template)

    def sequence(i, closers):
        parts = []
        while i < len(tokens) and tokens[i] not in closers:
            if tokens[i] == "<":
                options = []
                i += 1
                while True:
                    option, i = sequence(i, "|>")
                    options.append(option)
                    if tokens[i] == ">":
                        break
                    i += 1
                parts.append(("one", options))
            elif tokens[i] == "[":
                options = []
                i += 1
                while True:
                    option, i = sequence(i, "|]")
                    options.append(option)
                    if tokens[i] == "]":
                        break
                    i += 1
                parts.append(("maybe", [("one", options)]))
            else:
                parts.append(("text", tokens[i]))
            i += 1
        return parts, i

    return sequence(0, "")[0]


def _render(parts, rng, split):
    out = []
    for kind, body in parts:
        if kind == "text":
            out.append(body)
        elif kind == "maybe":
            if rng.random() < 0.4:
                out.append(_render(body, rng, split))
        else:
            options = body
            if len(options) >= 6:
                # A long choice keeps some options from training; the other splits prefer those.
                mine = [o for o in options if (split_of(str(o), 88, 0) == TRAIN) == (split == TRAIN)]
                options = mine or options
            out.append(_render(rng.choice(options), rng, split))
    return "".join(out)


def unfold(template, rng, split):
    return re.sub(r"  +", " ", _render(parse(template), rng, split)).strip()


class Bank:
    """Templates, one a line. One that begins with `?` is for calibration alone, to which the hash leaves too few of a short bank."""

    def __init__(self, text, least=2):
        lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        self.pool = Pool([line for line in lines if not line.startswith("?")], least)
        self.pool.parts[CALIBRATION] = self.pool.parts[CALIBRATION] + [line[1:].strip() for line in lines if line.startswith("?")]

    def pick(self, rng, split):
        return unfold(self.pool.pick(rng, split), rng, split)


POLITE_BEFORE = Bank("""
please
<hi|hello|hey>[ there], 
<hi|hello|hey>[ there]! 
could you 
can you 
would you [please ]
can you please 
could you please 
i need you to 
i'd like you to 
i want you to 
you should 
your <job|task>[ here] is to 
<kindly|quickly|just|simply> 
<ok|okay|alright|right|so|now>, 
<next|first>, 
help me <and |>
your task: 
task: 
<instruction|request|todo|question>: 
we need to 
let's 
try to 
<go ahead and|be so kind as to|make sure to> 
""")

AFTER = Bank("""
<thanks|thank you|thx|cheers|ty>[!]
<thanks|thank you> [very much|a lot|in advance][.]
please[.]
<no|without any|don't add an> explanation[s][.]
<just|only> the <answer|result>[, <please|nothing else|no extra words|no explanation>][.]
<return|output|reply with|give|answer with|respond with|print|show> <only|just> the <answer|result>[.]
nothing else[.]
<be brief|keep it short|short answer|be precise|exact answer please>[.]
<do not|don't> <explain|add anything|comment|include anything else|add any other text|add commentary>[.]
no <extra words|commentary|extra text|chatter|prose|markdown|formatting>[.]
<it's|this is> <urgent|for a report|for a spreadsheet|for our records|going into a database>[.]
i <need|want> it <asap|for a form|right now|exactly as it is written|exactly as written>[.]
<exactly|precisely> as <written|it appears|it stands there>[.]
""")

CONTEXT = Bank("""
i'm <working on|cleaning up|going through|dealing with|preparing> <some data|a report|a form|our records|the logs|an import|a migration|old files>.
<we|i> <got|received|have> this <today|this morning|from a <customer|colleague|partner|supplier>|yesterday|by mail>.
this <came in|arrived|was logged|was sent> <today|earlier|this morning|overnight|last night|a minute ago>.
<here is|here's|below is|see> <what i have|the data|the input|some text|what we got|the content>.
<my boss|the client|our team|accounting|support> <wants|needs|asked for> this.
<quick|small|simple|short|easy> <question|one|task|request>.
<i can't find it|i'm lazy|my eyes hurt|i'm in a hurry|sorry to bother you>.
""")


def _typo(word, rng):
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    i = rng.randrange(1, len(word) - 1)
    return rng.choice((
        word[:i] + word[i + 1:],
        word[:i] + word[i + 1] + word[i] + word[i + 2:],
        word[:i] + word[i] + word[i:],
        word[:i] + rng.choice("etaoinshrd") + word[i + 1:],
    ))


def _outside_quotes(text, change):
    """Applies `change` to what is not inside quotes, backticks or around a kept span (marked by \\x01)."""
    parts = re.split(r"(\x01[^\x01]*\x01|`[^`]*`|\"[^\"]*\")", text)
    return "".join(p if i % 2 else change(p) for i, p in enumerate(parts))


def keep(text):
    """Marks a span of an instruction (a key, a name) that noise must not touch."""
    return f"\x01{text}\x01"


def humanise(instruction, rng, split, question=None):
    """Puts politeness, context, case and typing errors around and into an instruction."""
    text = instruction
    question = text.endswith("?") if question is None else question
    first = text.split(" ")[0]
    if not question and rng.random() < 0.3 and first.isalpha() and first.lower() not in NOT_VERBS:
        before = POLITE_BEFORE.pick(rng, split)
        if not before.endswith((" ", "\n")):
            before += " "
        text = before + text[0].lower() + text[1:]
        if before.startswith(("could", "can", "would")) and "?" not in text and rng.random() < 0.7:
            text = text.rstrip(".:") + "?"
    elif rng.random() < 0.05:
        text = rng.choice(("Hi, ", "Hello, ", "Hey, ", "Please tell me: ", "Question: ", "Quick one: ", "So, ")) + text
    if rng.random() < 0.06:
        text = CONTEXT.pick(rng, split) + " " + text
    if rng.random() < 0.16:
        text = text + ("" if text[-1] in ".?!:" else rng.choice((".", ",", " -"))) + " " + AFTER.pick(rng, split)
    chance = rng.random()
    if chance < 0.62:
        text = re.sub(r"(^|[.?!] )(\x01?)([a-z])", lambda m: m[0] if m[2] else m[1] + m[3].upper(), text)
    elif chance < 0.64:
        text = _outside_quotes(text, str.upper)
    elif chance < 0.78:
        text = _outside_quotes(text, str.lower)
    if rng.random() < 0.07:
        spots = rng.random()
        text = _outside_quotes(text, lambda p: " ".join(_typo(w, rng) if rng.random() < 0.12 + 0.1 * spots else w for w in p.split(" ")))
    if rng.random() < 0.12:
        text = text.rstrip(".?!")
    return text.replace("\x01", "")


NOT_VERBS = set("what which who whom whose when where how i we the this that from in is are out under at value field my there here as with for of on to by just only given".split())

QUOTES = [('"', '"'), ("'", "'"), ("“", "”"), ("«", "»"), ("`", "`"), ("‘", "’"), ("„", "“"), ("(", ")"), ("[", "]"), ("<", ">")]
FENCES = ["```\n{}\n```", "```json\n{}\n```", "```text\n{}\n```", "~~~\n{}\n~~~", "---\n{}\n---", "<text>{}</text>", "<input>\n{}\n</input>",
          "<data>{}</data>", "\"\"\"\n{}\n\"\"\"", "\"\"\"{}\"\"\"", "'''{}'''", "=====\n{}\n=====", "[START]\n{}\n[END]", "<<<{}>>>"]


class Names(Bank):
    """What people call the data when they set it under a heading."""


def layout(instruction, data, rng, split, headings, quotes=True, fence=True, inline=True):
    """Joins instruction and data. Returns (description, prompt): prompt is None where both are one text."""
    body = data
    chance = rng.random()
    many_lines = "\n" in data
    if quotes and not many_lines and chance < 0.3 and '"' not in data:
        left, right = rng.choice(QUOTES[:2]) if rng.random() < 0.7 else rng.choice(QUOTES)
        body = left + data + right
    elif fence and chance > 0.94:
        body = rng.choice(FENCES).format(data)
    heading = headings.pick(rng, split)
    heading = heading.capitalize() if rng.random() < 0.6 else heading
    bare = instruction.rstrip(" .:")
    way = rng.random()
    if way < 0.24:
        return instruction, body
    if way < 0.44 and inline:
        return bare + (": " if not bare.endswith("?") else " ") + body, None
    if way < 0.64:
        return bare + ("" if bare.endswith("?") and rng.random() < 0.7 else ":") + rng.choice(("\n", "\n\n")) + body, None
    if way < 0.72:
        return instruction + rng.choice(("\n", "\n\n", " ")) + heading + rng.choice((": ", ":\n", " - " if not many_lines else ":\n")) + body, None
    if way < 0.76:
        return instruction, heading + ": " + body
    if way < 0.85:
        return heading + rng.choice((": ", ":\n")) + body + rng.choice(("\n", "\n\n")) + instruction, None
    if way < 0.96:
        return body + rng.choice(("\n", "\n\n", "\n---\n", " — " if not many_lines else "\n")) + instruction, None
    return instruction + "\n" + body, None
