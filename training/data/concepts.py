"""Things that have a value: what they are called in data, what they are called in speech, and what they hold.

One line a concept: `name, other names | value type`. `json_field`, `key_value` and `extract_value` all draw from
here, and from names made of any words at all (`anything`), so that no name can be relied on.
"""

import re

from .values import MAKERS
from .words import ADJECTIVES, Pool, invented, noun

TABLE = """
name, full name | person
customer name, client name, name of the customer, buyer name | person
first name, given name | first
last name, surname, family name | last
contact, contact person, point of contact | person
author, writer, name of the author | person
owner, name of the owner | person
manager, name of the manager, supervisor | person
assignee, assigned to, person in charge | person
patient, patient name, name of the patient | person
sender, sender name | person
recipient, recipient name, addressee | person
teacher, instructor | person
driver, name of the driver | person
guest, guest name, visitor | person
employee, employee name, staff member | person
doctor, physician, attending physician | person
seller, vendor name, merchant | company
email, e-mail, email address, e-mail address, mail address | email
contact email, contact address, support email | email
reply to, reply address | email
phone, phone number, telephone, telephone number, tel | phone
mobile, mobile number, cell, cell phone | phone
fax, fax number | phone
emergency contact, emergency number, hotline | phone
address, street address, postal address | street
city, town, name of the city | city
destination, destination city, arrival city | city
origin, departure city, city of departure | city
birthplace, place of birth | city
location, place, site | city
country, country of origin, nation | country
zip, zip code, postal code, postcode | zip
date, day | date
due date, deadline, payment deadline | date
order date, date of the order, ordered on | date
delivery date, date of delivery, arrival date | date
start date, start, begin date | date
end date, end, finish date | date
birth date, date of birth, birthday, dob | date
expiry date, expiration date, expires, valid until | date
invoice date, billing date | date
created at, creation date, created | datetime
updated at, last update, last modified | datetime
timestamp, time stamp | datetime
time, clock time | time
start time, starting time | time
departure time, departure | time
arrival time, arrival | time
meeting time, appointment time | time
price, unit price, cost | money
total, total amount, amount due, grand total, total price | money
amount, sum, payment amount | money
balance, account balance | money
salary, pay, wage | money
fee, service fee, charge | money
deposit, down payment | money
discount, rebate | percent
tax, vat, tax rate | percent
interest rate, rate | percent
progress, completion | percent
humidity, relative humidity | percent
battery, battery level, charge level | percent
budget, project budget | money
refund, refund amount | money
order number, order id, order no, order | ref
invoice number, invoice id, invoice no, invoice | ref
tracking number, tracking code, tracking id | ref
ticket number, ticket id, ticket, case number | ref
customer number, customer id, client id, account number | ref
booking reference, booking code, reservation number, confirmation number, confirmation code | ref
serial number, serial no, device serial | ref
part number, part no, item number, article number | ref
product code, sku, item code | ref
reference, reference number, ref | ref
employee id, staff number, badge number | ref
contract number, contract id, policy number | ref
transaction id, payment id, transaction number | ref
error code, code, exit code | ref
session id, session | ref
request id, correlation id, trace id | code
uuid, guid, identifier | uuid
coupon code, promo code, voucher code, discount code | code
license key, activation key, product key | code
commit, commit hash, revision | code
pin, pin code, passcode | pin
version, version number, release, software version | version
firmware, firmware version | version
ip, ip address, host address | ip
server ip, address of the server | ip
port, port number | port
url, link, web address | url
website, homepage, web site | url
domain, domain name, host name | domain
host, hostname, server | handle
username, user name, login, account name, user | handle
handle, nickname, alias | handle
file, filename, file name, attachment | filename
path, file path, directory, folder | path
log file, log path | path
company, company name, firm, organization, employer | company
supplier, vendor, manufacturer, maker | company
brand, brand name | company
department, dept, team | department
job title, position, role, occupation, profession | job
product, product name, item, article | product
title, headline, name of the book | title
subject, subject line, topic | title
project, project name | phrase
description, summary, comment | note
note, remark, message | note
category, type, kind | word
tag, label, keyword | word
status, state, condition | state
payment status, order status, delivery status | state
priority, urgency, severity | priority
language, lang, locale | language
currency, currency code | currency
color, colour, paint color | color
size, shoe size, clothing size | shoesize
material, fabric | word
weight, net weight, mass | weight
height, body height | length
width, breadth | length
length, total length | length
distance, range, mileage | distance
depth, diameter | length
temperature, temp, water temperature | temperature
speed, top speed, wind speed, velocity | speed
duration, runtime, length of stay, time taken | duration
file size, disk space, memory usage | size
memory, ram, storage | size
power, wattage, voltage | power
quantity, qty, number of items, count | count
age, age in years | small
number of guests, guests, seats, people | small
floor, level, storey | small
score, points, result | number
rank, position in the ranking | small
rating, stars, grade | rating
stock, units in stock, inventory | count
views, visits, clicks | number
latitude, lat | float
longitude, lon, lng | float
coordinates, gps position, gps coordinates | coords
year, model year, year of construction | year
population, inhabitants | number
flight, flight number, flight no | flight
gate, boarding gate | room
seat, seat number | room
room, room number | room
license plate, plate number, registration number, plate | plate
iban, bank account, account iban | iban
active, is active, enabled | bool
verified, is verified, confirmed | bool
paid, is paid, settled | bool
admin, is admin | bool
timeout, delay, interval | duration
retries, attempts, max attempts | small
warehouse, storage location, shelf | room
model, model name, device model | product
engine, motor | product
ingredient, main ingredient | word
animal, pet, species | word
hobby, favorite thing, interest | word
song, song title, track | title
movie, film, movie title | title
team name, club, opponent | phrase
event, event name, occasion | phrase
venue, hall, meeting place | phrase
street, road, street name | street
nationality, citizenship | country
capital, main city | city
gender, sex | gender
blood type, blood group | blood
diagnosis, disease | word
dose, dosage | weight
allergy, intolerance | word
course, class, lecture | phrase
grade, mark | small
school, university, college | phrase
check-in, check-in date | date
check-out, check-out date | date
pickup time, collection time | time
payment method, method of payment, paid with | payment
shipping method, carrier, courier | company
""".strip()

