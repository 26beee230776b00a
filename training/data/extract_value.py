"""Finding the one value that a question names in prose, notes and log lines."""

from . import concepts
from .concepts import as_label
from .phrasing import Bank, humanise, layout, unfold
from .values import make, person, sentence
from .words import noun

KIND = "extract_value"

HEADINGS = Bank("""
text
input
message
sentence
note
the text
log
log line
content
document
mail
here is the text
source
passage
excerpt
snippet
data
line
description
letter
""")

ASK = Bank("""
<extract|find|get|return|give me|pull out|identify|read|show|list|pick out|spot|locate> the {k}[ <from|in|of> <this|the|the following> <text|sentence|message|line|note|log|passage|mail>].
<extract|find|get|return|pull|take|copy> the {k} <mentioned|given|stated|named|written|contained|that appears|that occurs|that stands> in <this|the> <text|sentence|message|line|note>.
what is the {k}[ <in|mentioned in|given in> <this|the> <text|sentence|message|line>]?
what's the {k}[ <here|in this text|in the message>]?
what {k} <is|was> <mentioned|given|named|stated|used|written>[ <here|in the text|in this message>]?
which {k} <is|was> <mentioned|given|named|stated|meant>[ <here|in the text|in this message>]?
which {k} does the <text|message|sentence|line|author> <mention|give|name|contain|state>?
what <does the text|does the message> <give|name|state> as the {k}?
<i need|i want|i am looking for|i'm looking for|we need> the {k}[ <from|in> <this|the> <text|message|note|line>].
tell me the {k}[ <from|in> <this|the> <text|message>].
<only|just> the {k}[, please].
the {k}[, please].
{k}?
{k}:
{k}
<extract|find|get> {k}[ from <this|the> <text|message>]
<extract_value|extract value|value extraction|extract|wanted|find|target|field>: {k}
<from|in> <this|the|the following> <text|sentence|message|line|note>, <extract|find|get|return|what is|give me|identify> the {k}.
can you <find|see|spot|read|extract> the {k}[ <in|from> <this|the> <text|message>]?
is there <a|an> {k}[ in <this|the> <text|message>]? <if so, return it|which one|give it to me|extract it><.|?>
<there is|there's|somewhere there is> <a|one> {k} in <this|the> <text|message|line>[. <return it|extract it|what is it|give it to me|copy it>.]
<read|scan|go through|look at|search|check> the <text|message|line|note> and <return|give me|tell me|extract|report|write down> the {k}.
<read|scan|search|look through|check> <this|the> <text|message|line|note> for the {k}[ and return it].
<look for|search for|hunt for> the {k}[ in <this|the> <text|message>][ and <return|print|output> it].
<copy|write down|note down|note|jot down|quote|name|state|report> the {k}[ <from|in|of> <this|the> <text|message>].
<answer with|reply with|respond with|output|print> the {k}[ only].
what does <it|the text|this> say <about the|is the|for the> {k}?
do you see the {k}?
<do you know|could you tell me> <the|what the> {k}[ is]?
the {k} <in|of|from> <this|the> <text|message>?
<grab|fetch|isolate|retrieve|obtain|determine|capture|single out> the {k}[ <from|in> <this|the> <text|message|line>].
what <would be|might be> the {k}[ here]?
whats the {k}
i can't find the {k}, <can you|please help|where is it><?|.>
<fill in|complete> the form: {k} = ?
my form asks for the {k}. <what is it|what do i enter|can you find it|please look it up><?|.>
<the report needs|the customer asks for|my boss wants|i was asked for> the {k}. <what is it|extract it|find it|please find it><?|.>
""")

