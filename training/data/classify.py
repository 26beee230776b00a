"""Sorting a text, a word or a line into one of the given categories.

Three wells: WordNet (a noun and what it is a kind of), the lists of `topics` (subjects, messages, styles, languages),
and sentiment (VADER's lexicon and phrases). Categories of different wells are mixed as well, so that a category's
meaning must be read, not guessed from its usual companions.
"""

import re
from functools import lru_cache

from . import topics
from .phrasing import Bank, humanise, layout, unfold
from .values import code, make, person, city, digits
from .words import ADJECTIVES, Pool, TRAIN, UNWANTED, WORDNET, _nouns, common_nouns, dictionary, noun

KIND = "classify"

HEADINGS = Bank("""
text
input
message
sentence
item
the text
word
comment
content
statement
the message
customer message
here is the text
document
line
review
utterance
entry
snippet
mail
""")

# {c}: the categories. What stands here needs them in the sentence.
WITH = Bank("""
classify <this|the|the following> <text|message|sentence|item|word|comment|input|line|entry> <as|into> {c}.
classify <this|it> as {c}.
classify as {c}.
classify: {c}.
classify <the|this> <text|message|item> into one of <these|the following|the> <categories|classes|labels|groups>: {c}.
classify <the following|this> <with|using> <one of |>the <labels|categories|tags> {c}.
is this {c}?
is the <text|message|sentence|following|word|item|line> <below |>{c}?
<is|would you say> <this|it> <is |>{c}?
does <this|it> <belong to|fall under|go under|fit> {c}?
which <category|class|label|group|type|kind|tag|bucket> <fits|fits best|applies|is right|does this belong to|matches|is it>: {c}?
which <one |>of {c} <fits|describes|matches|is|applies to> <this|the text|it>[ best]?
what <category|class|label|kind|type> is <this|it>: {c}?
what is <this|it>: {c}?
<choose|pick|select> <one|the best|the right one|the correct label|the category|the best match> <of|from|out of|among> {c}.
<choose|pick|select|decide> <between|among> {c}.
<assign|give|attach|apply> <one of|one label of|a label from|exactly one of> {c}[ to <this|the> <text|message|item>].
<assign|put|sort|file|group|place> <this|it|the text|the item|the message> <to|into|in|under> <one of|one of the groups|one of the categories> {c}.
<label|tag|mark|categorize|categorise|rate|sort> <this|the> <text|message|item|sentence|comment|word> <as|with> {c}.
<label|tag|categorize|categorise> <this|it> <as|:> {c}.
<categories|labels|classes|options|choices|tags|possible labels|possible answers>: {c}. <classify|choose one|pick one|which one fits|which one is it|label the text|select one>[.]
<decide|determine|tell me|say|judge> <whether|if> <this|it|the text|the message|the following> is {c}.
<answer|reply|respond> with <one of|exactly one of|one word of|only one of> {c}.
<text classification|classification|categorization|single-label classification> (<labels|classes|categories|options>: {c})<:|.|>
from <the list|these categories|the labels|the options> {c}<,| > <choose|pick|select> the <best|right|matching|most fitting> one.
{c}?
{c}: which <one|is it|one fits|applies>?
<it is one of|possible values are|allowed labels are|valid categories are> {c}. <which|classify|choose><?|.>
<sentiment|topic|type|class|category|kind> (<one of |>{c}):
how would you <classify|label|categorize|describe|rate> <this|it|the text>: {c}?
where does <this|it> belong: {c}?
<route|forward|send|assign> this <message|text|item|mail> to <one of|the right group of|the right one of> {c}.
<given|with> the <categories|labels|classes> {c}, <classify|label|which one fits|what is> <this|the text|the following><?|.>
<detect|identify|recognize|find> the <class|category|type|kind|label>: {c}.
what <best|> describes <this|it>? {c}
we <sort|split|divide|classify> <messages|texts|things|items|entries> into {c}. <which is this|where does this go|classify this one><?|.>
<into|under> which <of the |>group<s|> {c} does <this|it> <fall|go|belong>?
""")
# The categories come apart from the sentence.
WITHOUT = Bank("""
classify <this|the|the following> <text|message|sentence|item|word|comment|input|line|entry>.
classify <this|it>[ into one of the <given |>categories].
classify[ text| message| item| input].
which <category|class|label|group|type|kind> <fits|fits best|applies|does this belong to|is right|is this>?
what <category|class|kind|type> is <this|it>?
<choose|pick|select> the <best|right|correct|matching|most fitting> <category|label|class>.
<choose|pick|select> one <category|label|class>[ for <this|the> <text|message|item>].
<assign|give|attach> <a|one|the right|exactly one> <category|label|class>[ to <this|the> <text|message|item>].
<label|tag|categorize|categorise> <this|the|the following> <text|message|item|sentence|comment|word>.
<sort|file|put> <this|it|the text|the message> into <the right|one|a> <category|group|class>.
<decide|determine|identify|find> <the|which> <category|label|class>[ of <this|the> <text|message|item>].
<text classification|classification|categorization|category|label|classify><:|.|>
what does <this|it> belong to?
where does <this|it> <belong|go|fit>?
how would you <classify|label|categorize> <this|it|the text>?
<use|answer with|reply with|return> one of the <categories|labels>[ below| given| listed].
<route|triage> this <message|text|item|mail|ticket>.
which of the <categories|labels|classes|options> <fits|describes this|applies|matches|is correct>?
<return|output|give me> the <label|category|class>[ of <this|the> <text|message>].
put <this|it> in <the right|its> <category|drawer|group|box>.
one label for this <text|message|item>[, please].
into which category does <this|it|the following> fall?
what is <this|it>?
""")
SPECIFIC = {
    "sentiment": Bank("""
what is the sentiment[ of <this|the> <text|review|comment|message|sentence>][: {c}]?
<classify|detect|determine|analyze|rate|judge> the sentiment[ of <this|the> <text|review|comment|tweet|message>][ as {c}].
sentiment <analysis|classification>[ ({c})].
how does the <author|writer|customer|reviewer> feel[: {c}]?
is <this|the> <review|comment|feedback|tweet|opinion> {c}?
what is the <tone|mood|attitude|polarity>[ of <this|the> <text|message>][: {c}]?
""", 1),
    "topic": Bank("""
what is the <topic|subject|theme>[ of <this|the> <text|article|headline|sentence>][: {c}]?
what is this <text|article|headline|post> about[: {c}]?
<classify|determine|detect> the topic[ of <this|the> <headline|article|text>][ as {c}].
which <section|topic|subject|desk|rubric> does this <headline|article|story> belong to[: {c}]?
topic <classification|detection>[ ({c})].
""", 1),
    "message": Bank("""
<route|forward|send|assign> this <ticket|message|mail|request|e-mail> to the right <department|team|queue>[: {c}].
which <department|team|queue> <should handle|is responsible for|gets|takes care of> this[: {c}]?
what does the <customer|user|sender|person> want[: {c}]?
what is the <intent|purpose|intention>[ of <this|the> <message|user|customer>][: {c}]?
<classify|detect|determine> the <intent|category|type>[ of <this|the> <message|ticket|request|mail>][ as {c}].
intent <classification|detection>[ ({c})].
what <kind|type|sort> of <message|ticket|request|mail|issue> is <this|it>[: {c}]?
triage <this|the> <ticket|issue|message>[: {c}].
""", 1),
    "urgency": Bank("""
how urgent is <this|the ticket|it>[: {c}]?
what is the <priority|urgency|severity>[ of <this|the> <ticket|message|issue|request>][: {c}]?
<set|assign|determine|estimate|rate> the <priority|urgency|severity>[ of <this|the> <ticket|issue|incident>][ as {c}].
<priority|urgency|severity>[ ({c})]?
""", 1),
    "language": Bank("""
<what|which> language is <this|it|the text>[ <written|> in][: {c}]?
<detect|identify|determine|recognize> the language[ of <this|the> <text|sentence>][: {c}].
language <detection|identification>[ ({c})].
in which language is <this|the text> written[: {c}]?
""", 1),
    "code": Bank("""
<what|which> programming language is <this|it>[: {c}]?
<identify|detect> the programming language[: {c}].
what <kind|type> of code is this[: {c}]?
""", 1),
    "emotion": Bank("""
<what|which> emotion <is expressed|does this express|does the writer feel>[: {c}]?
<detect|identify|classify> the <emotion|feeling|mood>[: {c}].
""", 1),
    "thing": Bank("""
what <kind|type|sort> of <thing|object|item|word> is <this|it>[: {c}]?
<classify|sort> the word[: {c}].
<classify|sort> <this|the> <thing|object|item|word>[: {c}].
to which <group|class|category> does the word belong[: {c}]?
""", 1),
    "value": Bank("""
what <kind|type|sort> of <value|string|data|token|information> is <this|it>[: {c}]?
<detect|identify|determine> the <data type|type|kind>[ of <this|the> <value|string>][: {c}].
""", 1),
}


