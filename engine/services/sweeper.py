"""Sweeper: drops what is past its retention: finished jobs, dead jobs, notes, silent workers and producers.

Every worker runs one for each queue, on an idle queue too. Two may run at once: a bite is one script call, so each entry is
dropped once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import StoreRefused
from ..events import Events, Swept
from ..store.redis_store import RedisStore
from ..store.translate import is_damage
from .base import Service

BITE = 100
"""Entries a call: well under 2 ms."""
SILENT_MS = 3_600_000
"""A producer silent for an hour is forgotten; until then a repeated call of it is recognised."""
GONE_MS = 600_000
"""A worker silent for ten minutes is: its jobs were taken over long ago. Should it wake all the same, its settles are refused for
their entries' sake."""


class Sweep(msgspec.Struct, frozen=True):
    """What one pass dropped."""

    finished: int = 0
    dead: int = 0
    notes: int = 0
    workers: int = 0
    producers: int = 0


class Sweeper(Service):
    """One queue's sweeper."""

    period = 10.0
    idle_period = 30.0
    """Seconds between passes while they drop nothing."""

    def __init__(self, spec: QueueSpec, store: RedisStore, *, clock: Clock, events: Events, gone_ms: int = GONE_MS) -> None:
        super().__init__(clock, events, spec.name)
        self._spec = spec
        self._store = store
        self._gone_ms = gone_ms
        self._cursor = "0"
        self._last = Sweep()

    async def run_once(self) -> Sweep:
        """Drop all that is due, in bites, so that nothing waits long behind it. A damaged part of the queue keeps no other
        from being swept; its error is raised after them."""
        now = await self._store.now_ms(self._spec.name)
        swept, damage = Sweep(), None
        for step in (self._sweep_done(now), self._sweep_dead(now), self._sweep_rest()):
            try:
                async for bite in step:
                    swept = _sum(swept, bite)
            except StoreRefused as error:
                if not is_damage(error):
                    raise
                damage = damage or error
        self._last = swept
        if swept.finished or swept.dead or swept.notes:
            at_ms = self._clock.now_ms()
            self._events.emit(
                Swept(queue=self._spec.name, completed=swept.finished, dead=swept.dead, notes=swept.notes, at_ms=at_ms)
            )
        if damage is not None:
            raise damage
        return swept

    async def _sweep_done(self, now_ms: int) -> AsyncIterator[Sweep]:
        spec, more, cursor = self._spec, True, ""
        while more:
            bite = await self._store.sweep_done(
                spec.name, now_ms - spec.keep_completed_ms, keep=spec.keep_completed, limit=BITE, cursor=cursor
            )
            yield Sweep(finished=bite.dropped)
            more, cursor = bite.is_more, bite.cursor

    async def _sweep_dead(self, now_ms: int) -> AsyncIterator[Sweep]:
        spec, more = self._spec, True
        keep = -1 if spec.keep_dead is None else spec.keep_dead
        while more:
            bite = await self._store.sweep_dead(spec.name, now_ms - spec.keep_dead_ms, keep=keep, limit=BITE)
            yield Sweep(dead=bite.dropped)
            more = bite.is_more

    async def _sweep_rest(self) -> AsyncIterator[Sweep]:
        more = True
        while more:  # notes end as fast as jobs with results do
            rest = await self._store.sweep_rest(self._spec.name, self._gone_ms, SILENT_MS, limit=BITE, cursor=self._cursor)
            self._cursor = rest.cursor
            yield Sweep(notes=rest.notes, workers=rest.workers, producers=rest.producers)
            more = rest.notes == BITE

    def next_wait(self) -> float:
        """Ten seconds, thirty when there was nothing to drop."""
        return super().next_wait() * (1.0 if self._last != Sweep() else self.idle_period / self.period)


def _sum(one: Sweep, other: Sweep) -> Sweep:
    return Sweep(
        one.finished + other.finished,
        one.dead + other.dead,
        one.notes + other.notes,
        one.workers + other.workers,
        one.producers + other.producers,
    )