# How people call a type that they look for in a text.
CALLED = {
    "email": ["email address", "e-mail address", "email", "e-mail", "mail address", "contact email"], "phone": ["phone number", "telephone number", "phone", "number to call", "contact number", "tel number"],
    "date": ["date", "day", "calendar date"], "time": ["time", "time of day", "clock time"], "money": ["amount", "price", "amount of money", "sum", "cost", "total", "dollar amount", "sum of money"],
    "url": ["url", "link", "web address", "website", "hyperlink"], "ip": ["ip address", "ip", "ip number", "network address"], "version": ["version", "version number", "release"], "person": ["name", "person", "person's name", "name of the person", "full name", "human name"],
    "city": ["city", "city name", "town", "name of the city", "place"], "country": ["country", "name of the country"], "company": ["company", "company name", "name of the company", "firm", "organization"], "filename": ["file name", "filename", "file", "name of the file"],
    "path": ["path", "file path", "full path"], "percent": ["percentage", "percent value", "share in percent"], "temperature": ["temperature", "temperature reading"], "weight": ["weight", "mass"], "distance": ["distance", "distance traveled"], "duration": ["duration", "time span", "length of time"],
    "speed": ["speed", "velocity"], "color": ["color", "colour"], "product": ["product", "product name", "item"], "iban": ["iban", "bank account number"], "zip": ["zip code", "postal code", "postcode"], "flight": ["flight number", "flight"], "uuid": ["uuid", "guid", "identifier"],
    "ref": ["reference number", "reference", "code", "identifier", "id"], "street": ["address", "street address"], "handle": ["username", "user name", "user", "login name"], "domain": ["domain", "domain name"], "size": ["size", "file size"], "year": ["year"], "job": ["job title", "profession", "occupation", "job"],
    "plate": ["license plate", "plate number"], "room": ["room number", "room"], "language": ["language", "name of the language"], "currency": ["currency"], "length": ["length", "height", "measurement"], "datetime": ["timestamp", "date and time"], "state": ["status", "state"], "department": ["department"], "coords": ["coordinates"], "port": ["port", "port number"],
}

