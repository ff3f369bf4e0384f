"""Fake clock: time that passes only when a test says so. `advance` wakes whoever sleeps, in order."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from engine import Clock
from engine.clock import Timer


class FakeClock(Clock):
    """Starts at `start_ms` (epoch) and 1000 s of monotonic time; `random()` answers `chance`."""

    def __init__(self, start_ms: int = 1_800_000_000_000, *, chance: float = 0.5) -> None:
        self._ms = float(start_ms)
        self._mono = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.chance = chance
        self.slept: list[float] = []
        """Every duration anybody asked to sleep, in seconds."""

    def now_ms(self) -> int:
        """The chosen instant."""
        return int(self._ms)

    def mono(self) -> float:
        """The chosen monotonic seconds."""
        return self._mono

    def random(self) -> float:
        """Always `chance`: a test that wants jitter sets it."""
        return self.chance

    async def sleep(self, seconds: float) -> None:
        """Until `advance` has passed the end; 0 yields once."""
        self.slept.append(seconds)
        if seconds <= 0:
            await settle(1)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._mono + seconds, next(self._order), future))
        await future

    def call_later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """When `advance` has passed the end, unless cancelled."""
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: None if done.cancelled() else act())
        heapq.heappush(self._sleepers, (self._mono + max(seconds, 0.0), next(self._order), future))
        if seconds <= 0:
            future.set_result(None)
        return future

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def jump(self, seconds: float) -> None:
        """Move time without waking anybody: for code that only reads the clock."""
        self._ms += seconds * 1000
        self._mono += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass; each sleeper wakes at its own instant and runs until it waits again."""
        end = self._mono + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self.jump(at - self._mono)
            if not future.done():
                future.set_result(None)
                await settle()
        self.jump(end - self._mono)
        await settle()


async def settle(turns: int = 10) -> None:
    """Let everything that is ready run; code under a fake clock never waits for real time."""
    for _ in range(turns):
        await asyncio.sleep(0)
