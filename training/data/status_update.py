"""Something changed; one line says what is now the case: `<Subject> is now <state>.`

The subject stands as it was written. One that starts with a small letter gets `The` in front (instead of its own
article, if it had one): "Mark order 4711 as shipped" → "The order 4711 is now shipped."; "Anna is away" → "Anna is now
away." So every word of the answer but the first can be copied. The state stands as it was written, in lower case unless
it holds capitals of its own inside, `_` as a space. Plurals take `are`.
"""

import json

from .concepts import CONCEPTS
from .phrasing import Bank, humanise, layout
from .values import city, code, company, digits, first, handle, make, person, product, sentence, version
from .words import ADJECTIVES, Pool, noun

KIND = "status_update"

HEADINGS = Bank("""
event
input
change
update
what happened
note
log
message
details
information
facts
text
status
news
entry
""")

THINGS = Pool("order ticket invoice shipment parcel package task issue case request claim bug job build deployment server machine printer database node router service website pipeline backup room project account payment booking reservation flight train bus delivery contract application device sensor camera door elevator gate battery license subscription user account document report draft proposal pull request branch release feature milestone sprint test ship truck vehicle car bike table seat appointment meeting course exam event campaign product item article batch machine robot drone valve pump oven boiler alarm light window bridge road lane station store shop warehouse dock container vault safe patient position candidate refund loan policy permit visa".split())
PLAIN = Pool("the website|the printer|our server|the database|the office|the east gate|the coffee machine|the elevator|the kitchen|the night shift|the newsletter|the payment gateway|the mobile app|the main road|the swimming pool|the gym|the front door|my laptop|the heating|the air conditioning|the web shop|the staging environment|the production database|the login service|the search index|the mail server|the parking garage|the loading dock|the assembly line|the backup generator|the conference room|the library|the museum|the ferry|the border|the bridge|the tunnel|the north entrance|the VPN|the wifi|the API|the customer portal|the payroll run|the annual report|the budget|the design review|the security audit|the data migration|the code freeze|the hiring round|the kickoff meeting".split("|"))
STATES = Pool("""shipped delivered cancelled paid open closed resolved active inactive pending approved rejected blocked running stopped failed completed archived enabled disabled overdue returned expired verified suspended online offline available unavailable
ready finished done started live down up full empty locked unlocked busy free occupied vacant broken repaired fixed merged deployed released published signed unsigned assigned unassigned late delayed early lost found sold reserved booked confirmed unconfirmed refunded packed unpacked
loaded processed queued paused resumed muted hidden visible public private valid invalid clean dirty charged discharged cold hot warm safe stable critical healthy unhealthy reachable unreachable connected disconnected synced outdated current complete incomplete postponed
scheduled rescheduled escalated acknowledged reopened deferred waiting idle starting stopping degraded operational armed disarmed grounded boarding departed landed arrived docked stuck empty replaced upgraded installed uninstalled audited funded approved billed""".split())
PHRASES = Pool("""in progress|on hold|out of stock|in stock|out of order|in transit|under review|in review|under maintenance|ready for pickup|ready for review|ready for release|waiting for approval|waiting for payment|waiting for the customer|out for delivery|on its way|at the warehouse|at customs|back online|back in stock|up and running|
sold out|fully booked|not available|not reachable|no longer available|on schedule|behind schedule|ahead of schedule|on track|at risk|in production|in testing|in quarantine|in repair|in use|up to date|out of date|under construction|on sale|on vacation|on leave|on the way home|out of office|
ready to ship|ready to use|partly paid|partially shipped|fully operational|temporarily closed|permanently closed|open to the public|closed for the season|feature complete|code complete|low on paper|out of paper|over budget|within budget|assigned to the night team|with the legal team|in the backlog|in beta|end of life|read-only""".replace("\n", "").split("|"))

# What goes on without a number or a name.
GOINGS = Pool("processing|deployment|the deployment|installation|the backup|training|the import|registration|payment|the upload|the download|shipping|the migration|maintenance|data processing|order processing|production|development|testing|the review|the investigation|boarding|check-in|the search|the scan|the export|indexing|the upgrade|the update|the build|the release|the rollout|the cleanup|the inspection|the repair|construction|the meeting|the vote|the auction|the sale|recruiting|the audit|the test run|the transfer|the installation|the synchronization|work|step 3|phase 2|the game|the system|the service|the network|everything|status|the status|my status|the task|the job|the order|the request|the ticket|the shipment".split("|"))