def _entries(text, separator):
    out = []
    for line in text.strip().splitlines():
        names, items = line.split(" | ", 1)
        out.append(([n.strip() for n in names.split(",")], Pool([i.strip() for i in items.split(separator) if i.strip()], 1)))
    return out


TOPICS = _entries(topics.TOPICS, ",")
EVERYDAY = _entries(topics.EVERYDAY, ",")
GROUPS = {name: _entries(getattr(topics, name.upper()), "; ") for name in ("messages", "urgency", "emotions", "styles", "languages", "codes")}

MATTERS = {line.split(" | ")[0]: Pool(line.split(" | ")[1].split(", "), 1) for line in topics.MATTERS.strip().splitlines()}
FRAMES = {
    None: Bank("""
<there is|i have|we have> <a problem|an issue|trouble> with <my|the|our> {k}.
<a |>question <about|regarding|concerning> <my|the|your> {k}.
i <need|want|would like> <help|some help|information|an update> <with|on|about> <my|the> {k}.
<my|the|our> {k} <is|was|seems|looks> <wrong|missing|not right|still open|late|unclear|gone>.
<can|could> <you|someone|anybody> <check|look at|look into|help with|explain> <my|the|our> {k}[, please]?
<please|kindly> <check|look at|send me|correct|take care of> <my|the|our> {k}.
{k}
{k}!
{k}?
<my|the> {k} and <my|the> {k}
who <handles|is responsible for|can help with> <the |>{k}?
<regarding|concerning|about|re:> <my|the|your> {k}
<still|again> <no news|nothing|waiting> about <my|the> {k}.
<what|when|how> about <my|the> {k}?
i <wrote|called|asked> <yesterday|last week|twice> about <my|the> {k}.
<where|why> is <my|the> {k}?
it is about <the|my> {k}[ of last week| of my colleague].
<the|our> {k} <for|of> {p}
i am <worried|writing|calling> about <the|my> {k}.
<something|anything> <went wrong|is odd|is off> with <the|my> {k}.
""", 1),
    "spam": Bank("""
get your {k} now!!!
{k}: <act now|click here|limited time|only today|hurry>!
<congratulations|dear winner|dear friend>, your {k} is waiting
claim <the|your> {k} <today|at {m}|before midnight>
<100% free|best ever|unbelievable> {k}, <no risk|no fees|no questions asked>
want <a|some> {k}? reply <yes|now|with your card number>
{k} and {k} for only {m}!!!
don't miss this {k}
<make|get|win> {m} with our {k}
""", 1),
    "bug": Bank("""
{k} <in|after|when using> <the {n} page|the new version|version {d}|the {n} module>
<we see|i get|there is|users report> <a|an> {k} <when|after|if> <saving|opening the {n}|clicking the button|the {n} is empty>.
{k} since the last release
<fix|investigate|reproduce> {k}
<found|hit> a {k} in the {n} <code|view|export>
{k}
it <fails|breaks|crashes> with a {k}.
""", 1),
    "feature request": Bank("""
<please|could you|can you> <add|implement|support|build> {k}[?].
<it would be|would be> <nice|great|helpful> to have {k}.
i <would like|wish for|am missing|really want> {k}.
<add|introduce|provide> {k}
<any plans|when will there be|what about> <for |>{k}?
<suggestion|proposal|idea|request>: {k}
we need {k} <to work faster|for our team|in the {n} view>.
<allow|enable> {k}
""", 1),
    "documentation": Bank("""
<the|our> {k} <is outdated|lacks an example|does not mention {n}|has a typo|should explain {n}>.
<update|extend|rewrite|translate|fix> the {k}
<missing|wrong|unclear> section in the {k}
add {n} to the {k}
""", 1),
    "cancellation": Bank("""
<please confirm|i want|i request|i ask for|it is about|how about> <the|my> {k}.
{k}[, please]
<i am|we are> <thinking of|decided on> {k}.
<effective immediately|as of next month>: {k}
""", 1),
    "booking": Bank("""
<i'd like|we need|can i get|is it possible to get|please reserve> a {k}[ <on|for> <friday|monday|tomorrow|next week>].
a {k} <for|on> <friday|saturday|may {d}|tomorrow evening>, please.
<is there|do you have> a {k} <left|available|free>?
""", 1),
}


