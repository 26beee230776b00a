"""What the tiny model must not answer: its whole answer is then the refusal token.

Two halves. Near misses take the same data as the six kinds and ask for something else: a sum, a change, two fields,
a field that is not there. The rest is the wide world: essays, code, questions, translations, chat.
"""

from . import classify, email_parse, extract_value, json_field, key_value, status_update
from .concepts import as_key, field
from .phrasing import Bank, humanise, layout
from .values import city, country, first, make, number, person, sentence
from .words import ADJECTIVES, noun

OVER_JSON = Bank("""
<sum|add up|total> <all |>the <numbers|amounts|values|prices|quantities>[ in <this|the> <json|data>].
what is the <sum|total|average|mean|median|product|maximum|minimum> of <the|all> <numbers|values|amounts>[ <here|in the json>]?
how many <keys|fields|entries|properties|elements|values|items|levels> <are there|does it have|does the json have|are in this json>?
count the <keys|fields|entries|null values|strings|numbers|letters in {k}|nested objects>.
<list|show|print|give me|name|return> all <keys|fields|values|the keys|the values|property names|string values|entries>.
<sort|order> the <keys|fields|entries|values> <alphabetically|by name|in reverse|by length|descending|by value>.
<convert|turn|transform|translate> <this|the json|it> <to|into> <yaml|xml|csv|toml|a table|html|a python dict|a typescript interface|a sql insert|markdown|a sentence|plain english|a form>.
<uppercase|lowercase|capitalize|reverse|encrypt|encode|base64 encode|hash|shorten|translate|double|increment|round|negate|mask> <the value of |the |>{k}[ in the json].
<set|change|update|replace> {k} <to|with|by> {v}[ and return the json].
<remove|delete|drop|rename|hide|anonymize|duplicate|move> <the field |the key |>{k}[ from the json].
<add|insert|append> a <field|key|property> {n} with value {v}.
<return|get|give me|extract|what are> {k} and {l}[ from <this|the> json].
<return|get|give me|extract|read|list|what are> the values of {k} and {l}[ in this json].
get {k}, {l} and {n}.
is {k} <greater than|less than|equal to|the same as|longer than|before|after> {v}?
is {k} <a string|a number|null|empty|present|valid|true|missing|an array>?
does <this json|the document|it> <contain|have> <a field|the key|an entry> {k}?
which <key|field> <has the value|holds|contains|is equal to|belongs to> {v}?
which key <comes first|is longest|is last|has the longest value|holds the largest number|occurs twice>?
what <type|data type> is {k}?
<explain|describe|summarize|summarise|comment on|review> <this|the> <json|document|data>[ in a <sentence|paragraph>].
<fix|repair|validate|lint|pretty-print|prettify|minify|format|reformat|flatten|escape|diff> <this|the> json.
<write|create|generate> <a|the> <json schema|typescript type|python class|rust struct|sql table|parser|test|unit test> for this[ json].
if {k} is {v}, <return|give me|answer with> {l}, otherwise <{n}|nothing|null>.
<compare|multiply|concatenate|join|combine|subtract|divide> {k} <and|with|by> {l}.
what is {k} plus {v}?
what is {k} <in words|in german|in percent|in euros|rounded|minus one|times two|squared|divided by {v}|as a date|in hexadecimal>?
how <long|big|many characters> is <the value of |>{k}?
what is the <first|last|second> <letter|word|character|digit> of {k}?
what does {k} mean?
why is {k} <{v}|set like that|so high|empty>?
everything <except|but> {k}.
all fields except {k}[, please].
the first <two|three|four> <fields|values|keys>.
<invert|shuffle|merge|split|group|filter> <the|this> <json|object|entries|data>[ by {k}].
<return|give me> the json without {k}.
return only the <numbers|strings|booleans|dates|nested objects|keys that start with a|values longer than {d}>.
guess <the missing field|who this is about|what this is|what comes next>.
<write|draft> <an email|a letter|a sentence|a story|a summary> <about|from|based on> <this|the> <json|data|record>.
what is <wrong|missing|unusual|the oldest value|interesting> <with|in|about> <this|the> <json|data>?
translate the <values|keys|json> <to|into> <french|german|spanish|italian>.
how old is the <person|customer|order> <in years|today>?
what <would|will> {k} be <next year|in {d} days|if it doubled|tomorrow>?
""")
OVER_PAIRS = Bank("""
<sum|add|multiply|average> the <numbers|values|amounts>[ in these lines].
how many <pairs|lines|keys|fields|words> are there?
<sort|order|reverse|shuffle> the <lines|pairs|keys|values>[ <alphabetically|by value|by name>].
convert to <xml|yaml|csv|toml|html|a sentence|a table|markdown|python|an ini file|a sql statement|prose>.
<list|show|print|return> <only |>the <keys|values|longest value|shortest key>.
<uppercase|lowercase|translate|encrypt|capitalize|reverse> <all|the> <keys|values|lines>.
json, but with <numbers as numbers|keys in uppercase|sorted keys|values reversed|keys in german|snake_case keys|only {k}|nested objects|without {k}>.
<remove|delete|change|rename|hide> {k}.
what is <missing|wrong|the most important field|the largest value>[ here]?
which value <is largest|is longest|is a date|looks wrong|appears twice>?
<summarize|explain|describe> <this|these settings|the record>.
<write|draft> a <letter|mail|story|poem|welcome message> <for|about|with> this.
is <this|the data> <valid|complete|correct|plausible>?
<compare|check> <the|both> <values|lines>.
<return|give me> {k} and {l} only, as json.
json array of the <values|keys|pairs>[, please].
<validate|deduplicate|anonymize|mask|merge> <this|the data|the pairs>.
""")
OVER_MAIL = Bank("""
<summarize|summarise|translate|rewrite|shorten|proofread|answer|forward|reply to> <this|the> <email|e-mail|message|mail>[ in one sentence| politely].
<write|draft|compose> <a|an> <reply|answer|polite answer|response|refusal|out of office message>[ to this <email|mail|message>].
how many <recipients|words|addresses|links|attachments|lines> are in <this|the> <email|mail>?
is this <email|mail|message> <important|polite|urgent or can it wait until monday|about money|genuine>?
who <received|was copied on> this <email|mail>[ and when]?
what is the <date|recipient|message id|attachment|tone|main point|second recipient> and the <sender|cc|subject>[ of this mail]?
<list|extract|return> all <addresses|recipients|headers|names|dates|links>[ from <this|the> <email|mail>].
what does the sender want[ me to do]?
when should i <reply|answer>?
<extract|get> the sender, the subject and the <date|body|recipient>.
<extract|get> the <date|recipients|body|signature|cc addresses> <of|from> <this|the> <email|mail>[ as json].
why did <they|he|she> write this?
<improve|shorten|translate> the subject line.
suggest a <better subject|next step|reply>.
convert the <mail|email> to <markdown|html|xml|yaml>.
write the subject in <uppercase|german|reverse>.
does the sender <work for|know|like> {p}?
""")
OVER_TEXT = Bank("""
<summarize|summarise|translate|rewrite|paraphrase|proofread|shorten|extend|simplify|continue|correct|improve|critique> <this|the|the following> <text|message|sentence|note>[ <in german|in french|in two sentences|politely|for a child|as a poem|in a formal tone>].
how many <words|letters|sentences|vowels|numbers|names|commas> <are there|does it have|are in this text>?
<count|sort|list|reverse|number> the <words|letters|sentences|vowels|nouns|lines>[ in this text].
<uppercase|lowercase|reverse|capitalize> <this|the|the following> <text|sentence|line>.
<replace|change> <every|each|all> <vowel|space|name|number|comma|{n}> <by|with|to> <a star|{n}|nothing|an underscore>.
what <happens|happened|will happen> <next|then|before>?
why <did|does|is|was> <this happen|it so|he say that|that important>?
<explain|discuss|analyze|comment on|argue against|evaluate> <this|the statement|the following>[ in detail].
what do you think <about|of> <this|it>?
is <this|the statement> <true|correct|grammatical|logical|likely|well written>?
<translate|say|write> <this|it|the following> <in|into|to> <french|german|spanish|italian|japanese|latin|chinese|polish>[:|.]
<write|make up|tell> a <story|poem|joke|headline|title|question|quiz|tweet|song|dialogue> <about|from|for|based on> <this|it|the text>.
<list|extract|find|give me> all the <names|numbers|dates|places|verbs|adjectives|e-mail addresses|amounts>[ in <this|the> text].
<extract|find|return> the {k} and the {l}[ from this text].
<add|sum|average|multiply|compare> the <numbers|amounts|prices>[ in <this|the> text].
convert the <date|amount|temperature|distance|time|price> to <iso format|euros|fahrenheit|miles|utc|words|cents|minutes>.
what is the {k} <in words|in reverse|plus one|doubled|in german|in uppercase|rounded>?
what is the <opposite|main idea|moral|tone|mood|hidden meaning|summary|longest word|second word|grammatical subject|best title>[ of <this|the> text]?
<how|what> should i <answer|reply|do|say>?
if the {k} is <missing|late|wrong>, what <happens|should i do>?
<mask|censor|remove|anonymize|delete> <all|the> <names|numbers|addresses|personal data|{k}>.
rhyme <on|with> this.
correct the <spelling|grammar|punctuation>.
turn this into a <question|haiku|formal letter|bullet list|table|dialogue|recipe|regular expression|timeline>.
how does this <compare to|differ from|relate to> {n}?
""")
NO_CATEGORIES = Bank("""
<classify|categorize|label|tag> <this|the> <text|message|item>.
<which category|what class|which label> <is this|fits best>?
classify.
<sort|file> this.
<invent|suggest|propose> <a category|five categories|a tag|some labels> for this <text|message>.
how <confident|sure> are you that this is {n}?
explain why this is {n}.
give <two|three|several> labels for this.
rate this from 1 to <5|10|100>.
""")
WIDE = Bank("""
write <a|an|a short|a long|a funny> <essay|poem|story|article|blog post|speech|song|letter|review|haiku|limerick|dialogue|report|product description|press release|fairy tale|sonnet> <about|on> {t}.
write <a|an> <{lang} |><function|program|script|class|query|regex|test|loop|module> <that|to|which> <sorts|reverses|parses|counts|downloads|finds|merges|prints|validates> <a list|a string|a file|numbers|{n}s|json|a tree>.
<implement|code|program|write> <quicksort|binary search|a linked list|fizzbuzz|a web server|a calculator|a cache|dijkstra's algorithm|a parser|a queue|tic tac toe> in <python|rust|java|c|javascript|go|c++|haskell>.
<explain|describe|tell me|teach me> <how|why|what> <{n}s work|the {n} works|{t} is important|recursion works|the moon has phases|planes fly|a compiler works|photosynthesis works>.
<what is|who is|who was|what are|define|explain> <the meaning of |the history of |>{n}[ in simple words]?
what is the capital of {country}?
who <invented|discovered|wrote|painted|founded> the {n}?
when <was|did> <the {n} invented|{p} born|the war end|{country} become independent>?
how <do i|can i|to> <{v2} a {n}|learn {lang}|cook {n}|lose weight|fix my {n}|make money|write better|sleep better|get to {city}|install {n}>?
how many <people live in {city}|legs does a {n} have|days are in a year|planets are there|{n}s fit in a {n}|calories are in a {n}>?
why <is the sky blue|do {n}s {v2}|is {country} famous|did rome fall|do we dream|is water wet>?
what is <{d}|{d2}> <plus|minus|times|divided by|modulo|+|-|*|/> {d}?
<calculate|compute|solve|evaluate>[:] <{d2} * {d}|{d} + {d2}|({d} + {d}) / {d}|{d}% of {d2}|the square root of {d2}|{d}x + {d} = {d2}|the area of a circle with radius {d}>
{d} <+|-|*|/|x> {d2}[ = ?| =]
if a {n} costs {d} dollars and i buy {d}, how much <do i pay|is it>?
{p} has {d} {n}s and gives {d} away. how many <are left|remain>?
a train leaves {city} at {d} km/h and another leaves {city} at {d}. when do they meet?
<translate|how do you say> "<the {n} is {adj}|good morning|where is the {n}|i like {n}>" <to|into|in> <french|german|spanish|italian|japanese|polish|chinese>[.|?]
translate to <french|german|spanish|italian|japanese|latin>: {t}
<compare|contrast> <{n} and {n}|{country} and {country}|python and rust|cats and dogs|{lang} and java>.
what are the <pros and cons|advantages|differences|causes|consequences|steps|benefits|risks> of <{n}|{t}|living in {city}|{n} and {n}>?
<give me|list|suggest|name|recommend> <three|five|ten|some|a few> <ideas|tips|names|books|reasons|examples|movies|recipes|synonyms|questions> <for|about> <{n}|{t}|a {n}|my {n}>.
<plan|organize|design|outline> <a trip to {city}|a {n} party|a week of meals|a project about {n}|a marketing campaign for {n}|a database for {n}s|a workout>.
what should i <wear|eat|do|buy|say|read|cook> <today|in {city}|for dinner|for {p}'s birthday>?
<hi|hello|hey>[ there|, how are you|!]
<how are you|who are you|what can you do|what's your name|are you human|tell me a joke|good morning|what time is it|where are you|thanks, that was great|do you like {n}s|let's chat|i'm bored|i feel sad today|sing a song>?
<is|are> {n}s <dangerous|edible|real|good for you|expensive>?
can <{n}s|a {n}> <swim|fly|talk|be cooked|live without water>?
<do|does> <you believe in {n}|{p} love {n}|a {n} have feelings>?
what <happened|will happen> in <{d2}|{city}|the {n}|1969>?
<should|could|would> <i|we> <{v2} the {n}|move to {city}|buy a {n}|invest in {n}|quit my job>?
<complete|continue|finish> <the sentence|this story|the list|the pattern|the poem>: <the {n} {n}|once upon a time|2, 4, 8|{n}, {n}, {n}>
<fix|debug|review|refactor|optimize|explain> this code: <for i in range({d}) print(i)|let x = {n};|SELECT * FROM {n}|def {n}(): return {d}|int main() { return {d} }>
prove that <{n}|the square root of 2 is irrational|there are infinitely many primes|{d} is prime>.
<write|draft|compose> <an|a> <email|mail|letter|message|invitation|complaint|cover letter|apology|resume> to <{p}|my boss|the landlord|a customer|my friend> <about|because of|asking for> <the {n}|a {n}|{t}>.
<summarize|summarise|explain> <the plot of|the history of|the book|the theory of|the causes of> {t}.
what rhymes with {n}?
what is the <weather|time|news|stock price|population|traffic> <in|of|for> {city}[ <today|now|tomorrow>]?
<roleplay|pretend|imagine|act as> <you are|that you are|as> a {n}[ and <sell me|talk about> {n}].
<first|step 1:> <count the {n}s|read the {n}|list the {n}s>, <then|step 2:> <sort them|add {d}|translate it|write a summary>[, finally <{v2} it|explain>].
<which is|what's> <better|bigger|older|heavier|faster|cheaper>, <a {n} or a {n}|{city} or {city}|{country} or {country}|{d} or {d2}>?
<convert|change> {d} <miles|pounds|euros|inches|degrees celsius|hours|cups> <to|into> <kilometers|kilograms|dollars|centimeters|fahrenheit|seconds|liters>.
<reverse|count the letters in|spell|uppercase|alphabetize|shuffle|encrypt|repeat {d} times> <the word |>"<{n}|{n} {n}|{t}>".
<sort|order|arrange> <these|the> <numbers|words|names>: <{d}, {d2}, {d}, {d}|{n}, {n}, {n}|{f}, {f}, {f}>
<is|was> {p} <a good president|taller than {p}|right about {n}|the author of {t}>?
what is {f}'s <favorite color|phone number|address|salary|age>?
remind me <to {v2} the {n}|about {n}|tomorrow at {d}>.
<open|close|delete|restart|install|print|download|search for|buy|order|play> <the {n}|{n}|my {n}>.
create a <table|chart|list|diagram|schedule|budget|quiz|logo|slogan|password|regex|username> <of|for|about> {n}.
what does "<{n}|{t}>" mean?
<given|suppose|assume> <that |>all {n}s are {n}s and some {n}s are {adj}, <what follows|is every {n} {adj}|can a {n} be {adj}>?
<schreibe|erkläre|übersetze|was ist|wie funktioniert|warum ist> <ein gedicht über|den unterschied zwischen|das wetter in|die hauptstadt von> <{n}|{city}|{country}>[?]
<écris|explique|traduis|quelle est|pourquoi|comment> <un poème sur|la capitale de|l'histoire de|la différence entre> <{n}|{city}|{country}>[ ?]
<escribe|explica|traduce|cuál es|por qué|cómo> <un poema sobre|la capital de|la historia de|el significado de> <{n}|{city}|{country}>[?]
<scrivi|spiega|qual è|perché|come> <una poesia su|la capitale di|la storia di> <{n}|{city}|{country}>[?]
<napisz|wyjaśnij|jaka jest|dlaczego> <wiersz o|stolica|historia> <{n}|{country}>[?]
<напиши|объясни|какая|почему> <стихотворение о|столица|история> <{n}|{country}>[?]
{t}
{n}
{t}?
{p}
{t}. {t}. {t}.
""")
MISSING_INPUT = Bank("""
<extract|get|return|what is> the {k}[ from the <json|text|message|document>].
<parse|read> <this|the> <email|json|text>.
<classify|label> <this|the text|the following text>.
what is the value of {k}?
turn <this|it> into json.
who sent <this|the email>?
<write|give me> a status update.
<mark it as done|update the status|what is the status>[?|.]
""")

