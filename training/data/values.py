"""Values of every type that a field can hold: people, places, dates, amounts, codes.

Names and places come from Faker's lists in many languages, each divided among the splits; numbers and codes are
drawn afresh, so that copying them can never be memory. `make(type, rng, split)` returns the text; `literal` tells
how JSON would hold it.
"""

import importlib
import json
import string
from functools import lru_cache

import faker  # noqa: F401  (its lists are read below, one provider at a time)

from .words import ADJECTIVES, Pool, invented, noun

LATIN = "en_US en_GB de_DE fr_FR es_ES it_IT pt_BR pl_PL cs_CZ tr_TR sv_SE nl_NL fi_FI ro_RO hu_HU hr_HR da_DK no_NO et_EE lv_LV lt_LT sk_SK sl_SI pt_PT".split()
OTHER = "ru_RU uk_UA el_GR bg_BG ja_JP zh_CN ko_KR he_IL hi_IN th_TH ka_GE fa_IR ar_AA hy_AM".split()


def _faker_list(area, locale, *names):
    found = []
    try:
        provider = importlib.import_module(f"faker.providers.{area}.{locale}").Provider
    except ImportError:
        return found
    for name in names:
        items = getattr(provider, name, ())
        items = items if isinstance(items, (list, tuple, dict, set)) else ()
        found += [i if isinstance(i, str) else i[0] for i in items]
    return [f for f in found if isinstance(f, str) and f and len(f) < 24 and '"' not in f and "{" not in f]


FIRST = ("first_names", "first_names_male", "first_names_female", "first_romanized_names_x")
LAST = ("last_names", "last_names_male")
CITY = ("cities", "city_names", "city_name")


@lru_cache(None)
def pools(area, names):
    out = {}
    for locale in LATIN + OTHER:
        items = _faker_list(area, locale, *names)
        if len(items) >= 12:
            out[locale] = Pool(items)
    return out


def _locale(rng, table):
    chance = rng.random()
    if chance < 0.64:
        wanted = ["en_US", "en_GB"]
    else:
        wanted = LATIN if chance < 0.955 else OTHER
    wanted = [w for w in wanted if w in table]
    return rng.choice(wanted or list(table))


def first(rng, split):
    table = pools("person", FIRST)
    return table[_locale(rng, table)].pick(rng, split)


def last(rng, split):
    table = pools("person", LAST)
    return table[_locale(rng, table)].pick(rng, split)


def person(rng, split):
    firsts, lasts = pools("person", FIRST), pools("person", LAST)
    locale = _locale(rng, firsts)
    given = firsts[locale].pick(rng, split)
    family = lasts.get(locale, lasts["en_US"]).pick(rng, split)
    if rng.random() < 0.06:
        given += rng.choice((" ", "-")) + firsts[locale].pick(rng, split)
    if rng.random() < 0.04:
        given += " " + rng.choice(string.ascii_uppercase) + "."
    if rng.random() < 0.03:
        family = rng.choice(("O'", "Mc", "van ", "de ", "von ")) + family
    if rng.random() < 0.04:
        return rng.choice(("Dr. ", "Mr. ", "Mrs. ", "Ms. ", "Prof. ")) + rng.choice((given + " ", "")) + family
    if rng.random() < 0.05:
        return invented(rng).capitalize() + " " + invented(rng).capitalize()
    return f"{given} {family}"


