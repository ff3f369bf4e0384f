"""Reclaimer: takes jobs back from workers that were lost.

Every worker runs one for each queue. An entry whose lease ran out is removed and added anew in one script, as a suspect that
runs alone, or buried at its stall limit; a pass comes at the very end of a lease that nobody renews. After an outage the
script itself grants a grace of a lease and a half.
"""

from __future__ import annotations

from ..clock import Clock
from ..declared import QueueSpec
from ..events import Events, JobsReclaimed
from ..store.redis_store import RedisStore
from ..store.work import Reclaimed
from .base import Service

PASSES_A_LEASE = 8
"""One in 1.25 s with the default lease of 10 s: often enough to see that a lease is about to run out, since nobody renewed it."""
SOON = 0.01
"""Seconds after such a lease has run out until the pass that takes it; so long at least between two passes."""
IDLE, IDLE_JITTER = 0.35, 0.05
"""Leases between two passes while nothing is held anywhere, more or less: what is claimed a moment later can't run out before a
whole lease. Under half a lease, after which the script takes the silence for an outage."""
BITE, MOST_BITES = 40, 50
"""Entries a stream and call, which keeps the script under 2 ms; and calls a pass, so that a pass ends."""


class Reclaimer(Service):
    """One queue's reclaimer."""

    def __init__(
        self, spec: QueueSpec, store: RedisStore, *, worker: str, clock: Clock, events: Events, grace: bool = True
    ) -> None:
        super().__init__(clock, events, spec.name)
        self.period = spec.lease_ms / 1000 / PASSES_A_LEASE
        self._spec = spec
        self._store = store
        self._worker = worker
        self._grace = grace
        self._cursors: dict[str, str] = {}
        self._in_grace: bool | None = None
        self._soonest: float | None = None
        self._told_grace = False
        self._passed_mono = 0.0

    def status(self) -> str:
        """Whether it is in its grace."""
        return f"{self._spec.name}: {'in grace after an outage' if self._in_grace else 'on duty'}"

    async def run_once(self) -> Reclaimed:
        """Bites of each stream, going on where the last one ended, until one is not full: what a lost worker held comes back in
        one pass. Returns the sum."""
        moved = buried = 0
        self._passed_mono = self._clock.mono()
        for _ in range(MOST_BITES):
            done = await self._store.reclaim(
                self._spec.name,
                self._worker,
                self._spec.lease_ms,
                self._spec.stall_limit,
                self._cursors,
                limit=BITE,
                grace=self._grace,
            )
            self._cursors = done.cursors
            moved, buried = moved + done.moved, buried + done.buried
            if done.moved + done.buried < BITE:
                break
        done = Reclaimed(done.cursors, moved, buried, done.in_grace, done.soonest_ms)
        # a worker that starts into a grace was not there for the outage, and tells neither its beginning nor its end
        turned = done.in_grace != self._told_grace and (self._told_grace or self._in_grace is False)
        if done.moved or done.buried or turned:
            self._told_grace = done.in_grace
            self._events.emit(
                JobsReclaimed(
                    queue=self._spec.name,
                    moved=done.moved,
                    buried=done.buried,
                    grace=done.in_grace,
                    at_ms=self._clock.now_ms(),
                )
            )
        self._in_grace = done.in_grace
        self._soonest = done.soonest_ms / 1000 if done.soonest_ms >= 0 else None
        return done

    def hear(self) -> None:
        """This process held nothing and has claimed: a pass now, unless one was just made. Without it a worker that is killed a
        moment later left a silence of an idle period, which together with its successor's start is taken for an outage."""
        if self._clock.mono() - self._passed_mono > self.period:
            self.wake()

    def next_wait(self) -> float:
        """An eighth of a lease, or until one runs out that nobody renews; a third of a lease while nothing is held."""
        if self._cursors or self._in_grace or self._failed:
            wait = super().next_wait()
            return wait if self._soonest is None or self._failed else min(wait, self._soonest + SOON)
        return self.period * PASSES_A_LEASE * (IDLE + IDLE_JITTER * (2 * self._clock.random() - 1))
