"""Looking one field up in a JSON document: the documents, and the ways to ask."""

import json

from . import concepts
from .phrasing import Bank, humanise, keep, layout
from .values import literal, make
from .words import noun

KIND = "json_field"

HEADINGS = Bank("""
json
data
document
object
input
the json
record
json document
payload
here is the json
json data
content
response
api response
body
json object
message
config
the document
here you go
source
item
""")

# {k} is the field as people refer to it.
ASK = Bank("""
what is the value of [the field |the key |the property |]{k}[ in <this|the> <json|document|object|data|record>]?
what's the value of {k}[ in <this|the> <json|document|object|data|record>]?
what is {k}[ in <this|the> <json|document|object|data>]?
what is the {k}[ in <this|the> <json|document|object|data|record>]?
what's the {k} <here|in here|in this>?
what value does <the field |the key |the attribute |>{k} <have|hold|carry|contain|take>[ <here|in this json|in the document>]?
which value <does|is stored under|is given for|belongs to|is assigned to|is set for> {k}?
<get|return|give me|fetch|read|extract|retrieve|show|print|output|find> the value of [the field |the key |the property |the attribute |]{k}[ <from|in> <this|the|the following> <json|document|object|data|record|payload>].
<get|return|give me|fetch|read|extract|retrieve|pull out|show|grab|pick> [the ]{k} from <this|the|the following|that> <json|document|object|data|record|payload|response>.
<get|return|give me|fetch|read|extract|retrieve|show|print|output> [the ]<field|key|property|attribute|entry|value> {k}[ <from|of|in> <this|the> <json|document|object>].
<read|pull|take|copy|lift|pluck> {k} <out of|from> <this|the> <json|document|object|blob|snippet|structure>.
look up {k}[ in <this|the|the following> <json|document|object|data>].
look for <the key |the field |>{k} and <return|give|print|output|tell me> <its value|what it holds|what is in it>.
find {k} in <this|the> <json|document|data> and <return it|give me its value|print its value|tell me the value>.
i <need|want|would like|am looking for> the <value of |>{k}[ from <this|the> <json|data|document>].
i'd like <to know|to have> the <value of |>{k}.
tell me <the value of |what is in |what is stored in |what stands under |>{k}.
<json field|field|key|property|attribute|path|lookup|field lookup|wanted|get>: {k}
{k}?
{k} of this <object|record|document|json>?
the {k}, please.
the value of {k}[, please].
value of {k}[ in <this|the> <json|object|document>]
<from|in|out of> <this|the following|the> <json|document|object|data|payload|record>, <get|return|extract|give me|read|what is|tell me> [the ][value of ]{k}.
<in|from> the <json|document|object|data> <below|above|given|provided|here>, <what is|what's|which is> [the ][value of ]{k}?
<given|with> this <json|document|object|data>, <return|what is|give> [the ]{k}.
<parse|read|open|load|scan|go through|search> <this|the> <json|document|object> and <return|give me|print|tell me|extract|output|report> [the ][value of ]{k}.
what does {k} <say|contain|hold|equal|read>[ in <this|the> <json|document|data>]?
what <did they put|do we have|is written|is recorded|is listed|is entered|is noted> <under|in|for|as> {k}?
which {k} is <given|listed|set|stored|recorded|specified|used>[ <here|in this json|in the data>]?
what {k} <do we have|is there|is given|is listed|is stored|is set>[ <here|in this json|in the document>]?
<select|query|evaluate|resolve> {k} [<in|on|against> <this|the> <json|document>].
<answer with|reply with|respond with> the value of {k}.
<what's in|check|see> {k}?
can you <see|find|read> <what {k} is|the value of {k}>?
do you know <the value of {k}|what {k} is|the {k}>?
how is {k} set[ in <this|the> <config|json|document>]?
what has <been entered|been stored|been set> <for|as|under> {k}?
<only|just> the <value of |>{k}[, please].
fill in the blank: {k} = ___
{k} =
{k}:
<return|give> only {k}[ from <this|the> <json|document>].
<dig|fish|single|pick> out {k}.
<show me|let me see|name> <the value of|what's stored at|what's at|the> {k}.
<extract|parse|get> <field|json field|json key|json value|value>: {k}
json_field: {k}
extract the json field {k}
extract {k}
get {k}
get me {k}
return {k}
what is stored <under|in|at|for> [the key |the field |]{k}?
what is the content of [the field |]{k}?
what's {k} <set to|equal to>?
what is {k} <set to|equal to>[ in <this|the> <json|config|document>]?
<retrieve|isolate|report|quote|state|supply|provide> the {k}[ <given|found|contained> in <this|the> <json|document|object>].
<i was asked for|we are missing|my form asks for|the report needs|the customer asks for> the {k}. <what is it|can you find it|get it from the json|read it from here|please look it up>?
whats the {k}
""")