# {s} subject, {v} state
COMMAND = Bank("""
mark {s} as {v}
mark {s} {v}
set {s} to {v}
set the status of {s} to {v}
set the state of {s} to {v}
change {s} to {v}
change the status of {s} to {v}
change the status of {s} from {w} to {v}
change {s} from {w} to {v}
move {s} to {v}
move {s} from {w} to {v}
update {s} to {v}
update the status of {s} to {v}
update {s}: {v}
switch {s} to {v}
switch {s} from {w} to {v}
flag {s} as {v}
put {s} into the state {v}
record that {s} is {v}
record {s} as {v}
log {s} as {v}
note that {s} is {v}
note that {s} is now {v}
declare {s} {v}
turn {s} from {w} to {v}
report that {s} is {v}
register {s} as {v}
tag {s} as {v}
please mark {s} as {v}
transition {s} to {v}
list {s} as {v}
<info|information|note|action|command|instruction|request|to do|todo|next>: <change|set|update|switch|move|put> <|the status of |the state of >{s} to {v}
<info|information|note|action|command|instruction|request|to do|todo|next> - <change|set|update|switch|move> <|the status of |the state of >{s} to {v}
{s} to {v}, please
{s} should be {v} now
{s} should now be marked {v}
the status of {s} should be {v}
make {s} {v}
assign the <status|state> {v} to {s}
give {s} the <status|state> {v}
bring {s} to {v}
reset {s} to {v}
reset {s} from {w} to {v}
new status {v} for {s}
set {v} as the <new |>status of {s}
set {v} for {s}
<change|switch|update> the status from {w} to {v} for {s}
save {s} with status {v}
save {s} as {v}
treat {s} as {v}
consider {s} {v}
show {s} as {v}
<update|set> the <record|entry|board> for {s}: {v}
? please set {s} as {v}
? the status of {s} has to be {v}
? flip {s} to {v}
? note {s} as {v}
? {s}: set to {v}
? switch the status of {s} from {w} to {v}
""")
STATEMENT = Bank("""
{s} is {v}
{s} is {v}
{s} is now {v}
{s} has been {v}
{s} was {v}
{s} just became {v}
{s} became {v}
{s} has become {v}
{s} went from {w} to {v}
{s} changed to {v}
{s} changed from {w} to {v}
{s} got {v}
{s} is finally {v}
{s} is currently {v}
{s} was {w} and is now {v}
{s} was {w}, now it is {v}
{s} is no longer {w}, it is {v}
{s} is not {w} any more but {v}
{s} went {v}
{s} moved from {w} to {v}
{s} moved to {v}
{s} has just been {v}
{s} has been set to {v}
{s} was set to {v}
{s} was marked as {v}
{s} has been marked {v}
{s} was switched to {v}
{s} turned {v}
{s} is {v} again
{s} is {v} since {t}
{s} is {v} as of {t}
{s} has been {v} since {t}
{s} was {v} at {t}
as of {t}, {s} is {v}
since {t} {s} is {v}
at {t} {s} was {v}
{s} {v}
{s} -> {v}
{s} → {v}
{s}: {v}
{s}: {w} -> {v}
{s}: {w} → {v}
{s} - {v}
{s} = {v}
{s} ({v})
{s} status: {v}
{s}, status {v}
{s}, {v}
{s} status={v}
[{t}] {s} {v}
{t} {s} is {v}
{t} {s}: {v}
{t} {s} changed from {w} to {v}
status of {s}: {v}
status of {s} is {v}
the status of {s} is {v}
the status of {s} changed to {v}
the status of {s} changed from {w} to {v}
the new status of {s} is {v}
new status for {s}: {v}
we <just|have just|finally> set {s} to {v}
i <just|have just> marked {s} as {v}
old status of {s}: {w}, new status: {v}
previously {w}, {s} is now {v}
after being {w}, {s} is {v}
{n} reports that {s} is {v}
{n} says {s} is {v}
{n} set {s} to {v}
{n} changed the status of {s} to {v}
{n} marked {s} as {v}
it turns out that {s} is {v}
good news: {s} is {v}
bad news: {s} is {v}
fyi: {s} is {v}
heads up, {s} is {v}
<note|attention|reminder|hint|breaking|notice|for your information|hello|hi|important|news|urgent|listen|look|hey all|info|alert|notification>: {s} is <|now >{v}
<note|attention|reminder|hint|breaking|notice|for your information|hello|hi all|ok|so|well|by the way|btw|just so you know|dear all|good morning>, {s} is <|now >{v}
<note|attention|reminder|breaking|notice|for your information|info|alert|news> - {s} is <|now >{v}
<note|attention|reminder|breaking|notice|for your information|info|alert|news>: <new|current|latest> <status|state> <of|for> {s}: {v}
<note|attention|notice|info|alert|news|message>: {s} changed from {w} to {v}
<note|attention|notice|info|alert|news|message>: the <new |>status of {s} is {v}
{s} is not {w} but {v}
{s} is {v}, not {w}
{s} is {v} and not {w}
{s} is {v} instead of {w}
{s} is {v} rather than {w}
{s} isn't {w} anymore, it's {v}
{s} is not {w} anymore; it is {v}
{s} is no longer {w} but {v}
{s} isn't {w}, it is {v}
{s} was {w} but is {v} now
{s} was {w} until {t}, now it is {v}
{s}, which was {w}, is now {v}
{s} used to be {w}; now it is {v}
{s} used to be {w} but is {v}
instead of {w}, {s} is now {v}
no longer {w}: {s} is {v}
from {w} to {v}: {s}
<new|current|latest|updated> <state|status> <of|for> {s}: {v}
<new|current|latest|updated> <state|status> <of|for> {s} is {v}
the <new|current|latest|updated> <state|status> <of|for> {s} is {v}
the <new|current|latest> <state|status> <of|for> {s}: {v}
status <update|change|report> for {s}: {v}
latest on {s}: {v}
state of {s}: {v}, before: {w}
the state of {s} is now {v}
{s} reports {v}
{s} now counts as {v}
{s} now shows as {v}
{n} tells us that {s} is {v}
{n} writes: {s} is {v}
{n} noted that {s} is no longer {w} but {v}
<confirmed|update|done|finally>: {s} {v}
? {s} appears to be {v}
? {s} has turned {v}
? we see that {s} is {v}
? {n} confirmed: {s} is {v}
? the status of {s} went from {w} to {v}
? {s} finally became {v} at {t}
? {s} switched from {w} to {v}
? update from {n}: {s} is {v}
? {t}: {s} is {v}
? {s} remains {v}
? {s} has changed its status to {v}
? it seems that {s} is {v}
? as {n} says, {s} is {v}
? {s} had been {w}; it is {v} now
""")
STRUCTURED = Bank("""
{a}: {b}, status: {v}
{a}: {b}⏎status: {v}
{a}: {b}; status: {v}
{a}={b} status={v}
{a}={b}, state={v}
{a}: {b}⏎old status: {w}⏎new status: {v}
{a}: {b}, old: {w}, new: {v}
{a}: {b} | from: {w} | to: {v}
{"{a}": "{b}", "status": "{v}"}
{"{a}": "{b}", "old": "{w}", "new": "{v}"}
{"{a}": "{b}", "from": "{w}", "to": "{v}"}
{"status": "{v}", "{a}": "{b}"}
status: {v}⏎{a}: {b}
- {a}: {b}⏎- status: {v}
{a}: {b}⏎status: {v}⏎time: {t}
{a}: {b}⏎previous: {w}⏎current: {v}
{a}: {b}⏎before: {w}⏎now: {v}
{a}: {b}⏎from: {w}⏎to: {v}
{a}: {b}, before: {w}, after: {v}
{a}: {b}, previous status: {w}, current status: {v}
{a}={b}, old={w}, new={v}
{a}={b} from={w} to={v}
{a}={b}; status={v}; time={t}
{a}: {b} / status: {v}
{"{a}": "{b}", "previous": "{w}", "current": "{v}"}
{"old": "{w}", "new": "{v}", "{a}": "{b}"}
old: {w}⏎new: {v}⏎{a}: {b}
time: {t}⏎{a}: {b}⏎status: {v}
""")
WRAP = Bank("""
<write|give|compose|create|make|produce|draft|formulate|generate> <a|one|a short|a one-line|a brief|a single-line> status <update|line|message|note|report>[ <for|about|on|from> <this|the following|this change|this event>].
<status update|status line|status message|status>[ <please|in one line|in one sentence>]<:|.|>
<say|tell|state|write> in one <line|sentence> what is now the case.
<what is|what's> <now the case|the current status|the new status|the status now|the current state|the status>?
<what is|what's> the <current|new|latest> status <here|of this|after this>?
<turn|convert|make|rewrite|put|rephrase> <this|the following|that|it> <into|as> a <status update|status line|one-line status|short status message|status message>.
<summarise|report|phrase|express> <this|the> <change|event|update> <as|in> <a|one> status <line|update>.
<post|send|publish|announce> <a|the> status <update|line>[ <for|about> <this|the change>].
<status_update|update status|status change|change of status><:|.|>
<tell|inform> the <team|customer|users|channel|client|people> <about it |>in one <line|sentence>.
<one line|one sentence|short>, please: what is the status <now|>?
<give|write> me the status <in one line|in a single line|in one short sentence|as one line>.
<i need|we need|i want> <a|one> <status line|status update|one-line status|status message>[ for <this|the log|the channel|the customer|the board>].
how does it <stand|look> now?
<apply|perform|carry out|confirm> <this|the> <change|update> and <say|report|tell me> <what is now the case|the new status|the result> in one <line|sentence>.
<confirm|acknowledge> <this|the> <change|update|command> in one <line|sentence>.
<update|status> for the <board|log|channel|customer|dashboard|ticker|team>[ in one line].
where do we stand[ now]?
<put out|prepare|provide|supply> a <short|brief|one-line> <status|update>.
<log|record|note> the <new|current|> status in one <line|sentence>.
<what changed|what happened|what's new>? <one line|in one line|one sentence>[, please].
<state|report|announce> the new state.
<formulate|word> the <status|new state|result> as a <sentence|line>.
""")


