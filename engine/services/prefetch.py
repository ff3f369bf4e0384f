"""Prefetch: claims that wait in this process for a slot, and no more of them than the slots start within some tens of ms.

How many to claim ahead is guessed from how long runs took so far. The guess can turn out wrong (a provider that answered in
a millisecond answers in thirty seconds now), so what waits is looked at, too: what the slots did not come to is given back, with
its attempt, to the front of its priority, where idle workers, priorities, pauses and limits reach it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..clock import Clock
from ..store.claim import Claim

AHEAD = 256
"""Most jobs to hold beyond the free slots: two calls and a half. With one call's worth the slots ran dry while the next call was
under way, and worker and server took turns instead of working side by side (docs/performance.md)."""
HORIZON = 0.02
"""Seconds. Claim ahead only what the slots will start within this: so slow handlers hold exactly their free slots, and
priorities, pauses and limits stay exact; fast ones are never starved by the round trip."""
CALL_BYTES = 1_048_576
"""Bytes of jobs to claim in one call, and to hold ahead, by what jobs took of late: a megabyte costs the server milliseconds in
which it does nothing else, and 256 jobs of the largest size are 64 of them."""
SMOOTH = 0.2
LOOK = 0.05
"""Seconds between two looks at what waits; so a job waits here for twice that at most."""
PACED = 0.8
"""Share of what the slots took between the last two looks to hold ahead: a run's time is not all that a job takes."""
WARY, WARIEST = 0.25, 8.0
"""Seconds after a wrong guess in which nothing is claimed ahead; twice as long after each that follows, up to the second."""


class Prefetch:
    """The buffer of one pool."""

    def __init__(self, clock: Clock, *, average: Callable[[], float | None], give_back: Callable[[Claim], None]) -> None:
        self._clock = clock
        self._average = average
        self._give_back = give_back
        self._waiting: deque[Claim] = deque()
        self._size = 0.0
        """Bytes of a job, smoothed."""
        self._taken = 0
        self._pace = AHEAD * 2  # nothing is known yet
        self._taken_before = 0
        self._waited_before = 0
        self._wary = WARY
        self._wary_until_mono = 0.0
        self._due_mono = 0.0
        self._was_late = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Prefetch {len(self._waiting)} waiting>"

    def __len__(self) -> int:
        return len(self._waiting)

    def ahead(self, places: int) -> int:
        """How many to hold beyond the free ones of so many slots."""
        average = self._average()
        if average is None or average > HORIZON or self._clock.mono() < self._wary_until_mono:
            return 0
        most = min(int(places * HORIZON / max(average, 1e-6)), AHEAD, max(int(self._pace * PACED), places))
        return self.fitting(most)

    def fitting(self, jobs: int) -> int:
        """So many, or as many as a call should bring of such a size; one at least."""
        return jobs if jobs * self._size <= CALL_BYTES else max(int(CALL_BYTES / self._size), 1)

    def put(self, claim: Claim) -> None:
        """A claim waits for a slot."""
        self._waiting.append(claim)
        if self._timer is None:
            self._taken_before, self._waited_before = self._taken, 0
            self._arm()

    def take(self) -> Claim | None:
        """What a slot runs next, oldest first; None when nothing waits."""
        if not self._waiting:
            return None
        self._taken += 1
        return self._waiting.popleft()

    async def wait(self) -> None:
        """A slot has nothing to run until it is woken."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        await future

    def wake(self) -> None:
        """Wake as many of the slots that wait as there are claims."""
        to_wake = len(self._waiting)
        if to_wake:  # one job of each answer is measured: to measure each would cost a hundredth of its run
            self._size += (len(self._waiting[-1].envelope.body) - self._size) * SMOOTH
        while to_wake and self._idle:
            future = self._idle.popleft()
            if not future.done():  # done: its slot was cancelled while idle, by a handler's doing, and waits with another by now
                future.set_result(None)
                to_wake -= 1

    def shed(self, keep: int = 0) -> None:
        """Give back all but the first `keep`; what is lost is another worker's to settle."""
        surplus = [self._waiting.pop() for _ in range(len(self._waiting) - keep)]
        for claim in reversed(surplus):
            if claim.told != "lost":
                self._give_back(claim)

    def beware(self) -> None:
        """The queue was closed: claim nothing ahead for a while after it opens, or a limit that opens and closes makes jobs go to
        and fro."""
        self._wary_until_mono = self._clock.mono() + WARY

    def close(self) -> None:
        """Look no more, and hand out nothing: a slot whose handler swallows its cancellation would start the next."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due_mono = self._clock.mono() + LOOK
        self._timer = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        taken = self._taken - self._taken_before
        late = self._clock.mono() > self._due_mono + LOOK
        # the whole process stood still: nothing is known of the handlers. Not twice in a row, since they may be what stops it
        may_judge = not late or self._was_late
        self._was_late = late
        if may_judge and self._waited_before > taken:  # some wait since the last look: keep what this pace starts until the next
            self._wary_until_mono = self._clock.mono() + self._wary
            self._wary = min(self._wary * 2, WARIEST)
            self.shed(taken)
        elif self._waited_before:
            self._wary = WARY
        # while nothing waited it was the server that was slow: that tells nothing of the slots
        self._pace = taken if self._waited_before else max(self._pace, taken)
        self._taken_before, self._waited_before = self._taken, len(self._waiting)
        if self._waiting:
            self._arm()
