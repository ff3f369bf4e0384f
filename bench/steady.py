"""Steady: a worker whose way through its jobs is the same on every machine and however busy that is, so that it can be counted.

A worker and the server work side by side: how many jobs go with a call depends on how fast the answer comes, what its services do
by the clock on how long it takes, which buckets are counted on how long jobs waited. Here they take turns instead: an answer is
taken in when all that was claimed before has run. The code is the engine's own; only time is taken out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from engine import Clock
from engine.clock import Timer
from engine.services import prefetch, turns
from engine.services.caller import Answer, Caller
from engine.services.meter import Meter
from engine.store.claim import Phase
from engine.store.settles import Settles

SOON = 0.05
"""Seconds. What is to be called later than that is not called at all."""
NEVER = 3600.0
PATIENCE = 120.0
"""Seconds for any one thing that is waited for; a guard that waits for ever would tell nobody why."""


class StillClock(Clock):
    """Nothing becomes due by it: every service makes its first pass and no other."""

    def call_later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """As it says when that is soon, else never."""
        return asyncio.get_running_loop().call_later(seconds if seconds <= SOON else NEVER, act)

    def random(self) -> float:
        """Always the middle."""
        return 0.5


async def until(is_so: Callable[[], bool], what: str, look: float = 0.0) -> None:
    """Look again and again, so many seconds apart, until it is so.

    Raises:
        TimeoutError: it was not within `PATIENCE`; `what` names it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not is_so():
        if loop.time() > deadline:
            raise TimeoutError(f"{what} was waited for, {PATIENCE:.0f} s long")
        turned = loop.create_future()  # not the engine's own sleep: how often we look is not to be counted
        loop.call_later(look, turned.set_result, None)
        await turned


class Gates:
    """Holds the calls of a queue's pool back until it may go."""

    def __init__(self) -> None:
        self._shut: set[str] = set()
        self.waiting: set[str] = set()
        """Queues whose pool stands before its gate."""

    def shut(self, queue: str) -> None:
        """Its pool sends no call from now on."""
        self._shut.add(queue)

    def open(self, queue: str) -> None:
        """It may go on."""
        self._shut.discard(queue)

    async def passed(self, queue: str) -> None:
        """Wait until it is open."""
        self.waiting.add(queue)
        await until(lambda: queue not in self._shut, f"the gate of {queue}", look=0.005)
        self.waiting.discard(queue)


@contextmanager
def in_turns() -> Iterator[Gates]:
    """Workers of this process take turns with the server from now on, until left."""
    gates, send, observe = Gates(), Caller.send, Meter.observe

    async def sent(self: Caller, settles: Settles, want: int) -> Answer | None:
        await gates.passed(self._spec.name)
        answer = await send(self, settles, want)
        await until(lambda: all(claim.phase is Phase.ENDED for claim in self._held.values()), "the end of what was claimed")
        return answer

    def observed(self: Meter, outcome: str, wait_ms: int, run_seconds: float) -> None:
        observe(self, outcome, 0, 0.0)

    with (
        mock.patch.object(Caller, "send", sent),
        mock.patch.object(Meter, "observe", observed),
        mock.patch.object(prefetch, "LOOK", NEVER),
        mock.patch.object(turns, "TURN", NEVER),
    ):
        yield gates