def subject(rng, split):
    """(as written in the input, as the answer writes it, plural?)"""
    chance = rng.random()
    thing = THINGS.pick(rng, split) if rng.random() < 0.72 else noun(rng, split)
    if chance < 0.38:
        ident = rng.choice((lambda: digits(rng, rng.randint(1, 6)), lambda: "#" + digits(rng, rng.randint(1, 5)), lambda: code(rng, split), lambda: digits(rng, 4)))()
        name = f"{thing} {ident}"
        name = name if rng.random() < 0.55 else name[0].upper() + name[1:]
        if rng.random() < 0.16:
            return "the " + name, name, False
    elif chance < 0.5:
        plain = PLAIN.pick(rng, split)
        return plain, plain.split(" ", 1)[1], False
    elif chance < 0.55:
        going = GOINGS.pick(rng, split)
        return going, going.split(" ", 1)[1] if going.startswith(("the ", "my ")) else going, False
    elif chance < 0.6:
        article = rng.choice(("the", "the", "our", "my", "your", "this"))
        name = f"{rng.choice((ADJECTIVES.pick(rng, split), noun(rng, split)))} {thing}"
        return f"{article} {name}", name, False
    elif chance < 0.66:
        name = rng.choice((person, person, first))(rng, split)
    elif chance < 0.72:
        name = rng.choice((handle(rng, split), f"{thing}-{rng.randint(1, 99)}", f"{noun(rng, split)}-{thing}-{rng.randint(1, 20):02}", f"{thing} {handle(rng, split)}"))
    elif chance < 0.79:
        name = f"{thing} {rng.choice(QUOTE)}".replace("%", sentence(rng, split, 1, 4))
        if rng.random() < 0.35:
            return "the " + name, name, False
    elif chance < 0.85:
        name = f"{rng.choice(('project', 'Project', 'release', 'version', 'phase', 'build', 'feature', 'branch', 'room', 'line', 'route', 'zone', 'area', 'platform', 'gate'))} {rng.choice((noun(rng, split).capitalize(), version(rng, split), rng.choice('ABCDEFGH'), city(rng, split), str(rng.randint(1, 99))))}"
    elif chance < 0.9:
        name = f"the {thing} {rng.choice(('for', 'from', 'of', 'in', 'at', 'to'))} {rng.choice((person, city, company, noun))(rng, split)}"
        return name, name.split(" ", 1)[1], False
    elif chance < 0.94:
        n = rng.choice((f"{thing}s {digits(rng, 3)} and {digits(rng, 3)}", f"all {thing}s", f"{rng.randint(2, 40)} {thing}s", f"{first(rng, split)} and {first(rng, split)}", f"both {thing}s"))
        return n, n, True
    else:
        name = rng.choice((product, company, city))(rng, split)
    return name, name, False


