"""Rest: how an idle pool waits until somebody wakes it, or until nobody has for a while."""

from __future__ import annotations

import asyncio

from ..clock import Clock

GLANCE = 5.0
"""Seconds, more or less, after which an idle pool asks whether it has missed a bell: a lost one delays nothing for longer."""


class Rest:
    """One a pool. An event in `asyncio.timeout` would do the same for three times the work, in the way of the next job."""

    __slots__ = ("_clock", "_is_overdue", "_turn")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn: asyncio.Future[None] | None = None
        self._is_overdue = False

    def __repr__(self) -> str:
        return f"<Rest {'quiet' if self._turn is not None and not self._turn.done() else 'awake'}>"

    def wake(self) -> None:
        """Somebody has news for the pool."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def wait(self, seconds: float | None = None) -> bool:
        """Until woken from now on. True when nobody did for `seconds`, or for as long as one glance is from the next."""
        self._turn = asyncio.get_running_loop().create_future()
        self._is_overdue = False
        glance = GLANCE * (0.75 + 0.5 * self._clock.random())
        wait = glance if seconds is None else min(seconds, glance)
        timer = self._clock.call_later(wait, self._nudge)
        try:
            await self._turn
        finally:
            timer.cancel()
        return self._is_overdue

    def _nudge(self) -> None:
        self._is_overdue = True
        self.wake()