PATH = Bank("""
{p}
{p}
{p}
{p}
$.{p}
.{p}
the path {p}
""")
INSIDE = Bank("""
{k} <in|inside|under|within|of|from> {o}
{k} of [the ]{o}
{o}'s {k}
{o} {k}
{k} <in the object|inside the object|in the section|in the block|nested in|nested under|that is inside|of the> {o}
{o} -> {k}
{o} > {k}
{o} / {k}
""")
ORDINALS = ("first", "second", "third", "fourth", "fifth")


def document(rng, split, size, depth=0, style=None):
    """A nested dict of Leaf, dict and list."""
    style = style or rng.choice(concepts.STYLES)
    out, spoken = {}, {}
    while len(out) < size:
        words, others, kind = concepts.field(rng, split)
        key = concepts.as_key(words, style)
        if key in out:
            continue
        chance = rng.random()
        if depth < 2 and chance < 0.13 and size > 2:
            out[key] = document(rng, split, rng.randint(1, 4), depth + 1, style)
        elif depth < 2 and chance < 0.18 and size > 2:
            out[key] = [Leaf(kind, rng, split) for _ in range(rng.randint(1, 4))]
        elif depth < 1 and chance < 0.215 and size > 2:
            fields = [concepts.field(rng, split) for _ in range(rng.randint(1, 3))]
            fields = {concepts.as_key(w, style): k for w, _, k in fields}
            out[key] = [{k: Leaf(t, rng, split) for k, t in fields.items()} for _ in range(rng.randint(1, 3))]
        else:
            out[key] = Leaf(kind, rng, split)
        spoken[key] = (words, others)
    return Doc(out, spoken)


class Doc(dict):
    """A dict that remembers how its keys are said."""

    def __init__(self, items, spoken):
        super().__init__(items)
        self.spoken = spoken


class Leaf:
    def __init__(self, kind, rng, split):
        if rng.random() < 0.03:
            self.json = rng.choice(("null", "null", '""', "true", "false", "0", "-1", str(rng.randint(-99, 9999))))
        else:
            self.json = literal(kind, make(kind, rng, split), rng)
        self.text = json.loads(self.json) if self.json.startswith('"') else self.json
        self.bare = self.text != "" and (not self.json.startswith('"') or self.json[1:-1] == self.text)


def write(node, indent, level, colon, comma):
    if isinstance(node, Leaf):
        return node.json
    pad, end = ("\n" + indent * (level + 1), "\n" + indent * level) if indent else ("", "")
    comma = "," + pad if indent else comma
    if isinstance(node, dict):
        body = comma.join(json.dumps(k, ensure_ascii=False) + colon + write(v, indent, level + 1, colon, ", ") for k, v in node.items())
        return "{" + pad + body + end + "}"
    if indent and all(isinstance(v, Leaf) for v in node):
        return "[" + ", ".join(v.json for v in node) + "]"
    return "[" + pad + comma.join(write(v, indent, level + 1, colon, ", ") for v in node) + end + "]"


def dump(node, rng):
    chance = rng.random()
    if chance < 0.5:
        return write(node, "", 0, ": ", ", ")
    if chance < 0.72:
        return write(node, "", 0, ":", ",")
    if chance < 0.75:
        return write(node, "", 0, " : ", " , ")
    return write(node, rng.choice(("  ", "  ", "    ", "\t", " ")), 0, ": ", ", ")


def leaves(node, path=()):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, Leaf):
        yield path, node
    for key, below in items:
        yield from leaves(below, path + (key,))


def dotted(path, rng):
    brackets = rng.random() < 0.6
    text = ""
    for part in path:
        text += (f"[{part}]" if brackets else f".{part}") if isinstance(part, int) else ("." if text else "") + part
    return text


def quoted(text, rng):
    chance = rng.random()
    if chance < 0.36:
        return keep(text)
    left, right = (('"', '"'), ("'", "'"), ("`", "`"), ('"', '"'), ("'", "'"), ("“", "”"), ("<", ">"), ("**", "**"))[rng.randrange(8)]
    return keep(left + text + right)


def said(key, spoken, rng):
    """The key as written, or as one says it."""
    words, others = spoken.get(key, (key, []))
    chance = rng.random()
    if chance < 0.56 or words == key:
        return quoted(key, rng)
    if chance < 0.9 or not others:
        return words if rng.random() < 0.8 else quoted(words, rng)
    return rng.choice(others)


