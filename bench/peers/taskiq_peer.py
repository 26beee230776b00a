"""taskiq over a Redis stream, the one of its brokers over Redis that acknowledges; without a result backend."""

from taskiq_redis import RedisStreamBroker

from stamp import URL, started

broker = RedisStreamBroker(
    URL,
    # By default a group begins at the end of the stream, and what was sent before the first worker came is never read.
    consumer_id="0",
    # By default the lock of whoever takes over a dead worker's tasks is kept for ever where that one dies, too.
    unacknowledged_lock_timeout=60,
)


@broker.task
async def nothing() -> None:
    pass


@broker.task
async def stamp(sent: float) -> None:
    started(sent)


async def start():
    await broker.startup()


async def send_nothing():
    await nothing.kiq()


async def send_stamp(sent):
    await stamp.kiq(sent)
