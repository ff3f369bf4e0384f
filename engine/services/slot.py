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

STOOD_STILL = 0.25
"""Seconds by which a time limit may come late before that is held against the process and not against the handler."""


class Slot:
    """A place of a pool. `begin` before an attempt, `end` after it."""

    __slots__ = ("_deadline", "_extended", "_loop", "_seconds", "_timer", "expired", "is_over", "task")

    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop, is_over: Callable[[], bool]) -> None:
        self.task = task
        self.is_over = is_over
        """True once the pool ends its slots: then, and only then, a cancellation is meant for the slot itself."""
        self.expired = False
        """True when the attempt's time was up and its handler was cancelled for it."""
        self._loop = loop
        self._extended = False
        self._seconds = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Slot {self.task.get_name()}{' expired' if self.expired else ''}>"

    def begin(self, seconds: float) -> None:
        """An attempt starts that may run so long."""
        self.expired = self._extended = False
        self._seconds = seconds
        self._deadline = deadline = self._loop.time() + seconds
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._fire)

    def end(self) -> None:
        """The attempt has ended; the timer stays for the next."""
        self._deadline = None

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

    def _fire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._fire)
            return
        late = self._loop.time() - self._deadline
        if late > STOOD_STILL and not self._extended:
            # the loop stood still (a frozen process, somebody else's blocking): the handler could not use that time and gets its
            # limit anew. Once only, because a handler that blocks the loop itself is late every time
            self._extended = True
            self._deadline = self._loop.time() + self._seconds
            self._timer = self._loop.call_at(self._deadline, self._fire)
            return
        self._deadline = None
        self.expired = True
        self.task.cancel()


def _end(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