ABOUT = Bank("""
the {k} and the {k} were <discussed|mentioned|shown|important|new> <today|yesterday|again|this week>.
<news|a report|an article|a story|a question> about <the |>{k}[ and <the |>{k}].
{k} and {k}: <what you need to know|a short guide|an overview|the basics>
{p} <talked|wrote|spoke|asked> about the {k}[ and {k}].
the {k} <surprised|impressed|disappointed> everyone <at|in|near> {city}.
how the {k} <changed|works with|depends on> the {k}
<tips|advice|ideas|help> for your {k}[ and {k}]
we <saw|found|got|talked about|need> a new {k} <and|with|for the> {k}.
why {k} <matters|is so popular|is in the headlines|went wrong>
the <best|worst|biggest|new|latest> {k} of the <year|week|season|decade>
{k}, {k}, {k}
{k}
{k} {k}
there was a problem with the {k}[ during the {k}].
experts <warn|say|explain> that the {k} <is changing|will be different|needs attention>.
i have a question about my {k}.
the {k} <began|ended|was announced> on <monday|friday|sunday> with <a |>{k}.
{city}: {k} <after|before|without|despite> {k}
<she|he|they|my neighbor|the team> <learned|forgot|improved|tried> the {k} and the {k}.
the {k} of {p} was <great|late|unusual|delayed>.
<a|the> {k} <without|with> <a|the> {k} is <rare|common|expensive>.
can you recommend a good {k}[ for <my|the> {k}]?
<after|before> the {k} <came|there was> <the |>{k}.
{k} <hits|breaks|reaches|sets> <a new |>record
{d} {k} <reports|questions|facts|stories>
""", 1)


def about(words, rng, split):
    text = ABOUT.pick(rng, split)
    while "{k}" in text:
        text = text.replace("{k}", words.pick(rng, split), 1)
    return fill(text, rng, split)


def fill(text, rng, split):
    for slot, make_it in (("{n}", noun), ("{p}", person), ("{city}", city), ("{c}", code), ("{d}", lambda r, s: str(r.randint(2, 90))), ("{m}", lambda r, s: make("money", r, s))):
        while slot in text:
            text = text.replace(slot, make_it(rng, split), 1)
    return text


@lru_cache(None)
def lexicon():
    """VADER's words with a clear leaning, adjectives apart: {'positive': (adjectives, others), …}"""
    import vaderSentiment
    from pathlib import Path
    adjectives = {l.split(" ", 1)[0] for l in (WORDNET / "index.adj").read_text().splitlines() if not l.startswith(" ")}
    found = {"positive": ([], []), "negative": ([], [])}
    for line in (Path(vaderSentiment.__file__).parent / "vader_lexicon.txt").read_text(encoding="utf-8").splitlines():
        word, mean = line.split("\t")[:2]
        if re.fullmatch(r"[a-z]{3,14}", word) and abs(float(mean)) >= 1.3 and word not in UNWANTED:
            found["positive" if float(mean) > 0 else "negative"][word not in adjectives].append(word)
    return {k: (Pool(a), Pool(b)) for k, (a, b) in found.items()}