# Sentences around a value {v} of one type.
AROUND = {
    "email": "write to {v}[ <for|about> {n}].; you can reach <me|us|{p}> at {v}.; contact {v} <for help|with questions|by friday>.; my <e-mail|address|mail> is {v}.; please reply to {v}.; send the {n} to {v}[, please].; {p} ({v}) <asked|called|wrote> about the {n}.; user {v} <logged in|signed up|was deleted|requested a reset>.; mail from {v} was <rejected|delivered>.; <forward|copy|cc> this to {v} <too|today>.; questions? {v}",
    "phone": "call <me|us|{p}> at {v}.; my number is {v}.; you can <reach|phone> {p} under {v}.; for <help|emergencies>, dial {v}.; tel. {v}, ask for {p}.; ring {v} after six.; {p}'s phone is {v}.; the hotline is {v}.; text {v} to <join|stop>.; please call back: {v}; missed call from {v}.",
    "date": "the {n} <starts|begins|opens|ends|expires> on {v}.; see you on {v}.; it was <signed|sent|paid|delivered> on {v}.; the deadline is {v}.; {p} was born on {v}.; on {v} we <moved|met|left> to {city}.; <due|valid|payable> by {v}.; the meeting was moved to {v}.; we ordered it on {v}.; since {v} the {n} is closed.; they married on {v} in {city}.; the report of {v} is ready.",
    "time": "the {n} <starts|begins|opens|closes> at {v}.; <let's meet|see you> at {v}.; the train leaves at {v}.; dinner is at {v}.; call me at {v}.; {p} arrives at {v}.; the alarm rang at {v}.; we open at {v} on sundays.",
    "money": "the {n} costs {v}.; please pay {v} <by friday|today|in cash>.; the total is {v}.; we owe you {v}.; {p} <paid|earned|lent me|donated> {v}.; a fee of {v} applies.; the price dropped to {v}.; an amount of {v} was <transferred|debited|refunded>.; it sold for {v}.; the budget is {v}.; that makes {v}, please.; ticket price: {v}",
    "url": "see {v} for <details|more>.; visit {v}.; the {n} is at {v}.; click {v} to <confirm|unsubscribe|read on>.; documentation: {v}; GET {v} returned 404.; download it from {v}.; {p} shared {v}.; our site is {v} now.; i found it on {v} yesterday.",
    "ip": "connection from {v} <refused|accepted|closed>.; the server runs at {v}.; {v} tried to log in {d} times.; ping {v} timed out.; blocked host {v}.; the printer has the address {v}.; failed password for root from {v} port 22; client {v} disconnected.; ssh into {v} please.",
    "version": "we upgraded to {v}.; {v} fixes the {n}.; please install {v}.; {n} {v} was released.; running {n} version {v}.; the bug appears since {v}.; it works with {v} only.; rolled back to {v} last night.",
    "person": "{v} <called|wrote|came by|left a message>.; the {n} belongs to {v}.; please ask {v}.; <dear|hello|hi> {v}, thank you for the {n}.; {v} will lead the {n}.; the winner is {v}.; it was signed by {v}.; i met {v} in {city}.; {v} lives in {city}.; our new manager is {v}.; regards, {v}; the book was written by {v}.; {v} has booked the room.; the patient is called {v}.",
    "city": "the {n} is in {v}.; we fly to {v} <on monday|tomorrow>.; greetings from {v}.; {p} lives in {v}.; she was born in {v}.; our office in {v} is closed.; the train to {v} is late.; the conference takes place in {v}.; they moved to {v} last year.; it rains in {v}.; he works in {v} as a teacher.",
    "country": "it was made in {v}.; {p} comes from {v}.; we export {n}s to {v}.; the capital of {v} is large.; she moved to {v}.; holidays in {v} are cheap.; the team from {v} won.; this {n} grows in {v}.",
    "company": "{p} works for {v}.; {v} <bought|sold|makes> {n}s.; an invoice from {v} came in.; the {n} was built by {v}.; shares of {v} fell.; we signed with {v}.; {v} announced a new {n}.; he left {v} in may.; the supplier is {v}.; i got a job at {v}.",
    "filename": "see {v} for details.; the attachment {v} is <empty|corrupt|large>.; could not open {v}.; {p} uploaded {v}.; saved as {v}.; please delete {v}.; error in {v} line {d}; i sent you {v} yesterday.",
    "path": "the log is in {v}.; cannot read {v}: permission denied; copied to {v}.; look under {v}.; mounted at {v}.; {v} is full.; delete {v} please.; the config lives at {v}.",
    "percent": "{v} of the {n}s <failed|passed|agreed>.; prices rose by {v}.; the battery is at {v}.; a discount of {v} applies.; {v} voted for {p}.; the cpu load is {v}.; we are {v} done.; humidity reached {v}.",
    "temperature": "it is {v} <outside|in {city}>.; bake it at {v}.; the water has {v}.; the sensor shows {v}.; {v} was measured in the {n}.; keep it below {v}.; the oven must reach {v}.; yesterday we had {v}.",
    "weight": "the {n} weighs {v}.; add {v} of {n}.; a load of {v} was moved.; the parcel has {v}.; he lifted {v}.; maximum weight: {v}; we need {v} of {n} for the {n}.",
    "distance": "the {n} is {v} away.; we walked {v}.; {v} to {city}; he ran {v} in the rain.; after {v} turn left.; the route is {v} long.; the nearest {n} is {v} from here.",
    "duration": "it took {v}.; the {n} lasts {v}.; wait {v}, then try again.; bake for {v}.; request finished after {v}.; delivery takes {v}.; we were on the road for {v}.; the outage lasted {v}.",
    "speed": "he drove {v}.; wind of {v} was measured.; the limit is {v}.; the train reaches {v}.; caught at {v} near {city}.",
    "color": "the {n} is {v}.; she painted the {n} {v}.; i want the {v} one.; a {v} {n} stood there.; available in {v} only.; his car is {v}.; do you have this in {v}?",
    "product": "i bought a {v}.; the {v} is <broken|sold out|back>.; i ordered one {v} last week.; how much is the {v}?; my {v} does not work.; please send me the {v}.; {v} is out of stock.; 1x {v}",
    "iban": "please transfer it to {v}.; my account is {v}.; iban {v}, bank in {city}; the money goes to {v}.; debit from {v} failed.",
    "zip": "{v} {city}; the parcel goes to {v} {city}.; i live in {v}.; the area code {v} is not served.; deliver to {v}, please.",
    "flight": "flight {v} is <late|boarding|cancelled>.; i arrive with {v}.; {v} to {city} departs at gate {d}.; we missed {v}.; last call for {v}.; {p} is on {v}.",
    "uuid": "request {v} failed.; job {v} started.; no object with id {v}.; trace {v} took {d} ms; deleted {v}.; created session {v}.",
    "ref": "order {v} <was shipped|is late|has arrived>.; i am writing about {v}.; invoice {v} is due.; ticket {v} was closed.; please quote {v}.; the parcel {v} is lost.; booking {v} is confirmed.; case {v} is open.; where is {v}?; regarding your reference {v}: it is done.",
    "street": "i live at {v}.; the shop is at {v}.; deliver it to {v}.; we moved to {v}.; the {n} at {v} is for sale.; meet me at {v}.",
    "handle": "user {v} <logged in|was banned|signed up>.; @{v} wrote a comment.; login failed for {v}.; ask {v} on chat.; session opened for user {v}; my username is {v}.; account {v} is locked.",
    "domain": "the domain {v} <expired|is for sale>.; dns lookup for {v} failed.; we host {v}.; certificate for {v} renewed.; traffic to {v} is blocked.",
    "size": "the file has {v}.; {v} are free.; download of {v} finished.; the backup needs {v}.; disk with {v} installed.; uploaded {v} in {d} seconds.",
    "year": "it was built in {v}.; since {v} the {n} belongs to {p}.; the {v} model is better.; back in {v} we had no {n}.; founded in {v} in {city}.",
    "job": "{p} works as a {v}.; we are looking for a {v}.; the {v} was late.; he became a {v}.; ask the {v}.; she is a {v} in {city}.",
    "plate": "the car {v} is parked wrongly.; a van with plate {v} left.; {v} drove away.; please move {v}.",
    "room": "the meeting is in room {v}.; go to {v}.; gate {v} is closed.; the exam takes place in {v}.; seat {v} is free.",
    "state": "the order is {v}.; the {n} was {v} yesterday.; it is {v} now.; service reported {v}.",
    "datetime": "backup finished {v}.; at {v} the {n} failed.; last login {v}; the {n} was created {v}.; seen {v}",
    "port": "listening on port {v}.; the service uses port {v}.; port {v} is already in use.; forward {v} to the {n}.",
    "language": "she speaks {v}.; the manual is in {v}.; translate it to {v}.; the site is available in {v}.", "department": "send it to {v}.; she works in {v}.; {v} will call you back.; the {v} team is on it.", "length": "the {n} is {v} long.; cut it at {v}.; it measures {v}.",
    "coords": "the ship is at {v}.; meet at {v}.; gps says {v}.; last position {v}", "currency": "we pay in {v}.; prices in {v}.; converted to {v} today.",
}
AROUND = {k: Bank(v.replace("; ", "\n"), 1) for k, v in AROUND.items()}

