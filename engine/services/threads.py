"""Threads: runs plain `def` handlers, so many at a time, those included that nobody waits for any more.

A thread can't be killed: when its attempt times out, the slot goes on and the thread stays until the handler returns. anyio's
limiter forgets such a thread at once, so handlers that hang would leak one thread a job, without bound; here it keeps its place.
"""

from __future__ import annotations

import contextlib
import math
import threading
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

T = TypeVar("T")


class Abandoned(Exception):
    """The caller was cancelled before its thread began."""


class Threads:
    """At most `most` threads; who comes when all are taken waits, and its attempt's time runs meanwhile."""

    def __init__(self, most: int) -> None:
        self._places = CapacityLimiter(most)
        self._unbounded = CapacityLimiter(math.inf)

    def __repr__(self) -> str:
        return f"<Threads {int(self._places.borrowed_tokens)} of {int(self._places.total_tokens)}>"

    async def run(self, call: Callable[[], T]) -> T:
        """`call()` in a thread. Cancelled, the caller goes on at once and the thread keeps its place until `call` returns."""
        place = _Place(self._places, get_running_loop())
        await self._places.acquire_on_behalf_of(place)

        def body() -> T:
            if not place.enter():
                raise Abandoned  # cancelled before a thread took it up: nobody hears this
            try:
                return call()
            finally:
                place.leave()

        try:
            return await anyio.to_thread.run_sync(body, abandon_on_cancel=True, limiter=self._unbounded)
        finally:
            place.give_up()


class _Place:
    """One thread's place, given back once: by the thread, or by the caller when no thread has begun."""

    def __init__(self, places: CapacityLimiter, loop: AbstractEventLoop) -> None:
        self._places = places
        self._loop = loop
        self._lock = threading.Lock()
        self._state = "new"

    def enter(self) -> bool:
        with self._lock:
            if self._state == "new":
                self._state = "running"
            return self._state == "running"

    def leave(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile, and the places with it
            self._loop.call_soon_threadsafe(self._places.release_on_behalf_of, self)

    def give_up(self) -> None:
        with self._lock:
            if self._state != "new":
                return
            self._state = "dropped"
        self._places.release_on_behalf_of(self)