FEELING = {
    "positive": Bank("""
i <really |>love <it|this {n}|the {n}|my new {n}>!
<best|finest|greatest> {n} <ever|i have ever had|of my life|in town>.
<works|it works|runs> <perfectly|like a charm|great|flawlessly|better than expected>.
<highly|warmly> recommended[!]
<would|will> <buy|come|order|visit> again[!]
<five|5> <stars|out of five stars>[!]
i am <so|very|really> <happy|pleased|satisfied|glad> with <the|my> {n}.
<exceeded|beyond> <my|all> expectations.
what a {adj} {n}!
the {n} is {adj}[ and {adj}].
the {n} was <really|very|so|absolutely|simply> {adj}.
{adj} {n}, {adj} <staff|service|quality|food>.
i <enjoyed|liked|adore|admire> <every minute|the {n}|this {n}> <a lot|very much|>.
<not bad at all|can't complain|no complaints|nothing to complain about|i could not be happier>.
the {n} made my day.
worth every <penny|cent>.
a {adj} <experience|product|book|film|place|surprise>[, thank you].
so {adj}!
{adj}!
{adj}
{other} and {other}
it <felt|was|looks|tastes|sounds> {adj}.
<money|time> well spent.
i can't imagine life without my {n}.
<delicious|comfortable|friendly|beautiful>[ {n}]. 
the <staff|waiter|team|driver> <was|were> <friendly|helpful|great|kind> and the {n} <perfect|excellent|tasty|spotless>.
<good|great|nice|excellent|superb> <value|quality|{n}>, i'm <happy|delighted|impressed>.
this {n} is <fantastic|wonderful|great|awesome|brilliant|amazing>.
finally a {n} that <works|is fun|keeps its promise|does not break>.
<i was|we were> <pleasantly surprised|blown away|delighted|impressed> by the {n}.
<the food|the room|the service|the plot|the acting|the sound|the view|the price|the design> is <great|excellent|lovely|superb|outstanding|spot on|just right>.
<fast|quick|prompt> <delivery|answer|repair>, <well packed|friendly people|fair price>.
<thank you|thanks> for the {adj} {n}!
<can't wait|looking forward> to <come back|use it again|see more>.
my <kids|wife|husband|mother|colleagues|friends> <love|adore|enjoy> <it|this {n}>.
<easy|simple|a joy> to use[ and looks {adj}].
<way |much |>better than <my old one|the last {n}|i thought>.
<it|the {n}> <fits|works|tastes|looks|runs> <perfectly|wonderfully|great|very well>.
everything <went|was> <smoothly|perfect|fine and on time|as promised>.
i felt <welcome|safe|at home|well looked after>.
<a must|a gem|a treat|pure joy|top notch|first class>[ for every {n} fan].
<10|9> <out of|/> 10
never had <a better {n}|any trouble with it>.
""", 2),
    "negative": Bank("""
i <really |>hate <it|this {n}|the {n}|my new {n}>.
<worst|poorest> {n} <ever|i have ever had|of my life|in town>.
<broke|it broke|stopped working|fell apart> after <a day|{d} days|one week|the first use>.
<do not|don't|never> <buy|order|come here|waste your money>[!]
<would|will> <never|not> <buy|come|order|recommend> <it|again>[!]
<one|1> star[ is too much].
i am <so|very|really> <unhappy|disappointed|annoyed|angry> with <the|my> {n}.
a <waste|total waste> of <money|time>.
what a {adj} {n}!
the {n} is {adj}[ and {adj}].
the {n} was <really|very|so|absolutely|simply> {adj}.
{adj} {n}, {adj} <staff|service|quality|food>.
<not good|not worth it|no fun at all|not what i expected|not happy|not recommended>.
the {n} ruined my day.
<i want my money back|never again|avoid|stay away>[!]
a {adj} <experience|product|book|film|place|disaster>.
so {adj}!
{adj}!
{adj}
{other} and {other}
it <felt|was|looks|tastes|sounds> {adj}.
the {n} <never|did not> <arrived|work|fit>.
<nobody|no one> <helped|answered|cared>.
the <staff|waiter|team|driver> <was|were> <rude|slow|unfriendly|useless> and the {n} <dirty|cold|late|stale>.
<bad|poor|terrible|awful|horrible> <value|quality|{n}>, i'm <upset|disappointed|furious>.
this {n} is <terrible|useless|garbage|awful|dreadful|a joke>.
too <expensive|slow|loud|small|complicated>, and the {n} <leaks|squeaks|smells|is scratched>.
<overpriced|boring|dirty|broken>[ {n}].
i regret <buying|ordering|choosing> this {n}.
<i was|we were> <bitterly disappointed|shocked|let down|annoyed> by the {n}.
<the food|the room|the service|the plot|the acting|the sound|the view|the price|the design> is <terrible|poor|awful|disgusting|a mess|far too expensive|boring>.
<slow|late|careless> <delivery|answer|repair>, <box was crushed|rude people|hidden fees>.
no thanks for the {adj} {n}!
<can't believe|sad that> i <paid for this|waited for that|trusted them>.
my <kids|wife|husband|mother|colleagues|friends> <hated|disliked> <it|this {n}>.
<hard|impossible|a pain> to use[ and looks {adj}].
<way |much |>worse than <my old one|the last {n}|i thought>.
<it|the {n}> <does not fit|leaks|rattles|tastes like cardboard|keeps crashing|stinks>.
nothing <went|worked> <right|as promised|at all>.
i felt <cheated|ignored|unsafe|ripped off>.
<a disaster|a scam|rubbish|junk|pure frustration|third rate>[, like every {n} of theirs].
<1|2> <out of|/> 10
never had <a worse {n}|so much trouble>.
<had to|we had to> <send it back|wait for hours|throw it away|leave early>.
""", 2),
    "neutral": Bank("""
the {n} <arrived|was delivered|came> on <monday|tuesday|friday>.
the {n} has {d} {n}s.
it is a {n} with a {n}.
the {n} opens at {d}.
<i bought|we ordered|she has> a {n} <last week|in {city}|in may>.
the <box|package> contains a {n} and {d} {n}s.
the meeting is at {d} o'clock.
the {n} is <made of|next to|under|behind> the {n}.
{p} lives in {city}.
it is <okay|average|so-so|neither good nor bad|nothing special|fine, i guess>.
the {n} is {color}.
the {n} weighs {d} kilograms.
the store sells {n}s and {n}s.
this is the {n} of {p}.
there are {d} {n}s in the {n}.
the manual has {d} pages.
they moved from {city} to {city}.
the {n} costs {m}.
the train to {city} leaves at {d}.
i use the {n} <every day|at work|on sundays>.
an ordinary {n}, no more, no less.
the {n} was built in {city}.
<today is|yesterday was|the deadline is> <tuesday|friday|monday>.
""", 2),
}
SENTIMENT_NAMES = {
    "positive": ["positive", "positive", "positive", "pos", "good", "happy", "favorable", "satisfied", "thumbs up", "praise", "like", "recommended", "optimistic", "+"],
    "negative": ["negative", "negative", "negative", "neg", "bad", "unhappy", "unfavorable", "dissatisfied", "thumbs down", "criticism", "dislike", "not recommended", "pessimistic", "-"],
    "neutral": ["neutral", "neutral", "neutral", "neu", "mixed", "neither", "indifferent", "neutral", "undecided", "no opinion", "neutral", "not sure", "neutral", "0"],
}


def feeling(which, rng, split):
    text = FEELING[which].pick(rng, split)
    if which != "neutral":
        adjectives, others = lexicon()[which]
        while "{adj}" in text:
            text = text.replace("{adj}", adjectives.pick(rng, split), 1)
        while "{other}" in text:
            text = text.replace("{other}", others.pick(rng, split), 1)
    text = text.replace("{color}", rng.choice(("red", "blue", "green", "white", "grey")))
    return fill(text, rng, split)


# Sets of siblings; a name stands for the WordNet noun with the most members.
SIBLINGS = [line.split(", ") for line in """
bird, fish, mammal, insect, reptile
bird, mammal, fish, amphibian, spider
dog, cat, horse, bird, rodent
fruit, vegetable, meat, grain, nut
food, drink, clothing, furniture, tool
tool, weapon, toy, vehicle, container
tree, flower, herb, grass, shrub
vehicle, building, machine, furniture, instrument
car, boat, aircraft, train, bicycle
metal, gas, mineral, gemstone, acid
emotion, disease, color, shape, number
color, shape, size, sound, smell
profession, sport, animal, plant, country
relative, friend, ruler, criminal, artist
river, mountain, island, sea, desert
sport, dance, game, music, art
city, country, continent, river, lake
musical instrument, tool, weapon, kitchen utensil, toy
shoe, hat, coat, dress, jewelry
spice, dessert, soup, bread, cheese
beverage, dessert, meat, fish, vegetable
wine, beer, juice, coffee, tea
body part, organ, bone, muscle, disease
doctor, musician, athlete, scientist, soldier
planet, star, constellation, month, weekday
fabric, metal, wood, stone, plastic
school, hospital, shop, hotel, church
currency, language, religion, nationality, city
rain, wind, storm, snow, cloud
crime, punishment, law, court, contract
book, film, song, painting, sculpture
bed, chair, table, lamp, cabinet
unit, number, shape, color, time
liquid, solid, gas, metal, powder
monkey, bear, deer, whale, snake
ship, airplane, truck, motorcycle, wagon
soldier, priest, teacher, lawyer, worker
person, animal, plant, place, thing
animal, vegetable, mineral, person, event
drug, poison, food, drink, spice
feeling, thought, action, event, state
room, building, street, bridge, tower
meal, dish, drink, snack, ingredient
tool, utensil, appliance, device, machine
knife, gun, bomb, sword, arrow
""".strip().splitlines()]

