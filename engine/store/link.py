"""Link: the way to the server. Addresses, a bounded set of wires, and waiting patiently.

`redis://`, `rediss://` and `unix://` name one server, `redis+sentinel://host,host/service` asks Sentinel for the primary at
each connect, `redis+cluster://` asks the cluster for the node of a queue's slot. All our calls are idempotent, so `patient`
may repeat any of them; redis-py's own retries are off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..clock import Clock
from ..config import redact_url
from ..errors import EngineClosed, StoreDenied, StoreError, StoreUnanswered, StoreUnreachable
from .address import Address
from .translate import is_passing
from .wire import SENT, Wire

T = TypeVar("T")

MAX_WIRES = 64
"""Connections one process opens for calls at most; a caller beyond that waits for a free one."""

FIRST_PAUSE, LONGEST_PAUSE, DENIED_PAUSE = 0.05, 2.0, 5.0
"""Seconds between repeats of a failed call: doubling with jitter, capped so that work resumes soon after the server is back;
a refused password is asked again rarely, or the server's log fills."""


@dataclass(slots=True)
class _Tries:
    last: StoreError | None = None
    unanswered: bool = False


class Link:
    """Everything that talks to the server talks through one of these; one a process is enough."""

    def __init__(
        self, url: str, *, clock: Clock, timeout: float = 5.0, name: str = "engine", tls: dict[str, Any] | None = None
    ) -> None:
        self._address = Address(url, timeout=timeout, name=name, tls=tls or {})
        self._clock = clock
        self._free: dict[str, list[Wire]] = {}
        self._wires: list[Wire] = []
        self._room = asyncio.Semaphore(MAX_WIRES)
        self._closed = False
        self.allowed = {"rights"}
        """Scripts whose commands our user is known to have the right to"""
        self.timeout = timeout
        """Seconds a call may wait for its answer, and a connection for its greeting."""
        self.where = redact_url(url).partition("?")[0]
        """The server's address as it may be shown."""

    def __repr__(self) -> str:
        return f"<Link {self.where} wires={len(self._wires)}>"

    @property
    def is_cluster(self) -> bool:
        """True when queues live on several servers."""
        return self._address.is_cluster

    def new_wire(self, queue: str = "", timeout: float | None = None) -> Wire:
        """A wire of the caller's own, for calls that block; the caller drops it."""
        return Wire(lambda: self._address.dial(queue), self.where, self.timeout if timeout is None else timeout)

    async def call(self, *args: Any, queue: str = "") -> Any:
        """One command, once. Errors as `Wire.call`."""
        async with self._room:
            free, wire = self._take(queue)
            try:
                return await wire.call(*args)
            finally:
                free.append(wire)

    async def run(self, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once. Errors as `Wire.call`."""
        async with self._room:
            free, wire = self._take(queue)
            try:
                return await wire.run(name, prefix, *args)
            finally:
                free.append(wire)

    async def run_confirmed(self, replicas: int, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once, answered when so many replicas have what it wrote. Errors as `Wire.run_confirmed`."""
        async with self._room:
            free, wire = self._take(queue)
            try:
                return await wire.run_confirmed(replicas, name, prefix, *args)
            finally:
                free.append(wire)

    def is_up(self, queue: str) -> bool:
        """True when a call would leave at once, over a connection that nobody uses."""
        free = self._free.get(queue if self._address.is_cluster else "", ())
        return len(free) > 0 and free[-1].is_up and not self._room.locked()

    def _take(self, queue: str) -> tuple[list[Wire], Wire]:
        """A wire nobody uses, and where it goes back to."""
        if self._closed:
            raise EngineClosed("the engine is closed: use it inside `async with engine`")
        free = self._free.setdefault(queue if self._address.is_cluster else "", [])
        if free:
            return free, free.pop()
        wire = self.new_wire(queue)
        self._wires.append(wire)
        return free, wire

    async def patient(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        timeout: float | None,
        on_trouble: Callable[[StoreError], None] | None = None,
        unanswered: bool = False,
    ) -> T:
        """Repeat an idempotent call until it is answered, `timeout` seconds at most (None: for ever). `unanswered`: it was sent
        before, and may have taken effect.

        Raises:
            StoreError: the last error, when it is none that passes, or time is up. It is `StoreUnanswered` when any of
                the sendings may have taken effect.
        """
        tries = _Tries(unanswered=unanswered)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._repeat(attempt, None if timeout is None else self._clock.mono() + timeout, on_trouble, tries)
        except TimeoutError as cut:
            if not limit.expired():
                raise
            if tries.unanswered or SENT in getattr(cut.__cause__, "__notes__", ()):
                sentence = f"{self.where} did not answer within {timeout:.3g} s: the request may have taken effect"
                raise StoreUnanswered(sentence) from tries.last
            if tries.last is not None:
                raise tries.last from cut
            raise StoreUnreachable(f"{self.where} can't be reached within {timeout:.3g} s: is the server running?") from cut
        except StoreError as error:
            if tries.unanswered and is_passing(error) and not isinstance(error, StoreUnanswered):
                raise StoreUnanswered(f"{error} (an earlier try may have taken effect)") from error
            raise

    async def _repeat(
        self,
        attempt: Callable[[], Awaitable[T]],
        deadline_mono: float | None,
        on_trouble: Callable[[StoreError], None] | None,
        tries: _Tries,
    ) -> T:
        pause = 0.0
        while True:
            try:
                return await attempt()
            except StoreError as error:
                tries.last = error
                tries.unanswered = tries.unanswered or isinstance(error, StoreUnanswered)
                denied = isinstance(error, StoreDenied)
                wait = DENIED_PAUSE if denied else pause * (0.5 + self._clock.random())
                worth = is_passing(error) or (deadline_mono is None and denied)
                if not worth or (deadline_mono is not None and self._clock.mono() + wait >= deadline_mono):
                    raise
                if on_trouble is not None:
                    on_trouble(error)
            await self._clock.sleep(wait)
            pause = min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)

    async def close(self) -> None:
        """Drop every connection; later calls raise EngineClosed."""
        self._closed = True
        for wire in self._wires:
            await wire.drop()
