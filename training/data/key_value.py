"""Text that holds names and values, to be turned into a JSON object: names as written, every value a string."""

import json

from . import concepts
from .concepts import as_key, as_label
from .phrasing import Bank, humanise, layout
from .values import date, ip, make, sentence
from .words import noun

KIND = "key_value"

HEADINGS = Bank("""
text
input
data
lines
record
the text
fields
form
details
content
settings
here is the data
source
entry
log
key values
notes
properties
parameters
pairs
""")

ASK = Bank("""
<turn|convert|transform|make|put|change> <this|the following|it|these lines|the text|these pairs|this text|the data> <into|to> <json|a json object|an object|a json dictionary|a dictionary|a json map>.
<extract|parse|read|collect|get|pull out|list|find> <the|all|all the> <key value pairs|key-value pairs|keys and values|fields and values|fields|pairs|names and values|attributes|properties> [<from|in|of> <this|the|the following> <text|lines|data|input|record|message>][ as json| into json|, as a json object].
<parse|read|process|decode> <this|the|the following> <text|lines|data|record|form|string|log line|input>[ into json| to json| as key-value pairs| into keys and values].
<give me|return|output|show|print|write|produce|build|create|generate> <json|a json object|the json|an object|a dictionary> [<with|of|for|from> <these|all|the> <keys and values|fields|pairs|values|entries>].
<give me|return|output|i need|i want|we need> <this|the data|it|the fields|these fields> <as|in> <json|a json object|json form|json format|a key-value object>.
<key value extraction|key-value extraction|key_value|key/value parsing|key value|to json|as json|json please|text to json|kv to json><:|.|>
which <keys and values|fields and values|pairs|key-value pairs> are <in there|in this text|given|here>?
what are the <keys and values|fields and values|key-value pairs|fields>[ in <this|the> <text|data>]?
<represent|express|encode|format|structure|serialize|rewrite|render|store> <this|the following|the data|the text|these settings> as <json|a json object|an object|key-value json|a flat json object>.
<can this be|i'd like this|i need this|this should be> <turned into|converted to|as|in|written as> json[?].
<make|build> a <json object|dictionary|map> <out of|from> <this|the text|these lines|the following>.
<map|assign> <each|every> <key|name|field> to its value[ as json].
<take|get> <each|every|all> <field|pair|key|line> and <put it into|write it as|return it in> <json|a json object>.
<json|object|dictionary> <from|of|for> <this|these lines|the text|the following>[, please].
<structure|organize> <this|the> <text|information|data|note> <as|into> key-value pairs.
<keys and values|key: value pairs|fields> as json<, please|.|>
<i have|here is> a <list of settings|form|record|log line|config|query string>, <make it json|turn it into json|parse it|give me the pairs>.
<separate|split> <this|the text> into <keys and values|names and values|fields>.
<recognize|identify|detect> the <fields|keys and values|pairs> <and return json|in this text|as json>.
all values as strings, <one|a> json object<:|.|>
<extract|get> <structured data|the structured information|the information|the details|the data> [<from|of> <this|the> <text|line|message>] <as json|as a json object|as key-value pairs|into key-value pairs>.
<return|respond with|reply with|answer with> <a|one> json object <whose keys are the names|holding the pairs|that holds all fields|with all the fields>.
what does this <say|contain>, as <json|key-value pairs>?
convert to <json|key-value json|a json object>
extract <keys and values|key value pairs|all fields>
parse <it|this>
to json
{"<key|name>": "value", ...} <from|of> <this|the following> <text|data>.
""")


def pairs(rng, split, size, spaced=True):
    out = {}
    style = rng.choice(concepts.STYLES) if not spaced or rng.random() < 0.4 else None
    while len(out) < size:
        words, _, kind = concepts.field(rng, split)
        key = as_key(words, style) if style else words
        value = make(kind, rng, split)
        if key.lower() in (k.lower() for k in out) or "\n" in value:
            continue
        if not spaced and any(c in key + value for c in " ;,&=|:\"'"):
            continue
        out[key] = value
    return out


def relabel(found, rng):
    mode = rng.random()
    return {(as_label(k, rng) if mode < 0.55 else k): v for k, v in found.items()}