MORE_CITIES = """Berlin Paris London Madrid Rome Lisbon Vienna Prague Warsaw Oslo Stockholm Helsinki Dublin Athens Zürich Geneva Munich Hamburg Lyon Porto Kraków Malmö
Tokyo Osaka Kyoto Seoul Busan Beijing Shanghai Mumbai Delhi Chennai Bangkok Hanoi Jakarta Manila Sydney Melbourne Auckland Toronto Montreal Vancouver Chicago Boston Denver
Seattle Austin Dallas Houston Phoenix Atlanta Miami Portland Lima Bogotá Quito Santiago Caracas Brasília Recife Cairo Lagos Nairobi Accra Tunis Rabat Dakar Kampala Amman
Beirut Doha Dubai Riyadh Tehran Baku Tbilisi Yerevan Almaty Tashkent Riga Tallinn Vilnius Minsk Kyiv Odesa Sofia Bucharest Zagreb Belgrade Ljubljana Bratislava Budapest
Antwerp Ghent Utrecht Rotterdam Bergen Aarhus Turku Tampere Gdańsk Brno Graz Salzburg Basel Bern Turin Naples Bologna Seville Valencia Bilbao Granada Leeds Bristol Cardiff
Glasgow Edinburgh Belfast Cork Galway""".split()
EXTRA_CITIES = Pool(MORE_CITIES + ["New York", "Los Angeles", "San Francisco", "São Paulo", "Rio de Janeiro", "Buenos Aires", "Mexico City", "Cape Town", "Tel Aviv", "Hong Kong",
                                   "Kuala Lumpur", "New Delhi", "Saint Petersburg", "San Diego", "Las Vegas", "Salt Lake City", "Ho Chi Minh City", "Le Havre", "The Hague"])


def city(rng, split):
    table = pools("address", CITY)
    if rng.random() < 0.5:
        return EXTRA_CITIES.pick(rng, split)
    return table[_locale(rng, table)].pick(rng, split)


COUNTRIES = Pool("""Germany France Spain Italy Portugal Austria Switzerland Belgium Netherlands Denmark Sweden Norway Finland Iceland Ireland Poland Czechia Slovakia Hungary Slovenia
Croatia Serbia Romania Bulgaria Greece Turkey Cyprus Malta Estonia Latvia Lithuania Ukraine Moldova Georgia Armenia Japan China India Vietnam Thailand Malaysia Indonesia Philippines Korea
Nepal Pakistan Bangladesh Australia Canada Mexico Guatemala Panama Colombia Ecuador Peru Bolivia Chile Argentina Uruguay Paraguay Brazil Venezuela Cuba Jamaica Egypt Morocco Tunisia
Algeria Libya Sudan Ethiopia Kenya Uganda Tanzania Rwanda Ghana Nigeria Senegal Mali Angola Zambia Botswana Namibia Mozambique Madagascar Israel Jordan Lebanon Iraq Iran Oman Qatar""".split()
                 + ["United States", "United Kingdom", "South Africa", "New Zealand", "Costa Rica", "Saudi Arabia", "Sri Lanka", "Ivory Coast"])


def country(rng, split):
    if rng.random() < 0.12:
        return rng.choice("US UK DE FR ES IT PT JP CN IN BR NL SE NO FI PL AT CH USA".split())
    return COUNTRIES.pick(rng, split)


STREET = Pool("Main Oak Park Elm Maple Cedar High Church Station Mill King Queen Victoria Bridge Lake Hill Garden Market Spring River Forest Sunset Harbor Castle School Rose Linden Chestnut Walnut Pine".split())


def street(rng, split):
    number = str(rng.randint(1, 399)) + (rng.choice("abc") if rng.random() < 0.08 else "")
    chance = rng.random()
    if chance < 0.55:
        base = STREET.pick(rng, split) if rng.random() < 0.6 else last(rng, split)
        return f"{number} {base} " + rng.choice(("Street", "St", "Road", "Rd.", "Avenue", "Ave", "Lane", "Drive", "Blvd", "Way", "Court"))
    name = last(rng, split)
    if chance < 0.75:
        return name + rng.choice(("straße ", "weg ", "gasse ", "gatan ", "laan ", "straat ", "allee ")) + number
    if chance < 0.9:
        return rng.choice(("Rua ", "Calle ", "Via ", "Rue de ", "Avenida ", "Piazza ", "Ulica ", "ul. ")) + name + rng.choice((" ", ", ")) + number
    return f"{number} {name}"


def word(rng, split):
    return noun(rng, split)