# Same type, two roles: the question's words decide. `role a | role b | type | sentences with {a} and {b}`
ROLES = """
sender, from address | recipient, to address | email | mail from {a} to {b}; {a} wrote to {b}.; from: {a}, to: {b}; message sent by {a} was delivered to {b}.
start date, first day | end date, last day | date | from {a} to {b}; the {n} runs from {a} until {b}.; it starts on {a} and ends on {b}.; {p} is on leave from {a} through {b}.; valid {a} - {b}
order date | delivery date | date | ordered on {a}, delivered on {b}.; the order of {a} will arrive on {b}.; we ordered it on {a} and got it on {b}.
invoice date | due date, payment deadline | date | invoice of {a}, payable by {b}.; the bill is dated {a} and due on {b}.; issued {a}, due {b}
departure city, origin, starting point | destination, arrival city | city | we fly from {a} to {b}.; the train from {a} to {b} is late.; flight {a} - {b}; {p} drives from {a} to {b} every week.
departure time, start time | arrival time, end time | time | leaves at {a}, arrives at {b}.; open from {a} to {b}.; the {n} lasts from {a} to {b}.; departs {a}, lands {b}; starts at {a} and ends at {b}.
old price, original price, previous price | new price, current price | money | the price went from {a} to {b}.; was {a}, now {b}; it used to cost {a} but is {b} today.; reduced from {a} to {b}.
net amount, net price | gross amount, gross price, total with tax | money | {a} net, {b} gross; net {a}, with tax {b}; {a} plus tax makes {b}.
seller | buyer | person | {a} sold the {n} to {b}.; {b} bought it from {a}.; seller {a}, buyer {b}
manager, boss | employee, assistant | person | {a} is the boss of {b}.; {b} reports to {a}.; {a} manages {b}.
winner | loser, second place | person | {a} beat {b}.; {a} won against {b}.; {b} lost to {a}.
caller | callee, person called | person | {a} called {b}.; {a} phoned {b} at {d}.
teacher | student, pupil | person | {a} teaches {b}.; {b} takes lessons from {a}.
author | translator | person | written by {a}, translated by {b}.; {b} translated the book by {a}.
old version, previous version | new version, current version | version | updated from {a} to {b}.; upgrade {a} -> {b}; {a} was replaced by {b}.
source ip, client ip | destination ip, target ip, server ip | ip | {a} -> {b}; packet from {a} to {b} dropped.; src={a} dst={b}; connection {a} to {b} closed.
source file, original file | target file, copy | filename | copied {a} to {b}.; renamed {a} to {b}; {a} was converted to {b}.
phone | fax number, fax | phone | tel {a}, fax {b}; phone: {a}, fax: {b}; call {a} or fax {b}.
mobile number, mobile, cell phone | landline, home phone, office phone | phone | mobile {a}, office {b}; my cell is {a}, at home {b}.
minimum temperature, low, lowest temperature | maximum temperature, high, highest temperature | temperature | between {a} and {b} tomorrow.; lows of {a}, highs of {b}.; min {a}, max {b}
billing city | shipping city, delivery city | city | bill to {a}, ship to {b}.; invoice goes to {a}, goods to {b}.
deposit, down payment | balance, remaining amount | money | {a} now, {b} later.; pay {a} as a deposit and {b} at the end.
home address | work address, office address | street | home {a}, work {b}; she lives at {a} and works at {b}.
username, login, user | password | handle | user {a} password {b}; login {a}, password {b}; sign in as {a} with the password {b}.
height | width | length | {a} high and {b} wide; height {a}, width {b}
price | shipping cost, shipping, postage | money | {a} plus {b} shipping; it costs {a} and {b} for shipping.
employer, company | customer, client | company | {p} of {a} visited {b}, a client.; {a} works for its customer {b}.
order number | invoice number | ref | order {a}, invoice {b}; for order {a} we sent invoice {b}.; invoice {b} belongs to order {a}.
ticket number | customer number | ref | ticket {a} of customer {b}; customer {b} opened ticket {a}.
""".strip()
ROLES = [(lambda f: ([n.strip() for n in f[0].split(",")], [n.strip() for n in f[1].split(",")], f[2], Bank(f[3].replace("; ", "\n"), 1)))([p.strip() for p in line.split(" | ")]) for line in ROLES.splitlines()]