def lines(rng, split, n):
    found = relabel(pairs(rng, split, n), rng)
    sep = rng.choice((": ", ": ", ": ", ":", " = ", "=", " : ", " - ", " -> ", " → ", "\t", " => ", ":  ", " | ", " .... "))
    if sep.strip() in ("-", ":", "=", "|", ""):
        found = {k: v for k, v in found.items() if (sep.strip() or "\t") not in k}
    bullet = rng.choice(("", "", "", "", "", "- ", "* ", "• ", "#"))
    if bullet == "#":
        return "\n".join(f"{i + 1}. {k}{sep}{v}" for i, (k, v) in enumerate(found.items())), found
    end = rng.choice(("", "", "", "", "", ";", ","))
    if any(v.endswith((".", ",", ";")) for v in found.values()):
        end = ""
    return "\n".join(f"{bullet}{k}{sep}{v}{end}" for k, v in found.items()), found


def one_line(rng, split, n):
    found = pairs(rng, split, n)
    found = relabel(found, rng) if rng.random() < 0.4 else found
    inner, outer = rng.choice(((": ", ", "), (": ", "; "), ("=", "; "), ("=", ", "), (" = ", ", "), (":", ","), (" = ", "; "), (": ", " | "), ("=", " | "), (" - ", "; "), (" -> ", ", "), (":", "; "), (": ", " / "), (": ", " · "), ("=", ";"), ("=", ",")))
    found = {k: v for k, v in found.items() if outer.strip() not in v and inner.strip() not in k and (inner.strip() != "-" or "-" not in v)}
    wrap = rng.choice(("%s",) * 8 + ("{%s}", "(%s)", "[%s]"))
    return wrap % outer.join(f"{k}{inner}{v}" for k, v in found.items()), found


def tight(rng, split, n):
    """Pairs without any space inside: logs, query strings, environment lines."""
    found = pairs(rng, split, n, spaced=False)
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(("", "?", "https://" + noun(rng, split) + ".com/" + noun(rng, split) + "?")) + "&".join(f"{k}={v}" for k, v in found.items() if "#" not in v and "?" not in v and "%" not in v), {k: v for k, v in found.items() if "#" not in v and "?" not in v and "%" not in v}
    if kind < 0.65:
        return " ".join(f"{k}={v}" for k, v in found.items()), found
    if kind < 0.75:
        return " ".join(f"--{k}={v}" for k, v in found.items()), found
    if kind < 0.85:
        return " ".join(f"{k}:{v}" for k, v in found.items()), found
    return "\n".join(f"export {k}={v}" if rng.random() < 0 else f"{k}={v}" for k, v in found.items()), found


def quoted(rng, split, n):
    found = {k: v for k, v in pairs(rng, split, n).items() if '"' not in v and "'" not in v}
    q = rng.choice(('"', '"', "'"))
    form = rng.random()
    if form < 0.4:
        found = {k.replace(" ", "_"): v for k, v in found.items()}
        return " ".join(f"{k}={q}{v}{q}" for k, v in found.items()), found
    if form < 0.6:
        return rng.choice((", ", "; ", "\n")).join(f"{k}: {q}{v}{q}" for k, v in found.items()), found
    if form < 0.8:
        return rng.choice((", ", "\n")).join(f"{q}{k}{q}: {q}{v}{q}" for k, v in found.items()), found
    found = {k.replace(" ", "_"): v for k, v in found.items()}
    return "\n".join(f"{k} = {q}{v}{q}" for k, v in found.items()), found


def table(rng, split, n):
    found = {k: v for k, v in relabel(pairs(rng, split, n), rng).items() if "|" not in v and "," not in v}
    form = rng.random()
    if form < 0.35:
        head = rng.choice(("", "| key | value |\n|---|---|\n", "| Field | Value |\n| --- | --- |\n", "|Name|Value|\n|-|-|\n"))
        return head + "\n".join(f"| {k} | {v} |" for k, v in found.items()), found
    if form < 0.55:
        return "| " + " | ".join(found) + " |\n|" + "---|" * len(found) + "\n| " + " | ".join(found.values()) + " |", found
    comma = rng.choice((",", ";", ", ", "\t", ","))
    found = {k: v for k, v in found.items() if comma.strip() not in v or comma == "\t"}
    if form < 0.8:
        return comma.join(found) + "\n" + comma.join(found.values()), found
    return rng.choice(("key,value\n", "name,value\n", "")) + "\n".join(f"{k},{v}" for k, v in found.items()), found