def phrase(rng, split):
    words = [noun(rng, split) for _ in range(rng.choice((1, 2, 2, 3)))]
    if rng.random() < 0.5:
        words[0] = ADJECTIVES.pick(rng, split)
    text = " ".join(words)
    chance = rng.random()
    return text if chance < 0.45 else text.capitalize() if chance < 0.75 else text.title()


GLUE = "of for and in with on to from after before by at the a about without our your new".split()


def sentence(rng, split, least=2, most=7):
    words = []
    for i in range(rng.randint(least, most)):
        words.append(rng.choice(GLUE) if i % 2 and rng.random() < 0.6 else noun(rng, split))
    text = " ".join(words)
    text = text.title() if rng.random() < 0.2 else text[0].upper() + text[1:] if rng.random() < 0.8 else text
    if rng.random() < 0.1:
        text += " " + rng.choice((f"#{rng.randint(1, 9999)}", f"({rng.randint(1, 31)}/{rng.randint(1, 12)})", code(rng, split), str(rng.randint(2019, 2031))))
    return text


def slug(rng, split):
    return rng.choice("-_-.").join(noun(rng, split) for _ in range(rng.choice((1, 2, 2, 3))))


TLDS = "com com com org net io de fr co.uk eu es it pl dev app info ai ch at nl se edu gov com.br jp xyz test example".split()


def ascii_name(text, rng):
    import unicodedata
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = "".join(c for c in plain if c.isalnum())
    return plain or invented(rng)


def domain(rng, split):
    base = rng.choice((lambda: noun(rng, split), lambda: noun(rng, split), lambda: invented(rng), lambda: ascii_name(last(rng, split), rng),
                       lambda: noun(rng, split) + rng.choice(("-", "")) + noun(rng, split)))()
    base = rng.choice(("", "", "", "", "mail.", "shop.", "my-", "the")) + base
    if rng.random() < 0.12:
        return rng.choice(("gmail.com", "outlook.com", "yahoo.com", "example.com", "example.org", "web.de", "icloud.com", "proton.me"))
    return base + "." + rng.choice(TLDS)


def email(rng, split, name=None):
    if name or rng.random() < 0.6:
        parts = [ascii_name(p, rng) for p in (name or person(rng, split)).split()[-2:]]
        a, b = parts[0], parts[-1]
        local = rng.choice((f"{a}.{b}", f"{a}", f"{a[0]}.{b}", f"{a}_{b}", f"{a[0]}{b}", f"{b}.{a}", f"{a}{rng.randint(1, 99)}", f"{a}+{noun(rng, split)}", b))
    else:
        local = rng.choice(("info", "support", "sales", "billing", "no-reply", "noreply", "contact", "hello", "admin", "office", "team", "hr", "jobs", "orders", "newsletter", "news", "alerts"))
        if rng.random() < 0.5:
            local = noun(rng, split) + rng.choice(("", ".", "-", "_")) + rng.choice((str(rng.randint(1, 999)), noun(rng, split)))
    return local + "@" + domain(rng, split)


def digits(rng, n):
    return "".join(rng.choice(string.digits) for _ in range(n))


def letters(rng, n):
    return "".join(rng.choice(string.ascii_uppercase) for _ in range(n))


def phone(rng, split):
    d = lambda n: digits(rng, n)
    return rng.choice((
        lambda: f"+{rng.randint(1, 99)} {d(2)} {d(3)} {d(4)}", lambda: f"({d(3)}) {d(3)}-{d(4)}", lambda: f"{d(3)}-{d(3)}-{d(4)}", lambda: f"+1-{d(3)}-{d(3)}-{d(4)}",
        lambda: f"0{d(2)} {d(7)}", lambda: f"0{d(3)}/{d(6)}", lambda: f"+{rng.randint(30, 49)}{d(9)}", lambda: f"{d(3)}.{d(3)}.{d(4)}", lambda: f"555-{d(4)}", lambda: f"+44 {d(4)} {d(6)}",
        lambda: f"00{rng.randint(30, 49)} {d(3)} {d(6)}", lambda: f"0{d(4)}-{d(5)}"))()


MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def date(rng, split):
    y, m, d = rng.randint(1950, 2035) if rng.random() < 0.2 else rng.randint(2019, 2028), rng.randint(1, 12), rng.randint(1, 28)
    month = MONTHS[m - 1]
    nth = f"{d}" + ("th" if 10 < d < 14 else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th"))
    return rng.choice((
        lambda: f"{y}-{m:02}-{d:02}", lambda: f"{y}-{m:02}-{d:02}", lambda: f"{d:02}.{m:02}.{y}", lambda: f"{m}/{d}/{y}", lambda: f"{d:02}/{m:02}/{y}", lambda: f"{month} {d}, {y}",
        lambda: f"{d} {month} {y}", lambda: f"{month[:3]} {d}, {y}", lambda: f"{d} {month[:3]} {y}", lambda: f"{d}. {month} {y}", lambda: f"{month} {nth}", lambda: f"{nth} of {month}",
        lambda: f"{month} {d}", lambda: f"{d} {month}", lambda: f"{d:02}-{m:02}-{y}", lambda: f"{y}/{m:02}/{d:02}", lambda: f"{DAYS[rng.randrange(7)]}, {month} {d}", lambda: f"{d}.{m}.", lambda: f"{m:02}/{d:02}/{y % 100:02}"))()


def time(rng, split):
    h, m = rng.randint(0, 23), rng.choice((0, 0, 15, 30, 45, rng.randint(0, 59)))
    return rng.choice((lambda: f"{h:02}:{m:02}", lambda: f"{h}:{m:02}", lambda: f"{h:02}:{m:02}:{rng.randint(0, 59):02}", lambda: f"{(h - 1) % 12 + 1}:{m:02} {rng.choice(('AM', 'PM', 'am', 'pm', 'a.m.', 'p.m.'))}",
                       lambda: f"{(h - 1) % 12 + 1}{rng.choice(('am', 'pm', ' PM', ' am'))}", lambda: f"{h:02}:{m:02} {rng.choice(('UTC', 'CET', 'GMT', 'EST'))}", lambda: f"{h:02}h{m:02}"))()


def datetime(rng, split):
    y, m, d, h, mi, s = rng.randint(2019, 2028), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)
    return rng.choice((f"{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z", f"{y}-{m:02}-{d:02} {h:02}:{mi:02}", f"{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}", f"{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}+0{rng.randint(0, 9)}:00"))


def number(rng, split):
    return rng.choice((lambda: str(rng.randint(0, 9)), lambda: str(rng.randint(10, 99)), lambda: str(rng.randint(100, 9999)), lambda: str(rng.randint(10 ** 4, 10 ** 7)), lambda: f"{rng.randint(0, 999)}.{rng.randint(0, 99):02}",
                       lambda: f"-{rng.randint(1, 99)}"))()


def small(rng, split):
    return str(rng.randint(1, 120))


def floating(rng, split):
    return f"{rng.choice(('', '', '', '-'))}{rng.randint(0, 300)}.{digits(rng, rng.choice((1, 2, 2, 3, 4)))}"


def amount(rng):
    n = rng.choice((rng.randint(1, 99), rng.randint(100, 999), rng.randint(1000, 99999), rng.randint(10 ** 5, 10 ** 7)))
    return rng.choice((f"{n:,}.{rng.randint(0, 99):02}", f"{n}.{rng.randint(0, 99):02}", f"{n}", f"{n:,}", f"{n:,}".replace(",", ".") + f",{rng.randint(0, 99):02}"))


def money(rng, split):
    a = amount(rng)
    return rng.choice((f"${a}", f"${a}", f"€{a}", f"£{a}", f"{a} €", f"{a} EUR", f"{a} USD", f"USD {a}", f"EUR {a}", f"CHF {a}", f"¥{a}", f"{a} kr", f"₹{a}", f"{a} dollars", f"{a} euros", f"R$ {a}", f"{a} zł", f"{a}€"))


