"""Raw e-mails in many shapes, and who sent them about what."""

import json

from .phrasing import Bank, humanise, layout
from .values import code, date, domain, email, make, number, person, phone, sentence
from .words import noun

KIND = "email_parse"

HEADINGS = Bank("""
email
e-mail
message
mail
raw email
headers
the email
input
raw message
email headers
source
text
the message
here is the email
content
received message
inbox
""")

ASK = Bank("""
<parse|read|analyze|process|decode|take apart|break down> <this|the|the following> <email|e-mail|message|mail|raw email|email message>[ and <return|give|output|report> <the |>sender and <the |>subject[ as json]].
<extract|get|pull|return|find|give me|list|grab|pull out|identify|read> <the |>sender and <the |>subject <from|of|in> <this|the|the following> <email|e-mail|message|mail|headers>[ as json|, as json].
<extract|get|return|give me|find> <the |>from address and <the |>subject[ line] <from|of> <this|the> <email|message|mail>.
who sent this<| email| e-mail| message| mail> and <about what|what about|what is it about|what is the subject|with what subject|with which subject|what's the subject line>?
who <wrote|sent> <this|it|the mail> and what is <the|its> <subject|subject line|topic>?
<who is|who's> <this|the email|it|this mail|this message> from and what is it about?
<who|which address> is the sender and what is the subject[ line][ of this <email|message>]?
what <is|are> the sender<| address| email> and <the |>subject<| line>[ of <this|the> <email|message|mail>]?
<from whom|from which address> did this <come|arrive> and <what is the subject|with what subject>?
<email parse|parse email|email parsing|email_parse|parse mail|mail parser><.|:|>
<return|output|produce|give me|build|make> <json|a json object|an object> with <sender and subject|the sender and the subject|keys sender and subject|the fields sender and subject|"sender" and "subject">[ for <this|the> <email|message|mail>].
<i need|i want|we need> <the |>sender and <the |>subject[ of <this|the> <email|message|mail>][ as json].
<sender and subject|sender, subject|sender + subject|from and subject>[ of <this|the> <email|message|mail>][, please].
<subject and sender|subject and from address> <of|from> <this|the> <email|message|mail>[, please].
<turn|convert|transform|boil> <this|the> <email|message|mail> <into|down to> <sender and subject|a json with sender and subject|{"sender", "subject"}>.
<summarise|reduce> the <email|mail> <headers|header> to <sender and subject|who sent it and the subject>.
<get|extract|parse|read> the <email|mail> <headers|header|header fields|metadata>[: sender and subject].
<pull|take|copy> <the |>sender<'s address| address|> and <the |>subject <out of|from> <this|the> <email|message|mail|headers>.
what does the header say: <sender and subject|who sent it, and the subject>?
<identify|determine|tell me|work out|find out> <who sent this|the sender|who it is from> and <what about|the subject|what the subject is|what it is about>.
tell me <who sent it|who wrote this|the sender|who this is from> and the subject[ line].
<fill in|complete>: sender = ?, subject = ?
<log|record|note|register> the sender and the subject of <this|the> <incoming|new|received|> <email|message|mail>.
<for our|for the> <ticket system|inbox|log|crm|archive>: <sender and subject|who wrote, and the subject>[ of this <email|mail>].
an email came in. <who sent it and about what|extract sender and subject|give me sender and subject|parse it><?|.>
<look at|check|see> this <email|mail|message> and <give|return|tell> me the sender and subject.
<scan|inspect|examine|open> <this|the> <email|mail|message> <and report|for> <the |>sender and <the |>subject.
<sender email|sender address|from> and subject[ line], <please|as json|in json>.
what's in this <email|mail>'s from and subject <lines|fields|headers>?
<which|what> address sent this and under which subject?
<email|message|mail> → <sender, subject|{sender, subject}>
who is writing and <what about|about what|what is the subject>?
<split|decompose|dissect> this <email|mail> into sender and subject.
<name|give|state|report|show> the sender and the subject of <this|the> <email|message|mail>.
extract <metadata|information|info|details|key data> from <this|the> <email|mail|message>[: sender and subject| (sender, subject)].
parse the <message|mail> below into sender and subject.
""")

DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
OTHER_NAMES = [("Von", "An", "Betreff", "Datum"), ("De", "Para", "Asunto", "Fecha"), ("De", "À", "Objet", "Date"), ("Da", "A", "Oggetto", "Data"), ("Van", "Aan", "Onderwerp", "Datum"), ("De", "Para", "Assunto", "Data"), ("Från", "Till", "Ämne", "Datum")]
SUBJECTS = Bank("""
<invoice|order|ticket|booking|reservation|shipment|contract|claim|request> {c}
your <order|invoice|booking|receipt|subscription|application|parcel|ticket|account|appointment> {c}
<meeting|call|lunch|review|workshop|training|interview> <on|at|about|with> {n}
<question|feedback|update|news|note|report|reminder|notes> <about|on|regarding|from|for> {t}
{t}
{t}
{t}
{t}
{t}
{t}
{t} <-|:|/|–|,|—> {n}
<re|RE|Re|AW|Fwd|FW|Fw|WG>: {t}
<re|RE|Re|Aw|Fwd|FW|Fw>: <re|Re|RE|Fwd>: {t}
[{n}|URGENT|{n} {c}|EXTERNAL|JIRA|Ticket {c}] {t}
({n}) {t}
{n} {c}: {t}
{c}
<urgent|important|action required|reminder|final notice|note|FYI|attention|last chance>: {t}
{n}?
<can we|could you|shall we|did you> <talk about|check|send|move|see> <the |>{n}?
{t}!
"{n}" <is ready|was updated|was shared with you|needs your approval>
{p} <shared|sent|commented on|invited you to|assigned you> {n}
<welcome to|thanks for|good news from|hello from|greetings from> {n}<!||>
{n} & {n}
<out of office|automatic reply|undelivered mail|delivery status notification>: {t}
{n} <v|version |#>{d}
<weekly|monthly|daily|quarterly> {n} <report|digest|summary|newsletter>
""")
BODY = Bank("""
<hi|hello|dear> {f},
please <find|see> the {n} attached.
<thanks|best|regards|cheers|best regards|kind regards|sincerely>,
we have <received|shipped|checked> your {n}.
can you <send|check|call> me <at {ph}|back|today>?
the {n} <is|was> {n} and the {n} is {n}.
let me know <about|if> the {n}.
my new address is {e}.
<contact|write to|reply to> {e} <for|about> {n}.
see you on {da}.
please do not reply to this <message|email>.
> From: {e}
> the {n} was {n}
-- 
{f} wrote:
{t}.
{t}
<subject|regarding>: the {n} we discussed
it costs {m}.
i am writing about the {n}.
sent from my <phone|tablet>
""")


def fill(text, rng, split):
    for slot, make_it in (("{c}", code), ("{n}", noun), ("{t}", sentence), ("{p}", person), ("{f}", lambda r, s: person(r, s).split()[0]), ("{d}", number), ("{e}", email), ("{ph}", phone), ("{da}", date), ("{m}", lambda r, s: make("money", r, s))):
        while slot in text:
            text = text.replace(slot, make_it(rng, split), 1)
    return text


def subject(rng, split):
    text = fill(SUBJECTS.pick(rng, split), rng, split)
    return text[0].upper() + text[1:] if rng.random() < 0.75 else text


def mailbox(name, address, rng):
    chance = rng.random()
    if chance < 0.42:
        return f"{name} <{address}>"
    if chance < 0.55:
        return f'"{name}" <{address}>'
    if chance < 0.8:
        return address
    if chance < 0.86:
        return f"<{address}>"
    if chance < 0.9:
        return f"{address} ({name})"
    if chance < 0.93:
        return f'"{", ".join(reversed(name.split(" ", 1)))}" <{address}>'
    if chance < 0.95:
        return f"{name} [mailto:{address}]"
    if chance < 0.97:
        return f"'{name}' <{address}>"
    return f"{name} ({address})"


def stamp(rng):
    return f"{rng.choice(DAYS)}, {rng.randint(1, 31)} {rng.choice(MONTHS)} {rng.randint(2018, 2029)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02} {rng.choice(('+0000', '+0200', '-0500', 'GMT', '+0530', '+0100'))}"


def other(rng, split):
    """A header line beside the two that matter."""
    address = email(rng, split)
    host = domain(rng, split)
    return rng.choice((
        lambda: ("Date", stamp(rng)), lambda: ("Date", date(rng, split)), lambda: ("Cc", mailbox(person(rng, split), address, rng)), lambda: ("Message-ID", f"<{code(rng, split)}@{host}>"),
        lambda: ("Reply-To", address), lambda: ("Return-Path", f"<{address}>"), lambda: ("X-Mailer", noun(rng, split).capitalize() + " 1." + str(rng.randint(0, 9))), lambda: ("MIME-Version", "1.0"),
        lambda: ("Content-Type", rng.choice(("text/plain; charset=utf-8", "text/html", "multipart/alternative"))), lambda: ("Received", f"from {host} by {domain(rng, split)}; {stamp(rng)}"),
        lambda: ("Delivered-To", address), lambda: ("Importance", rng.choice(("high", "normal"))), lambda: ("X-Priority", str(rng.randint(1, 5))), lambda: ("Bcc", address), lambda: ("In-Reply-To", f"<{code(rng, split)}@{host}>"),
        lambda: ("List-Id", f"{noun(rng, split)} <{host}>"), lambda: ("Attachments", make("filename", rng, split)), lambda: ("Sent", date(rng, split)), lambda: ("X-Spam-Status", "No")))()