# A value under a name of any kind.
LABELLED = Bank("""
{the} {k} is {v}.
{the} {k}: {v}
{k}: {v}
{k} = {v}
{k}={v}
{k} {v}
<with|using|under|has> {k} {v}
{the} {k} <was|will be|has been> <set to |changed to |>{v}.
<please note|note|remember|as discussed,|fyi,> {the} {k} is {v}.
({k} {v})
{k} - {v}
{v} is {the} {k}.
{v} ({k})
we <chose|registered|noted|entered> {v} as {the} {k}.
<your|my|our> {k} is {v}.
<your|my|our> {k}: {v}
{k} of the {n}: {v}
{v} <serves|counts|stands|works|acts|goes|is used|is known> as {the} {k}.
{v} as {the} {k}
{v}: {the} {k}
{v} = {the} {k}
{v} - {k}
{v} <became|was|will be|remains|stays|has become> {the} {k}.
{v} was <given|chosen|entered|named|used|noted> as {the} {k}.
{v}, that is {the} {k}.
<use|take|put|enter|write|keep> {v} <as|for> {the} {k}.
{f} <gave|named|entered|wrote> {v} as {the} {k}.
{the} {k} <became|reads|says|shows|equals|remains|stays|stands at|is still|is now> {v}.
{the} {k}, {v}, <is new|was checked|came by mail>.
{k} → {v}
{k} -> {v}
{k}: "{v}"
{k} ... {v}
{k} ({v})
for {the} {k}, <use|take|enter|write> {v}.
as {the} {k} we have {v}.
as for {the} {k}, it is {v}.
? {the} {k} in question is {v}.
? {the} {k} given is {v}.
? {the} {k} was changed from something else to {v}.
? they told me {the} {k} is {v}.
? {the} {k} should be {v}.
? {v} is used for {the} {k}.
? {the} {k} has the value {v}.
? {f} wrote that {the} {k} is {v}.
? here is {the} {k}: {v}
? {k} is {v}
? {the} {k} must be {v}
? {k}; {v}
""", 1)
FILLER = Bank("""
the {n} is <ready|closed|new|gone|on the table|in the {n}>.
<hi|hello|hi there|good morning>,
<thanks|thank you|best regards|cheers>[, {f}]
<please|kindly> <check|see|bring|return> the {n}.
we <need|have|like|want> {n}s.
{t}.
it is <about|for|near|under> the {n}.
<let me know|tell me> if the {n} <works|fits|helps>.
<the|a> {n} <came|went|stood|fell> <today|yesterday|last night>.
there was a problem with the {n}.
<everything else|the rest> stays the same.
<sorry|apologies> for the {n}.
nobody <knows|saw|touched> the {n}.
{f} <said|thinks|knows> so.
<as|like> <always|last time>, the {n} <is|was> fine.
<also|besides>, we <found|lost|sold> a {n}.
""", 2)