QUOTE = ('"%"', "'%'", "“%”", "%")


def state(rng, split, participle=False):
    chance = rng.random()
    if participle or chance < 0.6:
        return STATES.pick(rng, split)
    if chance < 0.84:
        return PHRASES.pick(rng, split)
    if chance < 0.9:
        return f"{rng.randint(1, 100)}{rng.choice(('%', ' %', ' percent'))} {rng.choice(('complete', 'done', 'full', 'charged', 'finished', 'loaded'))}"
    if chance < 0.94:
        return ADJECTIVES.pick(rng, split)
    return rng.choice((f"in {city(rng, split)}", f"assigned to {first(rng, split)}", f"delayed by {rng.randint(2, 90)} minutes", f"at version {version(rng, split)}", f"in room {rng.randint(1, 400)}", f"at {rng.randint(2, 99)} degrees", f"waiting for {person(rng, split)}", f"with {company(rng, split)}"))


def canonical(subject_text, state_text, plural):
    v = state_text.replace("_", " ")
    v = v[0].lower() + v[1:] if v[1:] == v[1:].lower() else v.lower() if v == v.upper() else v
    first = subject_text.split(" ")[0]
    s = subject_text[0].upper() + subject_text[1:] if first in ("all", "both") else f"The {subject_text}" if subject_text[0].islower() else subject_text
    return f"{s} {'are' if plural else 'is'} now {v}."


