"""Producer: one process that enqueues every kind of job there is, and writes down what it asked and what it was told.

    python -m bench.chaos.producer '{"directory": ..., "url": ..., ...}'

Several lanes, each awaiting one call before the next, so that a key's jobs are asked in their order. Behind its pace (the server
was away) a lane catches up. SIGTERM: no new jobs; calls whose outcome is unknown are repeated until they are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from engine import Engine, EngineError, JobNotFound, Queue, Settings, StoreError, WrongState
from engine.fleet import run

from .asking import REFUSED_PAUSE, Asker
from .journal import Journal
from .kinds import QUEUES, Drawer, Plan, Script, table

LANES = 6
KEYS_A_LANE = 4


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab tells a producer."""

    directory: str
    url: str
    name: str
    """Also part of the seed: the same name draws the same jobs."""
    seed: int
    first: int
    """Its jobs have numbers from here on, which nobody else's have."""
    most: int
    """So many jobs at most."""
    per_second: float
    begin_mono: float
    """Since when it is at its pace: a successor makes up for what its predecessor missed."""
    until_mono: float
    lease: float
    enqueue_timeout: float
    socket_timeout: float
    only: tuple[str, ...] = ()
    durability: Literal["replicated"] | None = None
    """replicated: an enqueue is acknowledged when a replica has it."""


class Producer:
    """The lanes of one process."""

    def __init__(self, order: Order, engine: Engine, queues: Mapping[str, Queue]) -> None:
        self._order = order
        self._engine = engine
        self._journal = Journal(Path(order.directory), "producer", order.name)
        self._asker = Asker(self._journal, engine.clock, queues, order.name)
        self._numbers = itertools.count(order.first)
        self._end = order.first + order.most
        self._stop = asyncio.Event()
        self._shares = table(order.per_second, order.only)

    def stop(self) -> None:
        """No new jobs."""
        self._stop.set()

    async def run(self) -> bool:
        """Enqueue until told to stop, or until everything was asked."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        async with asyncio.TaskGroup() as group:
            for lane in range(LANES):
                group.create_task(self._lane(lane, group))
        self._journal.close()
        return True

    async def _lane(self, lane: int, group: asyncio.TaskGroup) -> None:
        order = self._order
        drawer = Drawer(f"{order.seed}/{order.name}/{lane}", self._shares, order.lease)
        keys = [f"{order.name}.{lane}.{k}" for k in range(KEYS_A_LANE)]
        every = LANES / order.per_second
        due = order.begin_mono + every * lane / LANES
        while not self._stop.is_set() and due < order.until_mono:
            await self._until(due)
            n = next(self._numbers)
            if n >= self._end or self._stop.is_set():
                return
            plan = drawer.draw(n, keys)
            due += every * (1 + len(plan.others))
            if plan.others:
                await self._asker.many(plan, [msgspec.structs.replace(plan.script, n=n), *self._numbered(plan.others)])
                continue
            job = await self._asker.one(plan, n)
            for _ in range(plan.copies - 1):
                await self._asker.one(plan, next(self._numbers))
            if plan.cancel_after is not None and job:
                group.create_task(self._cancel(plan, n, job))

    async def _until(self, due_mono: float) -> None:
        """Wait until then, or until told to stop: behind a bulk that is long."""
        if (wait := due_mono - self._engine.clock.mono()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)

    def _numbered(self, scripts: Sequence[Script]) -> list[Script]:
        return [msgspec.structs.replace(script, n=next(self._numbers)) for script in scripts]

    async def _cancel(self, plan: Plan, n: int, job: str) -> None:
        assert plan.cancel_after is not None, "only jobs that are to be cancelled come here"
        await self._engine.clock.sleep(plan.cancel_after)
        self._journal.note("cancel_asked", n=n, job=job)
        try:
            how: str = (await self._engine.client.cancel(job)).outcome
        except (WrongState, JobNotFound):
            how = "late"
        except StoreError:
            how = "unknown"
        self._journal.note("cancel_answer", n=n, job=job, how=how)


async def work(order: Order) -> bool:
    """Open an engine without handlers, as a service that only enqueues has, and produce."""
    settings = Settings(
        redis_url=order.url,
        enqueue_timeout=order.enqueue_timeout,
        socket_timeout=order.socket_timeout,
        connect_timeout=order.socket_timeout,
        durability=order.durability,
    )
    engine = Engine(settings=settings)
    queues = {name: engine.queue(name) for name in QUEUES}
    while True:
        try:
            await engine.__aenter__()
            break
        except EngineError:  # it was started while the server is away, as a service may be
            await engine.clock.sleep(REFUSED_PAUSE)
            if engine.clock.mono() > order.until_mono:
                return False
    try:
        return await Producer(order, engine, queues).run()
    finally:
        await engine.__aexit__(None, None, None)


if __name__ == "__main__":
    sys.exit(0 if run(work(msgspec.json.decode(sys.argv[1], type=Order))) else 1)
