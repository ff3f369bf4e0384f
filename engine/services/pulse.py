"""Pulse: how long the event loop has stood still so far, because the process was frozen or something blocked it.

A handler could not use that time, so its time limit gets it back (`slot`). How late a timer fires does not tell it: a freeze that
ends before the limit makes nothing late and still costs the handler the freeze.
"""

from __future__ import annotations

import asyncio

BEAT = 0.25
"""Seconds between two beats; a freeze is known to this much."""
LATE = 0.1
"""Seconds by which a beat may come late before the loop counts as having stood still: a busy loop is late, too."""


class Pulse:
    """One a process; begins to beat when made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen = loop.time()
        self._lost = 0.0
        self._timer = loop.call_later(BEAT, self._beat)

    def __repr__(self) -> str:
        return f"<Pulse {self._lost:.1f} s lost>"

    def lost(self) -> float:
        """Seconds the loop stood still since some beginning; only differences mean anything."""
        self._look()
        return self._lost

    def close(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _look(self) -> None:
        gap = self._loop.time() - self._seen
        if gap > BEAT + LATE:
            self._lost += gap
            self._seen += gap  # the beat that comes next must not count it again

    def _beat(self) -> None:
        self._look()
        self._seen = self._loop.time()
        self._timer = self._loop.call_later(BEAT, self._beat)