VAGUE = set("""entity abstraction object whole thing matter unit group attribute relation measure artifact cause part state event act activity action change content message communication causal_agent psychological_feature physical_entity
set being quality process happening cognition natural_object point line area region location way kind sort collection assemblage concept idea property condition situation physical_object living_thing organism cell structure instrumentality substance
indefinite_quantity definite_quantity fundamental_quantity magnitude thinking higher_cognitive_process basic_cognitive_process auditory_communication written_communication social_group organization body""".split())


@lru_cache(None)
def concrete_synsets():
    """Animals, made things, parts of the body, food, plants, people, substances: what a word alone makes clear."""
    wanted = {"05", "06", "08", "13", "18", "20", "27"}
    lines = (l.split(" ", 2) for l in (WORDNET / "data.noun").read_text().splitlines() if not l.startswith(" "))
    return {offset for offset, area, _ in lines if area in wanted}


@lru_cache(None)
def taxonomy():
    """(parents of a synset, nouns by label): a label's nouns are those whose commonest sense lies below it."""
    synsets, by_word = _nouns()
    parents = {}
    for offset, (_, below, _) in synsets.items():
        for child in below:
            parents.setdefault(child, []).append(offset)

    @lru_cache(None)
    def above(offset):
        found = set()
        for p in parents.get(offset, ()):
            found |= {p} | above(p)
        return frozenset(found)

    known = set(dictionary())
    concrete = concrete_synsets()
    common = set(common_nouns()[:4500])
    ancestors, first = {}, {}
    for word, senses in by_word.items():
        if word in known and word not in UNWANTED:
            first[word] = above(senses[0]) | {senses[0]}
            ancestors[word] = frozenset().union(*(above(s) | {s} for s in senses))
    members, second = {}, {}
    for word, line in first.items():
        for synset in line:
            members.setdefault(synset, []).append(word)
    for word, line in first.items():
        for sense in by_word[word][1:2]:
            for synset in (above(sense) | {sense}) - line:
                second.setdefault(synset, []).append(word)
    label = {}
    for synset, words in members.items():
        names = [w for w in synsets[synset][0] if re.fullmatch(r"[a-z]+(_[a-z]+)?", w) and w not in VAGUE and all(p in common for p in w.split("_")) and w not in UNWANTED]
        if names and len(words) >= 6 and len(words) < 1200 and synset in concrete:
            label[synset] = [n.replace("_", " ") for n in names[:2]]
    return ancestors, first, {s: members.get(s, []) + second.get(s, []) for s in members.keys() | second.keys()}, label


@lru_cache(None)
def named(name):
    """The synset that `name` most likely means as a category: of its senses the one with most members."""
    _, by_word = _nouns()
    _, _, members, _ = taxonomy()
    senses = [s for s in by_word.get(name.replace(" ", "_"), ()) if len(members.get(s, ())) >= 3]
    return max(senses[:3], key=lambda s: len(members[s]), default=None)


@lru_cache(None)
def member_pool(synset):
    return Pool(taxonomy()[2][synset], 3)


@lru_cache(None)
def familiar():
    """Members in common use are drawn oftener than rare ones."""
    return set(common_nouns()[:9000])


def member(synset, name, rng, split):
    pool = member_pool(synset)
    for _ in range(6):
        word = pool.pick(rng, split)
        if word != name and (word in familiar() or rng.random() < 0.3):
            return word
    return None


CARRY = Bank("""
{w}
{w}
{w}
{w}
{w}
{w}
the {w}
a {w}
{w}s
i saw a {w} <yesterday|today|in {city}|on tv>.
<there is|there was> a {w} in the <picture|text|list|garden|museum>.
we talked about the {w}.
the word {w}
my {w} is <old|new|gone|here>.
<she|he|{p}> <likes|has|wants|needs|mentioned> the {w}.
<look|see>, a {w}!
what do you know about the {w}?
{p} bought a {w}.
""", 1)


@lru_cache(None)
def everyday():
    """(all the things, what each is)"""
    return {word: {names[0] for names, pool in EVERYDAY if word in pool.all} for _, pool in EVERYDAY for word in pool.all}


# What is the one is, or may be said to be, the other.
KINDRED = [set(c.split(", ")) for c in """
animal, mammal, bird, fish, insect, reptile
plant, tree, flower, spice, fruit, vegetable
food, dessert, drink, fruit, vegetable, spice, fish
tool, kitchen utensil, electronics, appliance, instrument, weapon, stationery, toy
color, metal, fruit, flower, spice, number
country, city, continent, language
metal, material, natural feature, weapon
clothing, shoe, jewelry, material
vehicle, toy
disease, emotion, weather
school subject, language, programming language
building, room, natural feature
electronics, appliance, furniture
planet, metal, weekday, month
currency, body part, emotion
profession, family member
""".strip().splitlines()]


def carried(word, rng, split, plural=True):
    text = CARRY.pick(rng, split).replace("{w}s", "{w}s" if plural else "{w}")
    if word[0] in "aeiou":
        text = re.sub(r"\ba \{w\}", "an {w}", text)
    return text.replace("{w}", word)


def household(rng, split):
    """Everyday things among categories that nobody would confuse with theirs, or kindred ones where no word is in both."""
    picked = rng.sample(EVERYDAY, rng.choice((2, 3, 3, 4, 4, 5, 6)))
    if rng.random() < 0.5:
        group = rng.choice(KINDRED)
        kindred = [e for e in EVERYDAY if e[0][0] in group]
        picked = rng.sample(kindred, min(len(kindred), rng.choice((2, 3, 4))))
    right_names, pool = picked[0]
    word = pool.pick(rng, split)
    nested = ({"animal"}, {"plant"}, {"food"})
    others = []
    for names, items in picked[1:]:
        if word in items.all or any({names[0]} == n or {right_names[0]} == n for n in nested) and any({names[0], right_names[0]} <= k for k in KINDRED):
            continue
        others.append(names)
    column = rng.random()
    name = lambda names: names[0] if column < 0.6 else rng.choice(names)
    names = [name(right_names)] + [name(o) for o in others]
    if len(names) < 2 or word in names:
        return None
    members = [pool] + [next(items for n, items in EVERYDAY if n is o) for o in others]

    def again(i):
        other = members[i].pick(rng, split)
        unclear = other in names or any(other in m.all for j, m in enumerate(members) if j != i)
        return None if unclear else fill(carried(other, rng, split, plural=False), rng, split)

    return names, names[0], fill(carried(word, rng, split, plural=False), rng, split), "thing", again


