"""Producer: one process that enqueues every kind of job there is, and writes down what it asked and what it was told.

    python -m bench.chaos.producer '{"directory": ..., "url": ..., ...}'

Several lanes, each awaiting one call before the next, so that a key's jobs are asked in their order. Behind its pace (the server
was away) a lane catches up. SIGTERM: no new jobs; calls whose outcome is unknown are repeated until they are told.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from engine import Engine, EngineError, EnqueueUnknown, Handle, JobNotFound, Queue, Settings, StoreError, WrongState
from engine.fleet import run

from .journal import Journal, What
from .kinds import QUEUES, Drawer, Plan, table

LANES = 6
KEYS_A_LANE = 4
REFUSED_PAUSE = 0.1
"""Seconds a lane waits when the server refused."""


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
        self._queues = queues
        self._journal = Journal(Path(order.directory), "producer", order.name)
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
        order, clock = self._order, self._engine.clock
        drawer = Drawer(f"{order.seed}/{order.name}/{lane}", self._shares, order.lease)
        keys = [f"{order.name}.{lane}.{k}" for k in range(KEYS_A_LANE)]
        every = LANES / order.per_second
        due = order.begin_mono + every * lane / LANES
        while not self._stop.is_set() and due < order.until_mono:
            if (wait := due - clock.mono()) > 0:
                await clock.sleep(wait)
            due += every
            n = next(self._numbers)
            if n >= self._end or self._stop.is_set():
                return
            plan = drawer.draw(n, keys)
            job = await self._ask(plan, n)
            for _ in range(plan.copies - 1):
                await self._ask(plan, next(self._numbers))
            if plan.cancel_after is not None and job:
                group.create_task(self._cancel(plan, n, job))

    async def _ask(self, plan: Plan, n: int) -> str:
        """Enqueue one job as number `n`; its full id, '' when it was refused, or not told in time."""
        dedup = f"{self._order.name}.{plan.script.n}" if plan.copies > 1 else ""
        script, clock = msgspec.structs.replace(plan.script, n=n), self._engine.clock
        self._journal.note(
            "ask", n=n, kind=script.kind, queue=plan.queue, key=script.key, dedup=dedup, want=plan.want, fails=script.fails,
            snoozes=script.snoozes, crashes=script.crashes,
            due_ms=time.time_ns() // 1_000_000 + int(plan.delay * 1000) if plan.delay else 0,
        )  # fmt: skip
        payload = script if plan.readable else {"n": "unreadable", "number": n}
        began = clock.mono()

        def told(what: What, **facts: object) -> None:
            took = int((clock.mono() - began) * 1000)
            self._journal.note(what, n=n, kind=script.kind, queue=plan.queue, key=script.key, dedup=dedup, took_ms=took, **facts)

        try:
            handle = await self._queues[plan.queue].enqueue(
                plan.name, payload, delay=plan.delay, priority=plan.priority, timeout=plan.timeout,
                ordering_key=script.key or None, dedup_key=dedup or None,
            )  # fmt: skip
        except EnqueueUnknown as unknown:
            told("unknown", how=type(unknown).__name__)
            return await self._find_out(unknown, n, plan, dedup)
        except StoreError as error:
            told("refused", how=type(error).__name__)
            await clock.sleep(REFUSED_PAUSE)
            return ""
        told("acked", job=handle.id, how="duplicate" if handle.duplicate else "new")
        return handle.id

    async def _find_out(self, unknown: EnqueueUnknown, n: int, plan: Plan, dedup: str) -> str:
        while True:
            try:
                handle = await unknown.repeat()
            except StoreError:
                await self._engine.clock.sleep(REFUSED_PAUSE)
                continue
            assert isinstance(handle, Handle), "repeat answers what enqueue would have"
            self._journal.note(
                "acked",
                n=n,
                job=handle.id,
                kind=plan.script.kind,
                queue=plan.queue,
                key=plan.script.key,
                dedup=dedup,
                how="repeated",
            )
            return handle.id

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