VERBS = "build paint sell clean repair choose draw move open grow wash train feed cut carry fold mix test store plant".split()
LANGS = "python rust java javascript c go haskell ruby kotlin sql bash typescript".split()


def fill(text, rng, split):
    for slot, make_it in (("{n}", noun), ("{t}", lambda r, s: sentence(r, s, 1, 5).lower()), ("{p}", person), ("{f}", first), ("{city}", city), ("{country}", country), ("{d}", lambda r, s: str(r.randint(2, 99))), ("{d2}", number), ("{adj}", lambda r, s: ADJECTIVES.pick(r, s)),
                          ("{v2}", lambda r, s: r.choice(VERBS)), ("{lang}", lambda r, s: r.choice(LANGS)), ("{v}", lambda r, s: make(r.choice(("number", "word", "date", "small", "code", "person")), r, s))):
        while slot in text:
            text = text.replace(slot, make_it(rng, split), 1)
    return text


def named(text, names, rng, split):
    """Puts two names of fields into {k} and {l}."""
    names = list(names)
    rng.shuffle(names)
    names += [field(rng, split)[0], field(rng, split)[0]]
    return fill(text.replace("{k}", json_field.quoted(names[0], rng)).replace("{l}", json_field.quoted(names[1], rng)), rng, split)


