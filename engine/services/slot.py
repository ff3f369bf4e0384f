"""Slot: one place of a pool: its task, and the time limit of the attempt it runs.

`asyncio.timeout` makes and cancels a timer for each attempt and asks for the current task four times (in 3.11 a Python function;
together a sixth of the time of a no-op job, by py-spy on bench/drain.py). A slot keeps one timer instead: it is set anew only
when it fires before the limit of the attempt that runs then, which for jobs shorter than their limit is once a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ..store.claim import Claim
from .pulse import Pulse

PATIENCE = 5.0
"""Seconds a handler has for winding up after its time was up and it was cancelled; then its slot is given up."""


class Slot:
    """A place of a pool. `begin` before an attempt, `end` after it."""

    __slots__ = (
        "_deadline",
        "_due",
        "_left",
        "_loop",
        "_lost",
        "_on_stuck",
        "_pulse",
        "_timer",
        "claim",
        "expired",
        "is_over",
        "is_stuck",
        "task",
    )

    def __init__(
        self,
        task: asyncio.Task[Any],
        loop: asyncio.AbstractEventLoop,
        pulse: Pulse,
        *,
        is_over: Callable[[], bool],
        on_stuck: Callable[[Slot], None],
    ) -> None:
        self.task = task
        self.is_over = is_over
        """True once the pool ends its slots: then, and only then, a cancellation is meant for the slot itself."""
        self.expired = False
        """True when the attempt's time was up and its handler was cancelled for it."""
        self.is_stuck = False
        """True when its handler did not end for that: the attempt was settled without it, and the slot runs no other."""
        self.claim: Claim | None = None
        """What it runs."""
        self._loop = loop
        self._pulse = pulse
        self._on_stuck = on_stuck
        self._lost = self._left = self._due = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = " stuck" if self.is_stuck else " expired" if self.expired else ""
        return f"<Slot {self.task.get_name()}{state}>"

    def begin(self, claim: Claim, seconds: float) -> None:
        """An attempt starts that may run so long."""
        self.claim = claim
        self.expired = False
        self._left = seconds
        self._lost = self._pulse.lost()
        self._deadline = deadline = self._loop.time() + seconds
        if self._timer is None or self._due > deadline:
            self._arm(deadline)

    def end(self) -> None:
        """The attempt has ended; the timer stays for the next."""
        self._deadline = None
        self.claim = None

    async def forgive(self) -> None:
        """Every cancellation so far was for the attempt that has ended, or of its handler's own making: the next one's handler
        must not answer for it, nor the slot."""
        while self.task.cancelling() and not self.is_over():
            self.task.uncancel()
            turn: asyncio.Future[None] = self._loop.create_future()
            self._loop.call_soon(_end, turn)
            with contextlib.suppress(asyncio.CancelledError):  # one that was asked for but not yet thrown in comes now
                await turn

    def close(self) -> None:
        """The slot is given up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due  # kept here: for a timer that is due at once uvloop answers a handle that can't tell
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = self._loop.time()
        if now < self._deadline:
            self._arm(self._deadline)
        elif self.expired:
            self._deadline = None
            self.is_stuck = True
            self._on_stuck(self)
        elif (more := self._given_back()) > 0:
            self._extend(now + more)
        else:
            self.expired = True
            self.task.cancel()
            self._extend(now + PATIENCE)

    def _given_back(self) -> float:
        """Seconds in which the loop stood still. One limit more in all, because a handler that blocks the loop itself stands
        still as well."""
        lost = self._pulse.lost()
        more = min(lost - self._lost, self._left)
        self._lost = lost
        self._left -= more
        return more

    def _extend(self, deadline: float) -> None:
        if self.claim is not None and self._deadline is not None and self.claim.deadline_mono:
            self.claim.deadline_mono += deadline - self._deadline  # its lease is renewed for as long
        self._deadline = deadline
        self._arm(deadline)


def _end(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
