"""Wires: the connections to one server (of a cluster, one node) that calls share, and the callers that wait for a free one.

A semaphore and a list would do the same in four times the steps, at every call of every producer.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable

from .wire import Wire

MAX_WIRES = 64
"""Connections one process opens to a server for calls at most; a caller beyond that waits for the next that comes free."""


class Wires:
    """`take`, or `wait` when there is none to take; `give` it back in any case."""

    __slots__ = ("_free", "_made", "_make", "_waiting")

    def __init__(self, make: Callable[[], Wire]) -> None:
        self._make = make
        self._made: list[Wire] = []
        self._free: list[Wire] = []
        self._waiting: deque[asyncio.Future[Wire]] = deque()

    def __repr__(self) -> str:
        return f"<Wires {len(self._free)} of {len(self._made)} free>"

    def __len__(self) -> int:
        return len(self._made)

    def take_up(self) -> Wire | None:
        """One that nobody uses and that is up, so that a call leaves at once: the one used last, if that is. None: no such."""
        free = self._free
        if free and free[-1].is_up:
            return free.pop()
        for at in range(len(free) - 2, -1, -1):
            if free[at].is_up:
                return free.pop(at)
        return None

    def take(self) -> Wire | None:
        """One that nobody uses: to connect one costs a slow line a second while another that is up stands beside it. None when
        all are in use, and there may be no more."""
        if self._free:
            return self.take_up() or self._free.pop()
        if len(self._made) == MAX_WIRES:
            return None
        wire = self._make()
        self._made.append(wire)
        return wire

    async def wait(self) -> Wire:
        """The next that comes free.

        Raises:
            EngineClosed: they are closed meanwhile, by `close`; nothing was sent.
        """
        turn: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # it came in the same moment
                self.give(turn.result())
            raise

    def give(self, wire: Wire) -> None:
        """Not used any more: the next caller's, or free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(wire)
                return
        self._free.append(wire)

    async def close(self, error: Exception) -> None:
        """Close them all: whoever waits gets `error`, whoever uses one is told that it broke. What is given back later may have
        been connected meanwhile: drop it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(copy.copy(error))  # each collects a traceback of its own
        for wire in self._made:
            await wire.drop()