def refuse(instruction, data, rng, split, headings, quotes=False):
    instruction = humanise(instruction, rng, split).replace("\x01", "")
    if data is None:
        return {"kind": None, "description": instruction, "prompt": None, "answer": None}
    description, prompt = layout(instruction, data, rng, split, headings, quotes=quotes, inline="\n" not in data or data.startswith("{"))
    return {"kind": None, "description": description, "prompt": prompt, "answer": None}


def over_json(rng, split, hardness):
    doc = json_field.document(rng, split, json_field.size_of(rng, hardness))
    return refuse(named(OVER_JSON.pick(rng, split), doc.keys(), rng, split), json_field.dump(doc, rng), rng, split, json_field.HEADINGS)


def over_pairs(rng, split, hardness):
    text, found = rng.choice(key_value.FORMS)(rng, split, rng.randint(1, 5))
    return refuse(named(OVER_PAIRS.pick(rng, split), found.keys(), rng, split), text, rng, split, key_value.HEADINGS) if text else None


def over_mail(rng, split, hardness):
    text = email_parse.message(rng, split, hardness, make("email", rng, split), email_parse.subject(rng, split))
    return refuse(fill(OVER_MAIL.pick(rng, split), rng, split), text, rng, split, email_parse.HEADINGS)


def over_text(rng, split, hardness):
    found = rng.choice((extract_value.plain, extract_value.roles, extract_value.labelled))(rng, split, hardness)
    if found is None:
        return None
    text = extract_value.join(found[0], rng)
    if rng.random() < 0.25:
        text = rng.choice((lambda: classify.feeling(rng.choice(("positive", "negative", "neutral")), rng, split), lambda: classify.about(rng.choice(classify.TOPICS)[1], rng, split), lambda: sentence(rng, split, 4, 12)))()
    return refuse(named(OVER_TEXT.pick(rng, split), [found[1], field(rng, split)[0]], rng, split), text, rng, split, extract_value.HEADINGS, quotes=True)


