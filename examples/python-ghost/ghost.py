#!/usr/bin/env python3
"""A ghost in Python: joins the swarm over WebSocket, claims tasks, answers them.

    pip install websockets
    python ghost.py --url ws://127.0.0.1:8765 --capability shout

It gets the tasks whose `parameters.capability` is the one it offers, and answers each with its text in capitals; put
your own work into `answer`. Where the hub goes away it connects again and goes on: what it has done is reported to
whichever hub comes back, since leases live in the store and not in the hub. docs/protocol.md has all the methods.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import sys
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

LEASE_LOST, STALE_EPOCH = -31004, -31010


def answer(request: dict) -> str:
    """The work itself. Raise to fail the task."""
    text = request["parameters"].get("prompt") or request["description"]
    return text.upper()


class Refused(Exception):
    """The hub answered with an error."""

    def __init__(self, error: dict):
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error.get("data") or {}


class Lost(Exception):
    """The connection went before the answer came; whether the call took effect is unknown."""


class Hub:
    """Calls to the hub, over whichever connection there is."""

    def __init__(self, url: str, token: str | None):
        self.url, self.token = url, token
        self.socket = None
        self.connected = asyncio.Event()
        self.waiting: dict[int, asyncio.Future] = {}
        self.ids = itertools.count(1)

    async def run(self, greet) -> None:
        """Keeps a connection up; `greet` is called on each, before anybody else may use it."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else None
        failures = 0
        while True:
            try:
                async with connect(
                    self.url, subprotocols=["ghost-a2a.v1"], additional_headers=headers,
                    compression=None, proxy=None, ping_interval=10, ping_timeout=15,
                ) as self.socket:
                    reading = asyncio.ensure_future(self.read())
                    try:
                        await greet()
                        failures = 0
                        self.connected.set()
                        await reading
                    finally:
                        self.connected.clear()
                        reading.cancel()
                        await asyncio.gather(reading, return_exceptions=True)
            except InvalidHandshake as error:
                status = getattr(getattr(error, "response", None), "status_code", 0)
                if 400 <= status < 500:
                    sys.exit(f"the hub does not let us in: {error}")
            except Refused as error:
                if "retryAfterMs" not in error.data:
                    raise
            except (ConnectionClosed, OSError, TimeoutError, Lost):
                pass
            failures += 1
            # All by chance, so that many ghosts do not come back at the same moment.
            await asyncio.sleep(random.uniform(0, min(5.0, 0.05 * 2 ** min(failures - 1, 10))))

    async def read(self) -> None:
        try:
            async for text in self.socket:
                frame = json.loads(text)
                future = self.waiting.get(frame.get("id"))
                if future and not future.done():
                    if "error" in frame:
                        future.set_exception(Refused(frame["error"]))
                    else:
                        future.set_result(frame["result"])
        finally:
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(Lost())

    async def call(self, method: str, **params):
        """One call on the connection that there is now."""
        number, future = next(self.ids), asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        try:
            frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            await self.socket.send(json.dumps(frame))
            return await future
        except ConnectionClosed as error:
            raise Lost() from error
        finally:
            del self.waiting[number]

    async def insist(self, method: str, **params):
        """The same for calls that may be repeated: again on the next connection, and after a while where the hub asks."""
        while True:
            await self.connected.wait()
            try:
                return await self.call(method, **params)
            except Lost:
                # The connection may not know yet that it is gone.
                await asyncio.sleep(0.05)
            except Refused as error:
                if "retryAfterMs" not in error.data:
                    raise
                await asyncio.sleep(error.data["retryAfterMs"] / 1000)


