"""Rest: how an idle pool waits until somebody wakes it, or until nobody has for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..clock import Clock

GLANCE = 5.0
"""Seconds, more or less, after which an idle pool asks whether it has missed a bell: a lost one delays nothing for longer."""


class Rest:
    """One a pool. `asyncio.timeout` around an event would do the same for three times the work, in the way of the next job."""

    __slots__ = ("_clock", "_event", "_is_overdue", "wake")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()
        self._is_overdue = False
        self.wake: Callable[[], None] = self._event.set
        """Somebody has news for the pool."""

    def __repr__(self) -> str:
        return f"<Rest {'woken' if self._event.is_set() else 'quiet'}>"

    async def wait(self, seconds: float | None = None) -> bool:
        """Until woken from now on. True when nobody did for `seconds`, or for as long as one glance is from the next."""
        self._event.clear()
        self._is_overdue = False
        glance = GLANCE * (0.75 + 0.5 * self._clock.random())
        wait = glance if seconds is None else min(seconds, glance)
        timer = self._clock.call_later(wait, self._nudge)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        return self._is_overdue

    def _nudge(self) -> None:
        self._is_overdue = True
        self._event.set()