def code(rng, split):
    d, l = (lambda n: digits(rng, n)), (lambda n: letters(rng, n))
    mixed = lambda n: "".join(rng.choice(string.ascii_uppercase + string.digits) for _ in range(n))
    hexed = lambda n: "".join(rng.choice("0123456789abcdef") for _ in range(n))
    return rng.choice((
        lambda: f"{l(2)}-{d(4)}", lambda: f"{l(3)}-{d(5)}", lambda: f"{l(3)}{d(6)}", lambda: d(rng.randint(4, 10)), lambda: f"{l(1)}-{d(3)}", lambda: f"{l(2)}{d(2)}-{l(2)}{d(2)}", lambda: mixed(rng.randint(5, 12)),
        lambda: f"{rng.randint(2019, 2029)}-{d(4)}", lambda: f"{l(3)}-{rng.randint(2019, 2029)}-{d(3)}", lambda: f"{l(2)}/{d(4)}/{d(2)}", lambda: hexed(rng.choice((6, 7, 8, 12, 16))), lambda: f"#{d(rng.randint(3, 6))}",
        lambda: f"{noun(rng, split)}-{d(rng.randint(1, 4))}", lambda: f"{l(4)}_{d(3)}", lambda: f"{d(3)}-{d(4)}-{d(2)}", lambda: f"{l(1)}{d(4)}{l(1)}", lambda: f"{mixed(4)}-{mixed(4)}-{mixed(4)}", lambda: f"{l(2)}{d(8)}"))()


def uuid(rng, split):
    h = "".join(rng.choice("0123456789abcdef") for _ in range(32))
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def version(rng, split):
    n = lambda top: rng.randint(0, top)
    return rng.choice(("", "", "v")) + rng.choice((f"{n(12)}.{n(30)}.{n(20)}", f"{n(12)}.{n(30)}", f"{n(9)}.{n(9)}.{n(9)}-{rng.choice(('beta', 'rc1', 'alpha.2', 'rc.3', 'dev'))}", f"{rng.randint(2019, 2028)}.{n(12)}"))


def ip(rng, split):
    if rng.random() < 0.08:
        return ":".join("%x" % rng.randint(0, 65535) for _ in range(4)) + "::" + "%x" % rng.randint(1, 65535)
    return ".".join(str(rng.randint(1, 254)) for _ in range(4))


