"""Clock: the only reader of time, the only sleeper and the only source of randomness.

Two clocks with two names. `now_ms` is an instant, epoch milliseconds, of *this* machine; it is for log lines and for
sanity checks of what a caller typed, never for deciding when a job is due (that is the server's clock, see
`Store.now_ms`). `mono` is this process's monotonic seconds, for measuring and for deadlines. Tests hand in
`engine.testing.FakeClock`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """What `Clock.call_later` answers."""

    def cancel(self) -> object:
        """Don't call it."""


class Clock:
    """Real time. Every class that waits or measures takes one as an argument."""

    def now_ms(self) -> int:
        """This machine's wall clock, epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def mono(self) -> float:
        """Monotonic seconds of this process; only differences mean anything."""
        return time.monotonic()

    def cpu(self) -> float:
        """Seconds of processor time this process has used; only differences mean anything."""
        return time.process_time()

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling coroutine; 0 yields once."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """Call `act` on the running loop then, unless the answer is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, act)

    def random(self) -> float:
        """A float in [0, 1) for jitter; not for secrets."""
        return random.random()