def things(rng, split):
    """(categories' names, right one, text) from WordNet."""
    ancestors, first, members, label = taxonomy()
    if rng.random() < 0.7:
        names = [n for n in rng.choice(SIBLINGS) if named(n)]
        rng.shuffle(names)
        names = names[:rng.randint(2, len(names))]
        right = names[0]
        word = member(named(right), right, rng, split)
    else:
        synset = rng.choice(label_list())
        right = rng.choice(label[synset])
        word = member(synset, right, rng, split)
        names = [right]
        for _ in range(rng.randint(1, 4)):
            other = rng.choice(label[rng.choice(label_list())])
            names.append(other)
    if word is None:
        return None
    synsets, by_word = _nouns()
    keep = [right]
    for n in names[1:]:
        senses = by_word.get(n.replace(" ", "_"), ())
        if n not in keep and n != word and not (set(senses) & ancestors[word]):
            keep.append(n)
    if len(keep) < 2 or word == right:
        return None
    return keep, right, fill(carried(word, rng, split), rng, split), "thing"


@lru_cache(None)
def label_list():
    _, _, members, label = taxonomy()
    return sorted(label, key=lambda s: -len(members[s]))[:900]


STRING_TYPES = {"email address|email|e-mail": "email", "phone number|phone|telephone": "phone", "url|link|web address": "url", "ip address|ip": "ip", "date|calendar date": "date", "time|clock time": "time", "amount|price|money|amount of money": "money",
                "person|name|person name|human name|human": "person", "city|place|town|location": "city", "company|organization|organisation|firm": "company", "country|nation|state": "country", "version|version number": "version",
                "file|filename|file name": "filename", "path|file path|directory": "path", "color|colour": "color", "street|address|street address|postal address": "street", "uuid|guid": "uuid", "percentage|percent": "percent",
                "product|item": "product", "job|profession|occupation|job title": "job", "weight|mass": "weight", "distance|length": "distance", "duration|time span": "duration", "temperature|degrees": "temperature", "language": "language", "boolean|truth value": "bool"}


def strings(rng, split):
    picked = rng.sample(list(STRING_TYPES), rng.randint(2, 5))
    kinds = [STRING_TYPES[p] for p in picked]
    if {"country", "city"} <= set(kinds) or {"person", "company"} <= set(kinds) and rng.random() < 0.5:
        return None
    names = [rng.choice(p.split("|")) for p in picked]
    return names, names[0], make(kinds[0], rng, split), "value"


def from_entries(entries, rng, split, text_of, label):
    picked = rng.sample(entries, min(len(entries), rng.choice((2, 3, 3, 4, 4, 5, 6))))
    names = [rng.choice(n) if rng.random() < 0.5 else n[0] for n, _ in picked]
    return names, names[0], text_of(picked[0][1], rng, split), label, lambda i: text_of(picked[i][1], rng, split)


def said(items, rng, split):
    text = fill(unfold(items.pick(rng, split), rng, split), rng, split)
    if rng.random() < 0.12:
        text += rng.choice((". ", "! ", ", ")) + fill(unfold(items.pick(rng, split), rng, split), rng, split)
    if rng.random() < 0.14:
        text = rng.choice(("hi, ", "hello, ", "hey team, ", "good morning, ", "dear team, ", "hi {p}, ", "quick note: ", "so, ", "sorry, ")).replace("{p}", person(rng, split)) + text
    if rng.random() < 0.08:
        text += rng.choice((" thanks", " regards, " + person(rng, split), " please help", " thank you", " (order " + code(rng, split) + ")"))
    return text


def message_of(entry, rng, split):
    """A message of a class: one of its own sentences, or one about its matters."""
    names, sentences = entry
    matters = MATTERS.get(names[0])
    if matters is None or rng.random() < 0.5:
        return said(sentences, rng, split)
    text = FRAMES.get(names[0], FRAMES[None]).pick(rng, split)
    while "{k}" in text:
        text = text.replace("{k}", matters.pick(rng, split), 1)
    text = fill(text, rng, split)
    return text + " " + said(sentences, rng, split) if rng.random() < 0.1 else text


def raw(items, rng, split):
    return fill(items.pick(rng, split), rng, split)


OPPOSED = [({"spam"}, {"not spam"}), ({"spam"}, {"not spam"}), ({"phishing"}, {"not spam"}), ({"phishing"}, {"spam"}, {"not spam"}), ({"formal"}, {"informal"}), ({"fact"}, {"opinion"}), ({"question"}, {"statement"}), ({"question"}, {"statement"}, {"command"}), ({"past"}, {"present"}, {"future"}), ({"toxic"}, {"non-toxic"}),
           ({"safe"}, {"dangerous"}), ({"info"}, {"warning"}, {"error"}), ({"debug"}, {"info"}, {"warning"}, {"error"}), ({"success"}, {"error"}), ({"invoice"}, {"resume"}, {"contract"}, {"receipt"}), ({"recipe"}, {"news"}, {"advertisement"}, {"review"}), ({"poem"}, {"joke"}, {"recipe"}, {"news"}), ({"cat person"}, {"dog person"}),
           ({"morning"}, {"evening"}), ({"summer"}, {"winter"}), ({"summer"}, {"winter"}, {"spring"}, {"autumn"}), ({"bug"}, {"feature request"}), ({"bug"}, {"feature request"}, {"question"}), ({"bug"}, {"feature request"}, {"documentation"}), ({"bug"}, {"feature request"}, {"question"}, {"documentation"}),
           ({"complaint"}, {"praise"}), ({"complaint"}, {"praise"}, {"question"}), ({"complaint"}, {"question"}, {"request"}), ({"billing"}, {"technical support"}, {"sales"}), ({"billing"}, {"technical support"}, {"shipping"}, {"account"}), ({"shipping"}, {"returns"}, {"billing"}), ({"cancellation"}, {"booking"}), ({"greeting"}, {"goodbye"}),
           ({"greeting"}, {"goodbye"}, {"question"}), ({"human resources"}, {"technical support"}, {"facilities"}, {"legal"}), ({"sales"}, {"technical support"}), ({"cancellation"}, {"booking"}, {"complaint"}), ({"legal"}, {"marketing"}, {"security"}), ({"booking"}, {"cancellation"}, {"question"}, {"complaint"}), ({"greeting"}, {"complaint"}, {"request"})]
