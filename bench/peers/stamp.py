"""Where Redis is, and how a task says how long it took to start. Every peer's module uses it."""

import os
import time

import redis

URL = os.environ["PEERS_REDIS_URL"]

_client = redis.Redis.from_url(URL)


def started(sent):
    """Notes the time from just before the enqueue call to now, in seconds; `run` reads it from the list."""
    waited = time.time() - sent
    _client.rpush("stamps", repr(waited))