def unsorted(rng, split, hardness):
    text = rng.choice((lambda: classify.feeling(rng.choice(("positive", "negative", "neutral")), rng, split), lambda: classify.about(rng.choice(classify.TOPICS)[1], rng, split), lambda: classify.said(rng.choice(classify.GROUPS["messages"])[1], rng, split)))()
    return refuse(fill(NO_CATEGORIES.pick(rng, split), rng, split), text, rng, split, classify.HEADINGS, quotes=True)


def wide(rng, split, hardness):
    text = fill(WIDE.pick(rng, split), rng, split)
    if rng.random() < 0.15:
        text += rng.choice((" ", "\n")) + fill(WIDE.pick(rng, split), rng, split)
    if rng.random() < 0.12:
        instruction = humanise(text, rng, split)
        data = rng.choice((lambda: sentence(rng, split, 3, 12), lambda: json_field.dump(json_field.document(rng, split, 3), rng), lambda: extract_value.fill(extract_value.FILLER.pick(rng, split), rng, split)))()
        return {"kind": None, "description": instruction, "prompt": data, "answer": None}
    return refuse(text, None, rng, split, None)


def nothing(rng, split, hardness):
    return refuse(MISSING_INPUT.pick(rng, split).replace("{k}", field(rng, split)[0]), None, rng, split, None)


def long_prompt(rng, split, hardness):
    data = " ".join(sentence(rng, split, 5, 14) + "." for _ in range(rng.randint(4, 9)))
    return refuse(fill(rng.choice((OVER_TEXT, WIDE)).pick(rng, split).replace("{k}", field(rng, split)[0]).replace("{l}", field(rng, split)[0]), rng, split), data, rng, split, extract_value.HEADINGS)


WELLS = (wide,) * 24 + (over_json,) * 14 + (over_text,) * 14 + (json_field.absent,) * 15 + (extract_value.absent,) * 12 + (over_pairs,) * 6 + (over_mail,) * 6 + (unsorted,) * 3 + (nothing, long_prompt, long_prompt)


def example(rng, split, hardness=1.0):
    """An example, and under `why` which of the wells it came from."""
    well = rng.choice(WELLS)
    found = well(rng, split, hardness)
    return found and {**found, "why": f"{well.__module__.rsplit('.', 1)[-1]}.{well.__name__}"}