EXTRA = {
    "priority": lambda r, s: r.choice("low medium high urgent normal critical P1 P2 P3 P4 minor major High Low Medium".split()),
    "gender": lambda r, s: r.choice("male female other m f non-binary".split()),
    "blood": lambda r, s: r.choice(("A+", "A-", "B+", "B-", "AB+", "AB-", "0+", "O+", "O-")),
    "payment": lambda r, s: r.choice(("credit card", "cash", "PayPal", "bank transfer", "invoice", "Visa", "MasterCard", "debit card", "wire", "gift card", "Apple Pay")),
}
MAKERS.update(EXTRA)


class Concept:
    def __init__(self, line):
        names, self.kind = (part.strip() for part in line.split("|"))
        self.names = [n.strip() for n in names.split(",")]


CONCEPTS = [Concept(line) for line in TABLE.splitlines()]
BY_NAME = {c.names[0]: c for c in CONCEPTS}
# Not divided: a name alone gives nothing away. What is held out are the words of names made up below.
TYPES = "word word word phrase person city date code number number small small money email title state float bool first company color time version handle".split()


def anything(rng, split):
    """(words, value type) of a name made of any words."""
    chance = rng.random()
    if chance < 0.35:
        words = noun(rng, split)
    elif chance < 0.6:
        words = f"{noun(rng, split)} {noun(rng, split)}"
    elif chance < 0.75:
        words = f"{ADJECTIVES.pick(rng, split)} {noun(rng, split)}"
    elif chance < 0.88:
        words = noun(rng, split) + " " + rng.choice(("id", "name", "date", "code", "number", "type", "count", "level", "time", "status", "url", "key", "size", "rate", "limit", "mode", "value", "color", "ref"))
    elif chance < 0.94:
        words = rng.choice(("is", "has", "max", "min", "total", "last", "first", "new", "old", "default", "next", "primary", "backup", "home", "work", "main", "billing", "shipping")) + " " + noun(rng, split)
    else:
        words = invented(rng)
    return words, rng.choice(TYPES)


def pick(rng, made_up=0.45):
    """A concept's (names, value type), or None for `anything`."""
    return None if rng.random() < made_up else rng.choice(CONCEPTS)


def field(rng, split, made_up=0.45):
    """(words of the name, other names for it, value type)"""
    c = pick(rng, made_up)
    if c is None:
        words, kind = anything(rng, split)
        return words, [], kind
    name = c.names[0] if rng.random() < 0.6 else rng.choice([n for n in c.names if len(n) < 22])
    prefix = ""
    if rng.random() < 0.12:
        prefix = rng.choice("billing shipping home work new old primary secondary backup main previous current sender receiver customer supplier internal public".split()) + " "
    return prefix + name, [] if prefix else [n for n in c.names if n != name], c.kind


STYLES = ("snake", "snake", "snake", "camel", "camel", "plain", "pascal", "kebab", "upper", "title", "dot")


def as_key(words, style):
    """The name as data writes it."""
    parts = re.split(r"[ -]", words.lower())
    if style == "snake":
        return "_".join(parts)
    if style == "camel":
        return parts[0] + "".join(p.capitalize() for p in parts[1:])
    if style == "pascal":
        return "".join(p.capitalize() for p in parts)
    if style == "kebab":
        return "-".join(parts)
    if style == "upper":
        return "_".join(parts).upper()
    if style == "title":
        return " ".join(p.capitalize() for p in parts)
    if style == "dot":
        return "".join(parts)
    return words


def as_label(words, rng):
    """The name as a form or a letter writes it."""
    chance = rng.random()
    if chance < 0.5:
        return words[0].upper() + words[1:]
    if chance < 0.68:
        return words.title()
    return words.upper() if chance < 0.73 else words