def message(rng, split, hardness, sender, about):
    """The text of one e-mail. `sender` or `about` may be None: then its line is missing."""
    name = person(rng, split)
    names = ("From", "To", "Subject", "Date")
    if rng.random() < 0.05:
        names = rng.choice(OTHER_NAMES)
    lines = []
    if sender is not None:
        lines.append((names[0], mailbox(name, sender, rng) if "@" in sender else sender))
    if rng.random() < 0.75:
        to = mailbox(person(rng, split), email(rng, split), rng)
        if rng.random() < 0.1:
            to += ",\n  " + mailbox(person(rng, split), email(rng, split), rng) if rng.random() < 0.5 else ", " + email(rng, split)
        lines.append((names[1], to))
    if about is not None:
        lines.append((names[2], about))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3)) if hardness > 0.3 else rng.choice((0, 0, 1))):
        lines.append(other(rng, split))
    if rng.random() < 0.55:
        rng.shuffle(lines)
    form = rng.random()
    colon = ": " if form < 0.9 else ":" if form < 0.94 else rng.choice((" : ", ":  ", ":\t"))
    case = rng.random()
    if case < 0.07:
        lines = [(n.lower(), v) for n, v in lines]
    elif case < 0.1:
        lines = [(n.upper(), v) for n, v in lines]
    elif case < 0.13:
        lines = [(f"**{n}**" if rng.random() < 2 else n, v) for n, v in lines]
    gap = "\n" if rng.random() < 0.93 else rng.choice((" | ", "; ", "\n\n", " / ", "\r\n"))
    text = gap.join(n + colon + v for n, v in lines)
    if rng.random() < 0.45 and "\n" in text:
        text += "\n\n" + body(rng, split, hardness)
    if rng.random() < 0.07:
        text = rng.choice(("---------- Forwarded message ---------", "-----Original Message-----", "Begin forwarded message:\n", "Weitergeleitete Nachricht:", "----- Forwarded by " + name + " -----", "________________________________")) + "\n" + text
    if rng.random() < 0.03:
        text = "\n".join("> " + l for l in text.split("\n"))
    return text


def body(rng, split, hardness=1.0):
    lines = [fill(BODY.pick(rng, split), rng, split) for _ in range(rng.randint(1, 2 + int(1.5 * hardness)))]
    return "\n".join(l[0].upper() + l[1:] for l in lines)


PROSE = Bank("""
{s} <wrote|wrote to us|sent us an email|sent a message|emailed us|emailed me> <with the subject|with subject|, subject:|under the subject> {q}.
<an email|a message|a mail> from {s} <arrived|came in|was received> <with the subject|with the subject line|, subject> {q}.
<on|at> {da} {s} <sent|wrote> "{t2}", <subject|subject line> {q}.
from {s} <to|for> {e}, <subject|re> {q}
mail from=<{s}> to=<{e}> subject={q}
from={s} subject={q} <size|status>={d}
from={s}, to={e}, subject={q}
{da} INFO incoming mail from {s} subject {q}
new message from {s}: <subject|subject line|the subject is> {q}
<the sender is|sent by|written by|from> {s} and the subject <is|reads|was> {q}.
the subject <is|was|reads> {q}, <and it was sent by|sent by|from|the sender is> {s}.
subject {q} <sent by|from|by> {s} on {da}
<received|got> {q} <as the subject of a mail from|as subject from> {s}
{"from": "{s}", "to": "{e}", "subject": {q}}
{"sender": "{s}", "subject": {q}, "date": "{da}"}
{"subject": {q}, "from": "{s}"}
<{s}> {q}
""")


def example(rng, split, hardness=1.0):
    sender = email(rng, split)
    about = subject(rng, split)
    chance = rng.random()
    if rng.random() < 0.13:
        text = PROSE.pick(rng, split)
        text = text.replace("{q}", f'"{about}"' if '"' not in about else f"'{about}'").replace("{s}", sender if "<{s}>" in text or '"{s}"' in text or "=" in text else mailbox(person(rng, split), sender, rng) if rng.random() < 0.4 else sender)
        text = fill(text.replace("{t2}", "{t}"), rng, split)
        if "<wrote" in text or text.count('"') % 2:
            return None
    else:
        missing = chance < 0.035
        text = message(rng, split, hardness, None if missing and chance < 0.015 else (person(rng, split) if missing and chance < 0.022 else sender), None if missing and chance >= 0.022 else about)
        if missing:
            return {"kind": None, **ask(text, rng, split), "answer": None}
    return {"kind": KIND, **ask(text, rng, split), "answer": json.dumps({"sender": sender, "subject": about}, ensure_ascii=False, separators=(",", ":"))}


def ask(text, rng, split):
    instruction = humanise(ASK.pick(rng, split), rng, split)
    description, prompt = layout(instruction, text, rng, split, HEADINGS, quotes=False, inline="\n" not in text)
    return {"description": description, "prompt": prompt}
