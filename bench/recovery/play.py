"""Play: some workers on a steady load, and what happens to it: one after the other is killed, or all are held up."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime

import msgspec

from bench.stage import Stage, Workers
from engine import Clock, Engine, Queue

from .app import CONCURRENCY, FILE, LEASE, QUEUES, Work, names
from .restarts import Restart, restarts

WARM_SECONDS = 2.0
DRAIN_SECONDS = 120.0


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is like."""

    lease: float
    run: float
    """Seconds a job waits, half more or less."""
    workers: int
    queues: int
    concurrency: int
    busy: float
    """Share of all slots that are taken."""


class Struck(msgspec.Struct, kw_only=True):
    """What was seen of the jobs that killed workers ran."""

    restarts: list[Restart]
    found: list[float]
    """Seconds from the kill until the lease was found lost, of each."""
    drained: float
    """Seconds after the last enqueue until all had ended."""
    jobs: int


class Play:
    """One run; leave it and its workers and its server are gone."""

    def __init__(self, sizes: Sizes, clock: Clock, seed: int) -> None:
        self._sizes = sizes
        self._clock = clock
        self._random = random.Random(seed)
        self._stage = Stage("everysec", clock=clock)
        self._notes = self._stage.directory / "notes"
        self._stack = AsyncExitStack()
        self._workers: list[Workers] = []
        self._engine: Engine
        self._queues: list[Queue] = []
        self._sent = 0

    async def __aenter__(self) -> Play:
        """The server is up and every worker at work."""
        await self._stack.enter_async_context(self._stage)
        try:
            self._engine = self._stage.engine()
            self._queues = [self._engine.queue(name) for name in names(self._sizes.queues)]
            await self._stack.enter_async_context(self._engine)
            for _ in range(self._sizes.workers):
                self._workers.append(await self._worker())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _worker(self) -> Workers:
        sizes = self._sizes
        told = {FILE: self._notes, LEASE: sizes.lease, QUEUES: sizes.queues, CONCURRENCY: sizes.concurrency}
        one = self._stage.workers("bench.recovery.app:engine", environment={name: str(value) for name, value in told.items()})
        return await self._stack.enter_async_context(one)

    async def kill(self, kills: int, every: float) -> Struck:
        """Kill the oldest worker so often, `every` seconds apart, and start another one. Afterwards all has drained."""
        killed: dict[int, tuple[int, float]] = {}
        feeding = asyncio.ensure_future(self._feed(self._enqueue))
        try:
            await self._clock.sleep(WARM_SECONDS)
            for n in range(kills):
                oldest = self._workers.pop(0)
                (pid,) = oldest.pids
                killed[pid] = time.monotonic_ns(), self._clock.now_ms()
                os.kill(pid, signal.SIGKILL)
                await oldest.ended(10.0)
                until_mono = self._clock.mono() + every * (0.75 + 0.5 * self._random.random())
                self._workers.append(await self._worker())
                await self._clock.sleep(max(until_mono - self._clock.mono(), 0.0))
                print(f"killed {n + 1} of {kills}", file=sys.stderr, flush=True)
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
        began = self._clock.mono()
        await self._drained()
        seen = restarts(self._notes.read_text().splitlines(), {pid: ns for pid, (ns, _) in killed.items()})
        found = [await self._found_after(one.job, one.pid, killed[one.pid][1]) for one in seen]
        return Struck(restarts=seen, found=found, drained=self._clock.mono() - began, jobs=self._sent)

    async def hold_up(self, seconds: float, block: float, hold: float, hogs: int) -> int:
        """No kill for so long; each worker gets a job every two seconds that blocks or holds it, beside processes that only
        compute. How many leases were lost."""
        loads = [self._feed(self._enqueue)]
        if block or hold:
            loads.append(self._feed(lambda: self._add(Work(block=block, hold=hold)), per_second=self._sizes.workers / 2))
        feeding = [asyncio.ensure_future(load) for load in loads]
        try:
            with _hogs(hogs):
                await self._clock.sleep(seconds)
        finally:
            for one in feeding:
                one.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)
        await self._drained()
        return sum([(await self._engine.client.counts(queue.name)).stalled for queue in self._queues])

    # --- load --------------------------------------------------------------------------------------------------------

    async def _feed(self, add: Callable[[], Awaitable[None]], per_second: float | None = None) -> None:
        sizes = self._sizes
        rate = per_second or sizes.busy * sizes.workers * sizes.queues * sizes.concurrency / sizes.run
        began, sent = self._clock.mono(), 0
        while True:
            due = int((self._clock.mono() - began) * rate) - sent
            await asyncio.gather(*(add() for _ in range(due)))
            sent += due
            await self._clock.sleep(0.01)

    async def _enqueue(self) -> None:
        await self._add(Work(wait=self._sizes.run * (0.5 + self._random.random())))

    async def _add(self, work: Work) -> None:
        self._sent += 1
        await self._random.choice(self._queues).enqueue("work", msgspec.to_builtins(work))

    async def _drained(self) -> None:
        deadline_mono = self._clock.mono() + DRAIN_SECONDS
        while True:
            counts = [await self._engine.client.counts(queue.name) for queue in self._queues]
            if not any(c.waiting + c.active for c in counts):
                return
            if self._clock.mono() > deadline_mono:
                raise RuntimeError(f"not drained within {DRAIN_SECONDS:g} s: {counts}")
            await self._clock.sleep(0.1)

    async def _found_after(self, job: str, pid: int, killed_ms: float) -> float:
        view = await self._engine.client.job(job)
        ends = [datetime.fromisoformat(one.ended_at) for one in view.history if one.outcome == "stalled" and one.ended_at]
        return min(after for end in ends if (after := end.timestamp() - killed_ms / 1000) > 0)


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    """Processes that only compute."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in hogs:
            one.kill()
            one.wait()
