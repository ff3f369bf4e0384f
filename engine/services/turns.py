"""Turns: when a slot that goes from job to job must let the loop turn.

Handlers that never wait for anything would hold up settles, pauses and signals. Those that do wait have let it turn: yielding
once more after each of them cost jobs of 10 ms a third of a millisecond, in which the pool sent its call while slots stood empty.
"""

from __future__ import annotations

import asyncio

from ..clock import Clock

TURN = 0.01
"""Seconds that the slots of a pool may go on together without the loop turning."""


class Turns:
    """One a pool: its slots share the loop, and the time on it."""

    __slots__ = ("_clock", "_is_watching", "_since_mono")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_mono = 0.0
        self._is_watching = False

    def __repr__(self) -> str:
        return f"<Turns {'watching' if self._is_watching else 'turned'}>"

    def begin(self) -> None:
        """A job starts."""
        if not self._is_watching:
            self._is_watching = True
            self._since_mono = self._clock.mono()
            asyncio.get_running_loop().call_soon(self._turned)

    def is_due(self) -> bool:
        """A job has ended; true when the loop has not turned for too long."""
        return self._is_watching and self._clock.mono() - self._since_mono > TURN

    def _turned(self) -> None:
        self._is_watching = False