PROSE = Bank("""
{the}{k} is {v}
{the}{k} is {v}
{the}{k} is {v}
{the}{k}: {v}
{the}{k} equals {v}
{the}{k} was {v}
{the}{k} = {v}
{the}{k} is set to {v}
{the}{k} <is now|reads|says|shows|stands at|is equal to|has the value|amounts to|became|will be|should be|is still|comes to> {v}
{the}{k} -> {v}
{the}{k} := {v}
{the}{k} has {v}
{the}{k} as {v}
? {the}{k} stays {v}
? {the}{k} has been set to {v}
? {the}{k} was set to {v}
? {the}{k} must be {v}
? {the}{k} is: {v}
? {the}{k} counts {v}
? {the}{k} remains at {v}
""", 1)


def prose(rng, split, n):
    found = {k: v for k, v in pairs(rng, split, min(n, 4)).items() if ". " not in v and ", " not in v and not v.endswith(".") and " is " not in v and " and " not in v}
    template = PROSE.pick(rng, split)
    the = rng.choice(("", "", "the ", "The ", "my ", "your ", "its ", "our "))
    found = {k if rng.random() < 0.7 else k.lower(): v for k, v in found.items()}
    parts = [template.replace("{the}", the).replace("{k}", k).replace("{v}", v) for k, v in found.items()]
    if len(parts) < 2:
        return (parts[0] + rng.choice((".", "")), found) if parts else ("", {})
    form = rng.random()
    if form < 0.35:
        return ", ".join(parts[:-1]) + rng.choice((" and ", ", and ", ", ")) + parts[-1] + rng.choice((".", "")), found
    if form < 0.6:
        return ". ".join(parts) + ".", found
    if form < 0.75:
        return "; ".join(parts) + rng.choice((".", "")), found
    return "\n".join(p + rng.choice((".", "")) for p in parts), found


def ini(rng, split, n):
    found = pairs(rng, split, n, spaced=False)
    found.update()
    sep = rng.choice(("=", " = ", ": ", ":"))
    head = rng.choice((f"[{noun(rng, split)}]\n", f"# {noun(rng, split)} settings\n", f"; {noun(rng, split)}\n", "---\n", ""))
    return head + "\n".join(f"{k}{sep}{v}" for k, v in found.items()), found


def framed(rng, split, n):
    """Pairs after a few words: a log line, a greeting, a heading."""
    text, found = rng.choice((one_line, tight, quoted, lines, tight))(rng, split, n)
    if "?" in text[:1] or "http" in text[:5]:
        return text, found
    start = rng.choice((lambda: make("datetime", rng, split) + rng.choice((" INFO ", " WARN ", " [main] ", " ")), lambda: sentence(rng, split, 1, 3) + rng.choice((" - ", "\n", " | ")), lambda: rng.choice(("Details - ", "New entry ", "Hi, ", "Customer data\n", "Order details:\n", "Config:\n", "INFO ", "received ", "Settings\n", "Registration form\n"))))()
    return start + text, found


FORMS = (lines,) * 6 + (one_line,) * 5 + (tight,) * 3 + (quoted,) * 2 + (table,) * 3 + (prose,) * 4 + (ini, framed)


def example(rng, split, hardness=1.0):
    n = rng.choice((1, 2, 2, 2, 3, 3, 3, 3, 4, 5)) if hardness > 0.4 else rng.choice((1, 1, 2, 2, 3))
    text, found = rng.choice(FORMS)(rng, split, n)
    if not found or not text.strip() or any('"' in v for v in found.values()) and rng.random() < 0.7:
        return None
    instruction = humanise(ASK.pick(rng, split), rng, split)
    description, prompt = layout(instruction, text, rng, split, HEADINGS, quotes=False, inline="\n" not in text)
    return {"kind": KIND, "description": description, "prompt": prompt, "answer": json.dumps(found, ensure_ascii=False, separators=(",", ":"))}