class Ghost:
    def __init__(self, hub: Hub, args: argparse.Namespace):
        self.hub, self.args = hub, args
        # One start of this program: a second one under the same name takes over from the first.
        self.instance = str(uuid.uuid4())
        self.registration: dict = {}
        self.busy: set[asyncio.Task] = set()
        self.room = asyncio.Semaphore(args.max_load)

    def log(self, *words) -> None:
        print(*words, flush=True)

    async def register(self) -> None:
        self.registration = await self.hub.call(
            "ghost.registry.register", agentId=self.args.agent_id, instanceId=self.instance,
            capabilities=[self.args.capability], maxLoad=self.args.max_load,
        )
        self.log("registered", self.registration["agentId"], self.registration["epoch"])

    def proof(self) -> dict:
        """What shows the hub that it is us."""
        return {name: self.registration.get(name) for name in ("agentId", "leaseId", "epoch")}

    async def stay_alive(self) -> None:
        while True:
            await asyncio.sleep(self.registration.get("renewEveryMs", 1000) / 1000)
            await self.hub.connected.wait()
            try:
                await self.hub.call("ghost.registry.renew", **self.proof(), currentLoad=len(self.busy))
            except Lost:
                continue  # The next connection registers anew.
            except Refused as error:
                if error.code == STALE_EPOCH:
                    sys.exit(f"this ghost is not needed any more: {error}")
                if error.code == LEASE_LOST:
                    await self.register()

    async def work(self) -> None:
        while True:
            await self.room.acquire()
            self.room.release()
            free = self.args.max_load - len(self.busy)
            try:
                claimed = await self.hub.insist(
                    "ghost.work.claim", limit=max(1, free), waitMs=20_000, leaseMs=self.args.lease_ms
                )
            except Refused as error:
                self.log("no work:", error)
                await asyncio.sleep(1)
                continue
            for task in claimed["tasks"]:
                await self.room.acquire()
                job = asyncio.ensure_future(self.process(task))
                self.busy.add(job)
                job.add_done_callback(self.busy.discard)

    async def process(self, task: dict) -> None:
        held = {name: task[name] for name in ("taskId", "batch", "lease") if name in task}
        renewing = asyncio.ensure_future(self.renew(held, task["leaseMs"]))
        try:
            await asyncio.sleep(self.args.pace)
            # Work that computes for long goes to another thread, so that leases are still renewed.
            try:
                said = {"result": {"text": await asyncio.to_thread(answer, task["request"])}}
            except Exception as error:  # pylint: disable=broad-except
                said = {"failure": {"code": "ghost_failed", "message": repr(error)[:1000]}}
            reported = await self.hub.insist("ghost.work.report", **held, **said)
            self.log("reported", task["taskId"], reported["status"])
        except Refused as error:
            # Somebody else has it, or an earlier report of ours came through: either way there is nothing left to do.
            self.log("dropped", task["taskId"], error.data.get("status", error))
        finally:
            renewing.cancel()
            self.room.release()

    async def renew(self, held: dict, lease_ms: int) -> None:
        while True:
            await asyncio.sleep(lease_ms / 3000)
            try:
                await self.hub.insist("ghost.work.renew", **held, leaseMs=lease_ms)
            except Refused:
                return

    async def leave(self) -> None:
        """Finishes what was begun, then says goodbye."""
        await asyncio.gather(*self.busy, return_exceptions=True)
        await self.hub.call("ghost.registry.deregister", **self.proof())


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="the hub")
    parser.add_argument("--agent-id", default="python-ghost", help="the name of this ghost")
    parser.add_argument("--capability", default="shout", help="what it offers")
    parser.add_argument("--max-load", type=int, default=4, help="how many tasks it takes at once")
    parser.add_argument("--lease-ms", type=int, default=30_000, help="how long a task is its own without a renewal")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds that each task takes longer than it must")
    args = parser.parse_args()

    hub = Hub(args.url, os.environ.get("GHOST_API_TOKEN"))
    ghost = Ghost(hub, args)
    told_to_end = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, told_to_end.set)

    connection = asyncio.ensure_future(hub.run(ghost.register))
    working = asyncio.ensure_future(ghost.work())
    beating = asyncio.ensure_future(ghost.stay_alive())
    ending = asyncio.ensure_future(told_to_end.wait())
    ended, _ = await asyncio.wait({connection, working, beating, ending}, return_when=asyncio.FIRST_COMPLETED)
    working.cancel()
    if ending in ended:
        try:
            await asyncio.wait_for(ghost.leave(), timeout=20)
        except (Lost, Refused, TimeoutError, AttributeError):
            pass  # It counts as gone once its lease ends.
    for task in (beating, connection, ending):
        task.cancel()
    for task in ended - {ending}:
        task.result()


if __name__ == "__main__":
    asyncio.run(main())
