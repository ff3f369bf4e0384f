"""Promoter: moves jobs whose time has come to where they can run.

Every worker runs one for each queue. It sleeps until the next due time that a step or promotion told it, so a delayed job
starts on time without anybody polling; several may run at once, since a bite is one atomic call.
"""

from __future__ import annotations

import msgspec

from ..clock import Clock
from ..events import Events, JobsPromoted
from ..store.redis_store import RedisStore
from .base import Service

APART = 0.02
"""Seconds between two looks that rings ask for: fewer calls under load, and still within the 25 ms of a delayed job."""

LONGEST_WAIT = 15.0
"""Seconds. What becomes due earlier than we were told rings the bell, and the step that follows tells us, or `look` where none
follows: this is for the case that all of that failed."""
MARGIN = 0.001
"""Seconds past the due time: the server's clock must have reached it, or the look is for nothing."""


class Promotion(msgspec.Struct, frozen=True):
    """What one pass moved."""

    moved: int = 0


class Promoter(Service):
    """One queue's promoter."""

    period = LONGEST_WAIT

    def __init__(self, queue: str, store: RedisStore, *, clock: Clock, events: Events) -> None:
        super().__init__(clock, events, queue)
        self._queue = queue
        self._store = store
        self._due_mono: float | None = None
        self._asked_mono = -APART

    def status(self) -> str:
        """When it looks again."""
        due = "nothing due" if self._due_mono is None else f"next in {max(self._due_mono - self._clock.mono(), 0):.3f} s"
        return f"{self._queue}: {due}"

    def hear(self, next_due_ms: int, now_ms: int) -> None:
        """A step saw this next due time (server's clock). Wakes the promoter when it is earlier than what it sleeps for."""
        due = self._clock.mono() + (next_due_ms - now_ms) / 1000 + MARGIN
        if self._due_mono is None or due < self._due_mono - MARGIN:
            self._due_mono = due
            self.wake()

    def look(self) -> None:
        """The bell rang, and no step will follow soon that could say what is due: ask for ourselves."""
        due = max(self._clock.mono(), self._asked_mono + APART)  # every retry of a busy pool rings
        if self._due_mono is None or due < self._due_mono:
            self._due_mono = due
            self.wake()

    async def run_once(self) -> Promotion:
        """Promote all that is due now, in bites."""
        if self._due_mono is not None and self._clock.mono() < self._due_mono:
            return Promotion()  # woken to sleep shorter
        moved = 0
        while True:
            self._due_mono = None  # what is heard while we ask is newer than our answer, and stays if it is earlier
            self._asked_mono = self._clock.mono()
            done = await self._store.promote(self._queue)
            moved += done.moved
            if done.next_due_ms:
                due = self._clock.mono() + max(done.next_due_ms - done.now_ms, 0) / 1000 + MARGIN
                self._due_mono = due if self._due_mono is None else min(due, self._due_mono)
            if not done.next_due_ms or done.next_due_ms > done.now_ms:
                break
        if moved:
            self._events.emit(JobsPromoted(queue=self._queue, count=moved, at_ms=self._clock.now_ms()))
        return Promotion(moved)

    def next_wait(self) -> float:
        """Until the next due time, or the longest wait."""
        if self._failed:
            return 0.0  # something may have become due meanwhile; the base waits its pause after a failure
        if self._due_mono is None:
            return super().next_wait()
        return min(max(self._due_mono - self._clock.mono(), 0.0), LONGEST_WAIT)