ENTRY = {n[0]: (n, pool) for group in ("messages", "styles") for n, pool in GROUPS[group]}
# Pairs of message categories that a text may fit both of.
OVERLAP = {frozenset(p) for p in (("question", "request"), ("question", "booking"), ("request", "booking"), ("complaint", "technical support"), ("complaint", "shipping"), ("complaint", "bug"), ("technical support", "bug"), ("account", "technical support"), ("request", "returns"), ("request", "cancellation"),
           ("request", "feature request"), ("request", "sales"), ("question", "sales"), ("question", "shipping"), ("question", "billing"), ("question", "account"), ("question", "returns"), ("security", "phishing"), ("spam", "phishing"), ("complaint", "returns"), ("complaint", "billing"), ("request", "account"), ("request", "human resources"),
           ("question", "human resources"), ("question", "technical support"), ("request", "technical support"), ("request", "billing"), ("cancellation", "account"), ("security", "account"), ("bug", "account"), ("facilities", "request"), ("facilities", "technical support"), ("complaint", "facilities"), ("not spam", "greeting"), ("not spam", "goodbye"),
           ("not spam", "question"), ("not spam", "request"), ("not spam", "praise"), ("feature request", "documentation"), ("request", "documentation"), ("bug", "documentation"), ("request", "facilities"), ("question", "legal"), ("request", "legal"), ("request", "marketing"), ("question", "feature request"), ("booking", "human resources"), ("cancellation", "billing"),
           ("request", "shipping"), ("request", "security"), ("not spam", "booking"), ("complaint", "account"), ("complaint", "security"), ("greeting", "question"), ("not spam", "human resources"), ("not spam", "facilities"), ("not spam", "legal"), ("not spam", "marketing"), ("returns", "cancellation"), ("returns", "billing"), ("complaint", "human resources"))}


def messages(rng, split):
    if rng.random() < 0.5:
        picked = [ENTRY[next(iter(s))] for s in rng.choice(OPPOSED)]
        rng.shuffle(picked)
    else:
        picked = rng.sample(GROUPS["messages"], rng.choice((2, 3, 3, 4, 5)))
    names = [rng.choice(n) if rng.random() < 0.5 else n[0] for n, _ in picked]
    first = picked[0][0][0]
    clear = lambda i: [j for j, (other, _) in enumerate(picked) if j == i or frozenset((picked[i][0][0], other[0])) not in OVERLAP]
    kept = clear(0)
    if len(kept) < 2:
        return None
    again = lambda i: message_of(picked[kept[i]], rng, split) if set(kept) <= set(clear(kept[i])) else None
    return [names[j] for j in kept], names[0], message_of(picked[0], rng, split), "message", again


def urgency(rng, split):
    picked = [GROUPS["urgency"][i] for i in rng.choice(((0, 1), (1, 0), (0, 1, 2), (2, 0, 1), (1, 0, 2)))]
    scheme = rng.random()
    if scheme < 0.5:
        table = [("high", "low", "medium"), ("urgent", "low", "normal"), ("critical", "minor", "moderate"), ("high", "low", "normal"), ("p1", "p4", "p3"), ("urgent", "not urgent", "normal"), ("high priority", "low priority", "medium priority"), ("emergency", "can wait", "standard")]
        row = rng.choice(table)
        names = [row[GROUPS["urgency"].index(p)] for p in picked]
    else:
        names = [rng.choice(n) for n, _ in picked]
    return names, names[0], said(picked[0][1], rng, split), "urgency", lambda i: said(picked[i][1], rng, split)


def sentiment(rng, split):
    three = rng.random() < 0.45
    kinds = ["positive", "negative"] + (["neutral"] if three else [])
    rng.shuffle(kinds)
    column = rng.randrange(14)
    names = [SENTIMENT_NAMES[k][column] for k in kinds]
    text = feeling(kinds[0], rng, split)
    if rng.random() < 0.15:
        text += " " + feeling(kinds[0], rng, split)
    return names, names[0], text, "sentiment", lambda i: feeling(kinds[i], rng, split)


def mixed(rng, split):
    """One category of any well among strangers."""
    source = rng.choice((things, things, topic, messages, strings, lambda r, s: from_entries(GROUPS["languages"], r, s, said, "language")))(rng, split)
    if source is None:
        return None
    names, right, text = source[:3]
    strangers = [rng.choice((rng.choice(TOPICS)[0][0], rng.choice(rng.choice(SIBLINGS)), rng.choice(list(STRING_TYPES)).split("|")[0], rng.choice(GROUPS["languages"])[0][0])) for _ in range(rng.randint(1, 4))]
    if source[3] in ("thing", "value"):
        # A trout may be food to some: only subjects that a word alone cannot be about.
        strangers = [s for s in strangers if s in {"politics", "law", "education", "real estate", "history", "crime", "english", "german", "french", "spanish", "italian", "uuid", "email address", "phone number", "url"}]
    elif source[3] in ("topic",):
        strangers = [s for s in strangers if s in {"email address", "url", "uuid", "german", "french", "spanish", "polish", "bird", "fish", "gas", "fruit", "insect", "ip address", "phone number"}]
    elif source[3] in ("message",):
        strangers = [s for s in strangers if s in {"bird", "fish", "gas", "fruit", "insect", "uuid", "ip address", "politics", "religion", "astronomy", "history", "space", "agriculture", "sports", "weather", "music"}]
    names = [right] + [s for s in dict.fromkeys(strangers) if s != right]
    return (names, right, text, source[3]) if len(names) > 1 else None


# Topics too close to be told apart by a keyword.
CLOSE = [set(c) for c in (("business", "finance", "jobs", "real estate"), ("politics", "law", "military", "history"), ("sports", "fitness", "gaming"), ("entertainment", "music", "art", "literature"), ("science", "space", "technology", "environment"), ("weather", "environment"), ("crime", "law"), ("health", "fitness"),
                          ("automotive", "transport", "travel"), ("environment", "agriculture", "energy", "home improvement"), ("food", "agriculture"), ("pets", "agriculture"), ("technology", "gaming"), ("religion", "history"), ("art", "history"), ("parenting", "education"), ("real estate", "finance", "home improvement"), ("health", "science"), ("travel", "transport"), ("jobs", "education"), ("fashion", "art"))]