def fill(text, rng, split):
    for slot, make_it in (("{n}", noun), ("{p}", person), ("{city}", lambda r, s: make("city", r, s)), ("{f}", lambda r, s: make("first", r, s)), ("{d}", lambda r, s: str(r.randint(2, 90))), ("{t}", lambda r, s: sentence(r, s, 2, 4))):
        while slot in text:
            text = text.replace(slot, make_it(rng, split), 1)
    return text


def start(text, rng):
    return text[0].upper() + text[1:] if rng.random() < 0.75 else text


CLASHES = [{"date", "datetime", "year"}, {"date", "time", "datetime"}, {"person", "company", "handle", "job", "city"}, {"email", "url", "domain", "handle"}, {"city", "country", "street", "zip", "coords"}, {"money", "percent", "currency"}, {"ref", "uuid", "iban", "flight", "plate", "zip", "version", "room", "phone", "port", "filename"},
           {"weight", "distance", "length", "size", "temperature", "speed", "duration"}, {"path", "filename", "url"}, {"product", "company"}, {"ip", "version", "domain", "coords", "port"}, {"ref", "handle"}, {"state", "color", "language", "department"}, {"duration", "time"}, {"product", "ref"}]


def clash(a, b):
    return a == b or any({a, b} <= c for c in CLASHES)


