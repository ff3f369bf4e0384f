"""Watched: the server of a run under Sentinel: a primary, a replica, three sentinels; faults make it fail over.

Engines ask the sentinels for the primary and reach it without the proxy, so of the other faults only those of processes come, and
what the server is told by commands. Enqueues are confirmed by a replica (`ENGINE_DURABILITY=replicated`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from engine import Clock

from .kinds import QUEUES
from .node import Node
from .sentinel import Sentinels

OPTIONS = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}
"""All replicas confirm each enqueue, so none that was acknowledged is lost, whichever is made primary (decision 0012). After a
failover nothing is acknowledged until the old primary is back as a replica."""
DOWN_AFTER_MS = 1000
REST_SECONDS = 22.0
"""Sentinels make no second failover within twice their failover timeout, which is 10 s."""
UNTOLD_NS = 1_000_000_000
"""Without a proxy nobody knows which settles the server has; what ended so recently may have none."""


class WatchedServer:
    """What `servers.Server` is for a run, with Sentinel behind it."""

    def __init__(self, program: str, clock: Clock) -> None:
        """`program`: see `find_program`."""
        self._sentinels = Sentinels(program, down_after_ms=DOWN_AFTER_MS, options=OPTIONS, clock=clock)
        self._clock = clock
        self._rested_mono = 0.0
        self.keep = False
        """Its data goes with it."""

    async def __aenter__(self) -> Self:
        await self._sentinels.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._sentinels.__aexit__(kind, error, trace)

    @property
    def node(self) -> Node:
        """The primary."""
        return self._sentinels.primary

    @property
    def url(self) -> str:
        """For engines: they ask the sentinels."""
        return self._sentinels.url

    @property
    def primary_url(self) -> str:
        """For the checker: the primary itself."""
        return f"redis://{self.node.host}:{self.node.port}/0"

    async def fail_over(self, *, freeze: bool, begin: Callable[[], Awaitable[None]]) -> float:
        """Kill or freeze the primary, wait until another is one, then mend; how many seconds there was none. `begin` is awaited
        when it is about to happen: sentinels rest between two.

        Raises:
            TimeoutError: the sentinels made none.
        """
        await self._clock.sleep(max(self._rested_mono - self._clock.mono(), 0.0))
        self._rested_mono = self._clock.mono() + REST_SECONDS
        await begin()
        if freeze:
            self._sentinels.freeze_primary()
        else:
            self._sentinels.kill_primary()
        seconds = await self._sentinels.promoted()
        await self._sentinels.mend()
        return seconds


class Straight:
    """The way to the server without a proxy."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def url(self, who: str) -> str:
        """The same for all."""
        return self._url

    async def settled(self, who: str) -> dict[str, int]:
        """Queue -> monotonic ns: what had ended by then is surely settled."""
        return dict.fromkeys(QUEUES, time.monotonic_ns() - UNTOLD_NS)
