"""Memory: watches how much of the machine's memory this process takes, for handlers or libraries that leak.

One a process, and only where a limit is set. It tells when four fifths are reached; at the limit the worker drains and leaves,
and whoever started it starts a fresh one. Leaving in good order costs no job an attempt; a kill for memory costs each a stall.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..clock import Clock
from ..config_table import shown_size
from ..errors import ConfigError
from ..events import Events, MemoryExceeded, MemoryHigh
from .base import Service

HIGH, CALM = 0.8, 0.7
"""Share of the limit that is told, and the share below which it may be told again."""

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """What this process takes of the machine's memory now; where the system does not tell (all but Linux), the most it ever took.

    Raises:
        ConfigError: on Windows, which has neither.
    """
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        raise ConfigError("ENGINE_MAX_MEMORY is set, and this system does not tell what a process takes: leave it out") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def check_memory(limit: int, used: int) -> None:
    """Raises ConfigError when a process takes nearly its limit before it has run anything: it would do nothing but start anew."""
    if used >= limit * HIGH:
        raise ConfigError(
            f"the worker may take {shown_size(limit)} of memory and takes {used / 1024**2:.0f} MiB before its first job: "
            "give ENGINE_MAX_MEMORY (--max-memory) twice that at least",
            setting="ENGINE_MAX_MEMORY",
        )


class Memory(Service):
    """Looks once a second: a look takes some 20 us."""

    period = 1.0

    def __init__(
        self,
        limit: int,
        *,
        worker: str,
        clock: Clock,
        events: Events,
        on_exceeded: Callable[[], None],
        used: Callable[[], int] = resident_bytes,
    ) -> None:
        super().__init__(clock, events)
        self._limit = limit
        self._worker = worker
        self._on_exceeded = on_exceeded
        self._used = used
        self._is_high = self._is_exceeded = False
        self._last = 0

    def status(self) -> str:
        """How much of the limit is used."""
        return f"{self._last / self._limit:.0%} of {shown_size(self._limit)}"

    async def run_once(self) -> int:
        """Look; returns the bytes in use."""
        used = self._last = self._used()
        if used >= self._limit:
            if not self._is_exceeded:
                self._is_exceeded = True
                self._emit(MemoryExceeded)
                self._on_exceeded()
        elif used >= self._limit * HIGH:
            if not self._is_high:
                self._is_high = True
                self._emit(MemoryHigh)
        elif used < self._limit * CALM:
            self._is_high = False
        return used

    def _emit(self, kind: type[MemoryHigh] | type[MemoryExceeded]) -> None:
        event = kind(worker=self._worker, used_bytes=self._last, limit_bytes=self._limit, at_ms=self._clock.now_ms())
        self._events.emit(event)