def refer(path, doc, rng, split):
    if len(path) == 1:
        return said(path[0], doc.spoken, rng)
    if any(isinstance(p, int) for p in path):
        if rng.random() < 0.45:
            return quoted(PATH.pick(rng, split).replace("{p}", dotted(path, rng)), rng)
        place = next(i for i, p in enumerate(path) if isinstance(p, int))
        n = path[place]
        ordinal = ORDINALS[n] if n < 5 else f"{n + 1}th"
        holder = doc
        for p in path[:place]:
            holder = holder[p]
        if n == len(holder) - 1 and n and rng.random() < 0.4:
            ordinal = "last"
        holder = quoted(dotted(path[:place], rng), rng) if place else "the list"
        thing = rng.choice((f"the {ordinal} <of>{holder}", f"<{ordinal} element>{holder}", f"<{ordinal} item>{holder}", f"<{ordinal} entry>{holder}", f"<{ordinal} value>{holder}"))
        thing = thing.replace("<of>", rng.choice(("entry in ", "item in ", "element of ", "value in "))).replace("<", "").replace(">", rng.choice((" of ", " in ")))
        if place == len(path) - 1:
            return thing.replace("the the", "the")
        return f"{said(path[-1], {}, rng)} {rng.choice(('of', 'in', 'from'))} {thing}"
    if rng.random() < 0.5:
        return quoted(PATH.pick(rng, split).replace("{p}", dotted(path, rng)), rng)
    inner = doc[path[0]] if isinstance(doc[path[0]], Doc) else doc
    k = said(path[-1], inner.spoken, rng)
    o = said(path[-2], doc.spoken, rng)
    return INSIDE.pick(rng, split).replace("{k}", k).replace("{o}", o)


def size_of(rng, hardness):
    """Mostly a handful of fields; the easy ones, which come first in training, have two or three."""
    if rng.random() < 0.07 * hardness:
        return rng.randint(7, 11)
    return rng.randint(1 if rng.random() < 0.1 else 2, 2 + round(hardness * 3.4))


def wanted(doc, flat, rng, split):
    """(reference, answer) of one field, or None where its value cannot be given bare."""
    top = [(p, l) for p, l in flat if len(p) == 1]
    names = [p[-1] for p, _ in flat]
    path, leaf = rng.choice(top if top and rng.random() < 0.72 else flat)
    reference = refer(path, doc, rng, split)
    # A nested name that occurs twice must be asked for by its path.
    if len(path) == 1 and names.count(path[0]) > 1 and rng.random() < 0.5:
        return None
    if len(path) > 1 and names.count(path[-1]) == 1 and isinstance(path[-1], str) and rng.random() < 0.25:
        reference = quoted(path[-1], rng)
    return (reference, leaf.text) if leaf.bare else None


def example(rng, split, hardness=1.0):
    doc = document(rng, split, size_of(rng, hardness))
    flat = list(leaves(doc))
    found = wanted(doc, flat, rng, split)
    if found is None:
        return None
    # In training, further turns ask for more of the same document: one reading, several lessons.
    more = []
    for _ in range(rng.choice((0, 1, 2, 3)) if len(flat) > 1 else 0):
        again = (stranger(doc, rng, split), None) if rng.random() < 0.2 else wanted(doc, flat, rng, split)
        if again and again[0]:
            more.append((instruction(again[0], rng, split), again[1]))
    return {"kind": KIND, **ask(found[0], doc, rng, split), "answer": found[1], "more": more}


def instruction(reference, rng, split):
    return humanise(ASK.pick(rng, split).replace("{k}", reference).replace("the the ", "the "), rng, split)


def ask(reference, doc, rng, split):
    description, prompt = layout(instruction(reference, rng, split), dump(doc, rng), rng, split, HEADINGS, quotes=False)
    return {"description": description, "prompt": prompt}


def stranger(doc, rng, split):
    """How one asks for a field that the document does not have."""
    present = {p for path, _ in leaves(doc) for p in path} | set(doc)
    present_words = {w for w, _ in doc.spoken.values()} | {o for _, others in doc.spoken.values() for o in others}
    words, _, _ = concepts.field(rng, split)
    key = concepts.as_key(words, rng.choice(concepts.STYLES))
    if key in present or words in present_words or key.lower() in {str(p).lower() for p in present}:
        return None
    if rng.random() < 0.12:
        flat = [p for p, _ in leaves(doc) if len(p) == 1]
        return quoted(f"{key}.{flat[0][0]}", rng) if flat else None
    return quoted(key, rng) if rng.random() < 0.6 else words


def absent(rng, split, hardness=1.0):
    """Asks for a field that is not there: to be refused."""
    doc = document(rng, split, size_of(rng, hardness))
    reference = stranger(doc, rng, split)
    return {"kind": None, **ask(reference, doc, rng, split), "answer": None} if reference else None
