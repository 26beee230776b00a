"""Enqueues for `run`, which says when: `driver.py MODULE` reads a line and answers with one, until its input ends.

`enqueue N` sends N tasks that do nothing, one after the other, and answers with the seconds that took. `stamp` sends one
that says when it started, and answers once the peer has accepted it.
"""

import asyncio
import importlib
import sys
import time


async def main(name):
    peer = importlib.import_module(name)
    await peer.start()
    # Reading blocks the loop; nothing else is to run on it between two measurements.
    while line := sys.stdin.readline():
        match line.split():
            case ["enqueue", number]:
                began = time.perf_counter()
                for _ in range(int(number)):
                    await peer.send_nothing()
                answer = time.perf_counter() - began
            case ["stamp"]:
                await peer.send_stamp(time.time())
                answer = "sent"
            case _:
                sys.exit(f"{line!r} is neither `enqueue N` nor `stamp`")
        print(answer, flush=True)


asyncio.run(main(sys.argv[1]))