def contains(kind, text, rng):
    """Do the slots of a sentence put in something of the same type?"""
    return kind in ("person", "job", "handle", "company") and ("{p}" in text or "{f}" in text) or kind in ("city", "country", "street", "zip") and "{city}" in text or kind == "product" and "{n}" in text


def plain(rng, split, hardness):
    """One value of a type, among values of other types."""
    kind = rng.choice([k for k in AROUND])
    for _ in range(8):
        template = AROUND[kind].pick(rng, split)
        if not contains(kind, template, rng):
            break
    else:
        return None
    value = make(kind, rng, split)
    name = rng.choice(CALLED[kind])
    parts = [fill(template, rng, split).replace("{v}", value)]
    used = [kind]
    for _ in range(rng.choice((0, 0, 1, 1, 2)) if hardness > 0.3 else rng.choice((0, 0, 0, 1))):
        if rng.random() < 0.5:
            f = FILLER.pick(rng, split)
            if contains(kind, f, rng):
                continue
            parts.append(fill(f, rng, split))
            continue
        other = rng.choice(list(AROUND))
        t = AROUND[other].pick(rng, split)
        if any(clash(other, u) for u in used) or contains(kind, t, rng):
            continue
        used.append(other)
        parts.append(fill(t, rng, split).replace("{v}", make(other, rng, split)))
    rng.shuffle(parts)
    return [start(p, rng) for p in parts], name, value, []


def roles(rng, split, hardness):
    a_names, b_names, kind, bank = rng.choice(ROLES)
    a, b = make(kind, rng, split), make(kind, rng, split)
    if a in b or b in a:
        return None
    text = fill(bank.pick(rng, split), rng, split).replace("{a}", a).replace("{b}", b)
    (name, value), other = rng.sample([(rng.choice(a_names), a), (rng.choice(b_names), b)], 2)
    parts = [start(text, rng)]
    if rng.random() < 0.35:
        parts.insert(rng.randint(0, 1), start(fill(FILLER.pick(rng, split), rng, split), rng))
    return parts, name, value, [other]


def labelled(rng, split, hardness):
    """Several named values; the name decides."""
    parts, wanted, seen, rest = [], None, [], []
    style = LABELLED.pick(rng, split) if rng.random() < 0.6 else None
    for i in range(rng.choice((1, 2, 2, 3, 3, 4)) if hardness > 0.3 else rng.choice((1, 1, 2))):
        words, others, kind = concepts.field(rng, split)
        if any(words == s or words in s.split() or s in words.split() for s in seen):
            continue
        seen += [words] + others
        value = make(kind, rng, split)
        template = (style or LABELLED.pick(rng, split)).replace("{the}", rng.choice(("the", "the", "the", "my", "his", "its", "your")))
        template = unfold(template, rng, split) if "<" in template else template
        label = words if rng.random() < 0.6 else as_label(words, rng)
        if rng.random() < 0.08:
            label = concepts.as_key(words, rng.choice(concepts.STYLES))
        text = fill(template, rng, split).replace("{k}", label).replace("{v}", value)
        parts.append(start(text, rng))
        name = words if rng.random() < 0.85 or not others else rng.choice(others)
        if wanted is None or rng.random() < 0.5:
            rest += [wanted] if wanted else []
            wanted = (name, value)
        else:
            rest.append((name, value))
    if rng.random() < 0.2:
        parts.insert(rng.randint(0, len(parts)), start(fill(FILLER.pick(rng, split), rng, split), rng))
    if not wanted:
        return None
    return parts, *wanted, rest


def join(parts, rng):
    glue = rng.choice((" ", " ", " ", " ", "\n", "\n", ", ", "; "))
    if glue in (", ", "; "):
        return glue.join(p.rstrip(".,") if i < len(parts) - 1 else p for i, p in enumerate(parts))
    if glue == " ":
        return " ".join(p if p[-1] in ".!?,:;" or i == len(parts) - 1 else p + rng.choice((".", ",", ";", " -", "")) for i, p in enumerate(parts))
    return glue.join(parts)


