"""Celery as its guide recommends it for work that must not be lost, without a result backend."""

from celery import Celery

from stamp import URL, started

app = Celery("peers", broker=URL)
app.conf.update(
    # Celery acknowledges before the work by default; a crash would lose the task.
    task_acks_late=True,
    # Without this, a child that dies takes its late acknowledgement along and the task is lost all the same.
    task_reject_on_worker_lost=True,
    # What it does already; said aloud, because Celery warns where it is not set.
    broker_connection_retry_on_startup=True,
)


@app.task
def nothing():
    pass


@app.task
def stamp(sent):
    started(sent)


async def start():
    pass


async def send_nothing():
    nothing.delay()


async def send_stamp(sent):
    stamp.delay(sent)
