"""Base of the periodic services: `run_once` is the unit that tests call, `run` is the loop around it, tested once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from ..clock import Clock
from ..errors import StoreError
from ..events import Events, ServiceFailed
from ..masking import mask_text
from ..store.patience import FIRST_PAUSE, pause
from ..store.translate import is_damage, is_passing

JITTER = 0.25
"""Share of the period by which passes differ, so that many workers do not come at the same instant."""
FAILED_PAUSE = 0.25
"""Seconds at least between a pass that met a fault of our own and the next; those of the server have `patience`."""


class Service(ABC):
    """A duty done again and again. A failed pass is told once, waits, and is tried again."""

    period: float
    """Seconds between two passes."""

    def __init__(self, clock: Clock, events: Events, queue: str = "") -> None:
        """`queue`: the one it serves, named where a pass fails; '' for a service of all."""
        self._clock = clock
        self._events = events
        self._of_queue = queue
        self._wake = asyncio.Event()
        self._stopping = False
        self._failed = False
        self._told = False
        self._failures = 0
        self._least_wait = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status()}>"

    def status(self) -> str:
        """One line for people: what it is at."""
        return "stopping" if self._stopping else "failing" if self._failed else "on duty"

    @abstractmethod
    async def run_once(self) -> object:
        """One pass. Returns what it did."""

    def next_wait(self) -> float:
        """Seconds until the next pass; services that know better override it."""
        return self.period * (1 - JITTER + 2 * JITTER * self._clock.random())

    async def run(self) -> None:
        """Passes until `stop`; an error of one pass does not end the duty."""
        while not self._stopping:
            self._wake.clear()  # before the pass: whoever wakes it meanwhile knows of something this pass may not have seen
            try:
                await self.run_once()
                self._failed = self._told = False
                self._failures, self._least_wait = 0, 0.0
            except StoreError as error:
                self._failures += 1
                self._least_wait = max(pause(self._failures, error, self._clock.random()), FIRST_PAUSE)
                if is_passing(error):
                    self._failed = True  # an outage: the bell and the pools tell of it, once for all services
                else:
                    self._tell(error)
            except Exception as error:  # noqa: BLE001 - the service loop outlives its passes: one bad entry must not stop the duty
                self._least_wait = FAILED_PAUSE
                self._tell(error)
            await self._pause()

    def wake(self) -> None:
        """Make the next pass come now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the pass that runs."""
        self._stopping = True
        self._wake.set()

    async def _pause(self) -> None:
        if self._stopping:
            return
        timer = self._clock.call_later(max(self.next_wait(), self._least_wait), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _tell(self, error: Exception) -> None:
        self._failed = True
        if not self._told:
            self._told = True
            self._report(trouble(self._of_queue, error))

    def _report(self, failed: str) -> None:
        self._events.emit(ServiceFailed(service=type(self).__name__, error=failed, at_ms=self._clock.now_ms()))


def trouble(queue: str, error: Exception) -> str:
    """What failed, masked, at which queue ('' for none), and where to look."""
    of = f"queue {queue!r}: " if queue else ""
    look = "; `engine doctor` tells what is damaged" if isinstance(error, StoreError) and is_damage(error) else ""
    return of + mask_text(f"{type(error).__name__}: {error}") + (look if queue else "")