def prefixed(text, rng, split):
    if rng.random() < 0.06:
        return make("datetime", rng, split) + rng.choice((" INFO ", " WARN ", " ERROR ", " [worker-1] ", " ", " - ")) + text
    return text


def instruction(name, rng, split):
    name = name if rng.random() < 0.93 else rng.choice(('"%s"', "'%s'", "`%s`", "*%s*")) % name
    return humanise(ASK.pick(rng, split).replace("{k}", name).replace("the the ", "the "), rng, split)


def ask(name, text, rng, split):
    description, prompt = layout(instruction(name, rng, split), text, rng, split, HEADINGS)
    return {"description": description, "prompt": prompt}


def example(rng, split, hardness=1.0):
    found = rng.choice((plain, plain, plain, roles, labelled, labelled))(rng, split, hardness)
    if found is None:
        return None
    parts, name, value, rest = found
    text = join(parts, rng)
    # A value that begins a sentence may have got a capital; then it does not stand there as it is asked for.
    if value not in text or text.count(value) != 1 and rng.random() < 0.8:
        return None
    if not any(w in name for w in ("date", "time", "stamp", "start", "end", "updated", "created", "year", "day", "departure", "arrival", "due", "deadline")):
        text = prefixed(text, rng, split)
    # In training, further turns ask for the other values of the same text.
    more = [(instruction(n, rng, split), v) for n, v in rest if text.count(v) == 1]
    return {"kind": KIND, **ask(name, text, rng, split), "answer": value, "more": more}


def absent(rng, split, hardness=1.0):
    """Asks for something that the text does not hold: to be refused."""
    found = rng.choice((plain, plain, labelled, roles))(rng, split, hardness)
    if found is None:
        return None
    parts, name, _, _ = found
    text = join(parts, rng)
    present = {k for k, names in CALLED.items() if any(n.split()[0] in text.lower() for n in names)}
    if rng.random() < 0.6:
        # What looks like the wanted type must not be anywhere.
        kind = rng.choice(("email", "phone", "url", "ip", "iban", "flight", "percent", "temperature", "version", "filename", "money", "uuid", "weight", "speed", "zip", "country", "plate"))
        looks = {"email": "@", "url": ("http", "www."), "percent": ("%", "percent"), "money": "$€£¥₹", "temperature": ("°", "degrees"), "phone": None, "ip": None}
        if _maybe_present(kind, text):
            return None
        wanted = rng.choice(CALLED[kind])
    else:
        wanted, others, _ = concepts.field(rng, split)
        if any(w in text.lower() for name in [wanted] + others for w in name.split() if len(w) > 3) or _generic(wanted):
            return None
    return {"kind": None, **ask(wanted, text, rng, split), "answer": None}


def _generic(name):
    return any(w in name for w in ("name", "number", "date", "time", "code", "id", "word", "place", "person", "contact", "note", "message"))


def _maybe_present(kind, text):
    import re
    patterns = {
        "email": r"@", "phone": r"[\d][\d ()./-]{4,}\d", "url": r"http|www\.|\w\.\w{2,3}\b", "ip": r"\d\.\d|:\w", "iban": r"[A-Z]{2}\d\d", "flight": r"[A-Z]{1,3} ?\d", "percent": r"%|percent|\d", "temperature": r"°|degree|\d", "version": r"\d\.\d|\d", "filename": r"\w\.\w{2,4}\b",
        "money": r"\d", "uuid": r"[0-9a-f]{6}", "weight": r"\d", "speed": r"\d", "zip": r"\d{4}|\d ", "country": r"[A-Z]\w+ [A-Z]|[a-z] [A-Z]", "plate": r"[A-Z]{2,}|\d{2}",
    }
    return re.search(patterns[kind], text) is not None