def url(rng, split):
    host = rng.choice(("www.", "", "api.", "docs.", "shop.", "app.")) + domain(rng, split)
    path = "".join("/" + rng.choice((noun(rng, split), noun(rng, split), str(rng.randint(1, 9999)), slug(rng, split))) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    query = f"?{noun(rng, split)}={rng.choice((noun(rng, split), str(rng.randint(1, 999))))}" if path and rng.random() < 0.15 else ""
    return rng.choice(("https://", "https://", "http://")) + host + path + query


EXTENSIONS = "pdf txt csv log json png jpg docx xlsx md py rs toml yaml zip tar.gz html mp4 sql conf".split()


def filename(rng, split):
    return rng.choice((slug(rng, split), noun(rng, split) + str(rng.randint(1, 2030)), noun(rng, split).capitalize() + "_" + noun(rng, split).capitalize())) + "." + rng.choice(EXTENSIONS)


def path(rng, split):
    parts = [noun(rng, split) for _ in range(rng.choice((1, 2, 2, 3)))]
    if rng.random() < 0.1:
        return "C:/" + "/".join(p.capitalize() for p in parts)
    return rng.choice(("/", "/", "/home/", "/var/", "/etc/", "/usr/", "./", "~/")) + "/".join(parts) + rng.choice(("", "/" + filename(rng, split)))


def boolean(rng, split):
    return rng.choice(("true", "false"))


COLORS = Pool("red blue green yellow black white purple orange pink brown gray grey cyan magenta teal navy maroon olive silver gold beige turquoise violet indigo coral crimson lavender ivory khaki".split())


def color(rng, split):
    chance = rng.random()
    if chance < 0.15:
        return "#" + "".join(rng.choice("0123456789abcdef") for _ in range(6))
    return rng.choice(("", "", "", "dark ", "light ", "matte ")) + COLORS.pick(rng, split)


COMPANY_ENDS = ["Inc", "Inc.", "LLC", "Ltd", "GmbH", "AG", "Corp", "Group", "Labs", "Systems", "Partners", "& Sons", "S.A.", "Logistics", "Foods", "Energy", "Media", "Studio", "Bank", "Solutions", "Software", "& Co", "SL", "BV", "AB", "Oy"]


def company(rng, split):
    base = rng.choice((lambda: last(rng, split), lambda: noun(rng, split).capitalize(), lambda: invented(rng).capitalize(), lambda: noun(rng, split).capitalize() + noun(rng, split).capitalize(),
                       lambda: f"{ADJECTIVES.pick(rng, split).capitalize()} {noun(rng, split).capitalize()}", lambda: f"{last(rng, split)} & {last(rng, split)}"))()
    return base + (" " + rng.choice(COMPANY_ENDS) if rng.random() < 0.75 else "")


def unit(*units, top=999, decimals=0.4):
    def make_unit(rng, split):
        n = str(rng.randint(1, top)) + (f".{rng.randint(1, 9)}" if rng.random() < decimals else "")
        return n + rng.choice(units)
    return make_unit


STATES = Pool("active inactive pending shipped delivered cancelled open closed paid unpaid draft approved rejected blocked running stopped failed completed archived new enabled disabled overdue on-hold in_progress returned expired verified suspended online offline".split())
LANGUAGES = Pool("English German French Spanish Italian Portuguese Dutch Polish Czech Turkish Swedish Finnish Greek Russian Ukrainian Arabic Hebrew Hindi Japanese Korean Chinese Vietnamese Thai en de fr es it pt-BR en-US zh-CN".split())
JOBS = Pool("engineer teacher nurse accountant designer architect manager analyst plumber electrician chef driver pilot lawyer dentist pharmacist librarian journalist photographer carpenter mechanic farmer baker translator consultant developer receptionist technician veterinarian".split())
DEPARTMENTS = Pool("Sales Marketing Finance Engineering Legal Support HR Operations Research Logistics Procurement IT Design Accounting Security Production Quality".split())
PRODUCTS = Pool("laptop keyboard monitor mouse headphones printer camera tablet phone charger desk chair lamp backpack jacket shoes kettle toaster blender vacuum bicycle helmet tent watch speaker router microphone sofa mattress bookshelf notebook drill hammer umbrella bottle mug".split())


def product(rng, split):
    base = PRODUCTS.pick(rng, split) if rng.random() < 0.6 else noun(rng, split)
    base = rng.choice(("", "", ADJECTIVES.pick(rng, split) + " ", noun(rng, split) + " ")) + base
    base = base if rng.random() < 0.4 else base.title()
    return base + (rng.choice((" ", " Pro ", " X", "-")) + str(rng.randint(1, 3000)) if rng.random() < 0.2 else "")


def job(rng, split):
    return rng.choice(("", "", "senior ", "junior ", "chief ", noun(rng, split) + " ")) + JOBS.pick(rng, split)


def cased(pool, title=0.4):
    return lambda rng, split: (lambda w: w.title() if rng.random() < title else w)(pool.pick(rng, split))


def digits_of(*lengths):
    return lambda rng, split: str(rng.randint(1, 9)) + digits(rng, rng.choice(lengths) - 1)


def iban(rng, split):
    return letters(rng, 2) + digits(rng, 2) + rng.choice(("", " ")).join([""] + [digits(rng, 4) for _ in range(rng.choice((3, 4)))])


def zipcode(rng, split):
    return rng.choice((digits(rng, 5), digits(rng, 5), digits(rng, 4), f"{letters(rng, 2)}{rng.randint(1, 9)} {rng.randint(1, 9)}{letters(rng, 2)}", f"{digits(rng, 2)}-{digits(rng, 3)}", f"{digits(rng, 4)} {letters(rng, 2)}"))


def handle(rng, split):
    return rng.choice((lambda: noun(rng, split) + str(rng.randint(1, 999)), lambda: ascii_name(first(rng, split), rng) + "_" + noun(rng, split), lambda: slug(rng, split), lambda: ascii_name(person(rng, split), rng)))()


def note(rng, split):
    return sentence(rng, split, 3, 8)


MAKERS = {
    "first": first, "last": last, "person": person, "city": city, "country": country, "street": street, "word": word, "phrase": phrase, "title": sentence, "note": note, "slug": slug,
    "email": email, "phone": phone, "date": date, "time": time, "datetime": datetime, "number": number, "small": small, "float": floating, "money": money, "code": code, "uuid": uuid, "version": version,
    "ip": ip, "url": url, "filename": filename, "path": path, "bool": boolean, "color": color, "company": company, "state": cased(STATES, 0.2), "language": cased(LANGUAGES, 0), "job": job,
    "department": cased(DEPARTMENTS, 0), "product": product, "iban": iban, "zip": zipcode, "handle": handle, "domain": domain,
    "percent": unit("%", " %", " percent", top=100), "temperature": unit("°C", " °C", "°F", " degrees", "°", " K", top=120), "weight": unit(" kg", "kg", " g", " lbs", " tons", " oz", top=900),
    "distance": unit(" km", "km", " m", " miles", " meters", " ft", top=900), "length": unit(" cm", " mm", " m", " inches", "cm", top=400), "duration": unit(" minutes", " hours", " days", "h", " min", " s", " weeks", "ms", " seconds", top=90, decimals=0.1),
    "speed": unit(" km/h", " mph", " m/s", " knots", top=300), "size": unit(" MB", " GB", " KB", "GB", "MB", " TB", top=900), "power": unit(" W", " kW", " kWh", " V", "W", top=900),
    "port": digits_of(4, 4, 5, 2), "year": lambda r, s: str(r.randint(1900, 2035)), "pin": digits_of(4, 6), "rating": lambda r, s: f"{r.randint(1, 5)}{r.choice(('', '/5', '.5', ' stars', ' out of 5'))}",
    "shoesize": lambda r, s: r.choice(("S", "M", "L", "XL", "XXL", str(r.randint(34, 47)))), "plate": lambda r, s: r.choice((f"{letters(r, 2)}-{letters(r, 2)} {digits(r, 3)}", f"{letters(r, 3)} {digits(r, 4)}", f"{letters(r, 2)}{digits(r, 2)} {letters(r, 3)}")),
    "flight": lambda r, s: f"{letters(r, 2)}{r.choice(('', ' '))}{digits(r, r.choice((3, 4)))}", "room": lambda r, s: r.choice((f"{r.randint(1, 40)}{r.choice('ABCDEF')}", digits(r, 3), f"{r.choice('ABCDEF')}{r.randint(1, 60)}")),
    "currency": lambda r, s: r.choice("EUR USD GBP CHF JPY SEK NOK PLN CZK INR BRL CAD AUD".split()), "coords": lambda r, s: f"{r.randint(-89, 89)}.{digits(r, 4)}, {r.randint(-179, 179)}.{digits(r, 4)}",
    "ref": lambda r, s: r.choice((code, code, digits_of(5, 6, 7, 8)))(r, s), "count": lambda r, s: str(r.choice((r.randint(1, 12), r.randint(2, 500)))),
}
NUMERIC = {"number", "small", "float", "bool", "port", "year", "count"}


def make(kind, rng, split):
    return MAKERS[kind](rng, split)


def literal(kind, text, rng):
    """How JSON holds the value: numbers and booleans mostly bare, the rest as strings."""
    if kind in NUMERIC and rng.random() < 0.93:
        return text
    return json.dumps(text, ensure_ascii=False)