def topic(rng, split):
    picked = rng.sample(TOPICS, rng.choice((2, 3, 3, 4, 4, 5, 6)))
    first = picked[0][0][0]
    picked = picked[:1] + [p for p in picked[1:] if not any({first, p[0][0]} <= c for c in CLOSE)]
    if len(picked) < 2:
        return None
    names = [rng.choice(n) if rng.random() < 0.45 else n[0] for n, _ in picked]
    again = lambda i: about(picked[i][1], rng, split) if not any(j != i and any({picked[i][0][0], p[0][0]} <= c for c in CLOSE) for j, p in enumerate(picked)) else None
    return names, names[0], about(picked[0][1], rng, split), "topic", again


def emotion(rng, split):
    return from_entries(GROUPS["emotions"], rng, split, said, "emotion")


def language(rng, split):
    return from_entries(GROUPS["languages"], rng, split, raw, "language")


def program(rng, split):
    return from_entries(GROUPS["codes"], rng, split, raw, "code")


QUESTIONS = (("positive", "negative", ("is <this|it|the review|the comment> <positive|good|favorable|happy>?", "does the <writer|customer> <like it|recommend it|sound happy>?")), ("negative", "positive", ("is <this|it|the review|the comment> <negative|bad|critical>?", "is this a complaint?", "is the <writer|customer> <unhappy|dissatisfied>?")))


def yes_or_no(rng, split):
    """A question whose answers are the categories."""
    truth = rng.random() < 0.5
    chance = rng.random()
    if chance < 0.4:
        yes, no, questions = rng.choice(QUESTIONS)
        question, text = unfold(rng.choice(questions), rng, split), feeling(yes if truth else no, rng, split)
    elif chance < 0.7:
        question = unfold(rng.choice(("is <this|it|the message|the mail> spam?", "<spam|junk mail>?", "should <this|the mail> go to the spam folder?", "is <this|it> an unwanted mail?")), rng, split)
        text = message_of(ENTRY["spam" if truth else "not spam"], rng, split)
    else:
        urgent, low = GROUPS["urgency"][0], GROUPS["urgency"][1]
        question = unfold(rng.choice(("is <this|it|the ticket> urgent?", "does this need <immediate attention|to be fixed right now>?", "is it <critical|an emergency>?")), rng, split)
        text = said((urgent if truth else low)[1], rng, split)
    names = rng.choice((["yes", "no"], ["yes", "no"], ["true", "false"], ["y", "n"]))
    return names, names[0 if truth else 1], text, question


# What people sort most: feedback, messages, headlines.
WELLS = (sentiment,) * 8 + (messages,) * 8 + (topic,) * 6 + (urgency,) * 3 + (yes_or_no,) * 2 + (things,) * 2 + (household,) * 2 + (emotion, language, language, strings, strings, mixed, program)


def written(names, rng):
    """The categories as one list in a sentence."""
    q = rng.choice(("", "", "", "", "", '"', "'", "`"))
    items = [f"{q}{n}{q}" for n in names]
    chance = rng.random()
    if chance < 0.4:
        return ", ".join(items[:-1]) + rng.choice((" or ", " or ", ", or ")) + items[-1]
    if chance < 0.6:
        return ", ".join(items)
    if chance < 0.68:
        return "/".join(items) if rng.random() < 0.6 else " / ".join(items)
    if chance < 0.74:
        return " or ".join(items)
    if chance < 0.8:
        return "[" + ", ".join(items) + "]"
    if chance < 0.84:
        return " | ".join(items)
    if chance < 0.88:
        return "(" + ", ".join(items) + ")"
    if chance < 0.91:
        return "; ".join(items)
    if chance < 0.94:
        return "{" + ", ".join(items) + "}"
    if chance < 0.97:
        return "\n" + "\n".join("- " + i for i in items) + "\n"
    return ", ".join(items[:-1]) + " and " + items[-1]


def example(rng, split, hardness=1.0):
    found = rng.choice(WELLS)(rng, split)
    if found is None:
        return None
    names, right, text, well = found[:4]
    # In training, further turns bring more texts for the same categories.
    more = []
    if len(found) > 4:
        for _ in range(rng.choice((0, 1, 2, 3))):
            i = rng.randrange(len(names))
            other = found[4](i)
            if other:
                other = other[0].upper() + other[1:] if rng.random() < 0.5 and well not in ("language", "code") else other
                more.append((rng.choice(("", "", "", "", "and: ", "next: ", "text: ", "and this: ", "now: ", "same for: ")) + rng.choice(("%s", "%s", "%s", '"%s"', "'%s'")) % other, names[i]))
    if len({n.lower() for n in names}) < len(names) or any(a != b and a in b.split() for a in names for b in names if rng.random() < 0.8):
        return None
    case = rng.random()
    change = str if case < 0.6 else (lambda n: n[:1].upper() + n[1:]) if case < 0.82 else str.upper if case < 0.9 else (lambda n: n.replace(" ", "_")) if case < 0.96 else str.title
    names, right = [change(n) for n in names], change(right)
    more = [(t, change(n)) for t, n in more]
    rng.shuffle(names)
    question = well if well.endswith("?") else None
    well = "question" if question else well
    if well not in ("language", "code", "value") and rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if well not in ("language", "code", "value", "thing") and rng.random() < 0.3 and text[-1].isalpha():
        text += rng.choice((".", "!", "..."))
    separate = rng.random() < 0.45
    bank = (WITHOUT if separate else WITH) if well not in SPECIFIC or rng.random() < 0.6 else SPECIFIC[well]
    template = bank.pick(rng, split)
    if separate and "{c}" in template:
        template = re.sub(r"( as|:)? ?\(?\{c\}\)?", "", template) if bank is not WITH else template
    if question:
        template = question if separate else question + rng.choice((" {c}.", " {c}?", " ({c})", " answer {c}.", " answer with {c}.", " reply {c}."))
    elif not separate and "{c}" not in template:
        template = WITH.pick(rng, split)
    instruction = humanise(template, rng, split).replace("{C}", "{c}")
    instruction = instruction.replace("{c}", written(names, rng))
    description, prompt = layout(instruction, text, rng, split, HEADINGS)
    return {"kind": KIND, "description": description, "prompt": prompt, "categories": names if separate else None, "answer": right, "choices": names, "well": well, "more": more}
