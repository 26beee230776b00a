"""dramatiq as it comes: it acknowledges after the work, and keeps no results."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from stamp import URL, started

dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def nothing():
    pass


@dramatiq.actor
def stamp(sent):
    started(sent)


async def start():
    pass


async def send_nothing():
    nothing.send()


async def send_stamp(sent):
    stamp.send(sent)