def dressed(v, rng):
    """A state as systems write it."""
    chance = rng.random()
    if chance < 0.62 or not v.replace(" ", "").replace("-", "").isalpha():
        return v
    if chance < 0.74:
        return v.upper().replace(" ", "_") if rng.random() < 0.6 else v.upper()
    if chance < 0.86:
        return v.replace(" ", "_")
    return v.capitalize()


def example(rng, split, hardness=1.0):
    written, name, plural = subject(rng, split)
    t = rng.choice((lambda: make("time", rng, split), lambda: make("date", rng, split), lambda: rng.choice(("yesterday", "this morning", "today", "noon", "last night", "Monday", "10 minutes ago", "last week", "tonight"))))()
    chance = rng.random()
    v, w = state(rng, split), state(rng, split)
    if chance < 0.36:
        text = COMMAND.pick(rng, split)
        v, w = (dressed(v, rng), dressed(w, rng)) if rng.random() < 0.35 else (v, w)
        if rng.random() < 0.2:
            v_written = rng.choice(('"%s"', "'%s'", "`%s`")) % v
            text = text.replace("{v}", v_written)
    elif chance < 0.86 or plural:
        text = STATEMENT.pick(rng, split)
        if any(x in text for x in ("been {v}", "was {v}", "got {v}", "went {v}", "{s} {v}")):
            v = state(rng, split, participle=True) if "went" not in text else rng.choice(("offline", "down", "live", "online", "dark", "missing", "bankrupt", "public", "up"))
        if any(x in text for x in ("->", "→", ":", "=", "status", "state")) and rng.random() < 0.4:
            v, w = dressed(v, rng), dressed(w, rng)
        if plural:
            text = text.replace("{s} is", "{s} are").replace("{s} was", "{s} were").replace("{s} has", "{s} have").replace("it is", "they are")
    else:
        text = STRUCTURED.pick(rng, split)
        a = THINGS.pick(rng, split) if rng.random() < 0.8 else noun(rng, split)
        b = rng.choice((code, lambda r, s: digits(r, r.randint(1, 6)), handle))(rng, split)
        if rng.random() < 0.3:
            a = a.capitalize()
        v, w = dressed(v, rng), dressed(w, rng)
        name = f"{a} {b}"
        text = text.replace("⏎", "\n").replace("{a}", a).replace("{b}", b)
        if rng.random() < 0.3:
            text = text.replace("status", rng.choice(("state", "Status", "new_status")))
    text = text.replace("{s}", written).replace("{v}", v).replace("{w}", w).replace("{t}", t).replace("{n}", first(rng, split))
    if chance < 0.86 and rng.random() < 0.5:
        text = text[0].upper() + text[1:]
        capital = name[0].upper() + name[1:]
        if name not in text and text.startswith(capital):
            name = capital
    answer = canonical(name, v, plural)
    if chance < 0.86 and rng.random() < 0.35:
        text += rng.choice((".", ".", "!"))
    if chance < 0.36 and rng.random() < 0.7 or chance >= 0.36 and rng.random() < 0.12:
        polite = rng.random()
        if chance < 0.36 and polite < 0.25:
            text = rng.choice(("Please ", "please ", "Could you ", "Hi, please ", "Can you ", "Hey, ", "We need to ", "I need you to ", "You can ", "Now ")) + text[0].lower() + text[1:]
        if rng.random() < 0.07:
            text += rng.choice((" Thanks.", " thanks", " Thank you!", " and tell me the new status", " and confirm in one line", " One line please."))
        return {"kind": KIND, "description": text, "prompt": None, "answer": answer}
    instruction = humanise(WRAP.pick(rng, split), rng, split)
    description, prompt = layout(instruction, text, rng, split, HEADINGS, quotes=True)
    return {"kind": KIND, "description": description, "prompt": prompt, "answer": answer}
