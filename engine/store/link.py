"""Link: the way to the server. Addresses, a bounded set of wires, and waiting patiently.

`redis://`, `rediss://` and `unix://` name one server, `redis+sentinel://host,host/service` asks Sentinel for the primary at
each connect, `redis+cluster://` asks the cluster for the node of a queue's slot. All our calls are idempotent, so `patient`
may repeat any of them; redis-py's own retries are off.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..clock import Clock
from ..config import redact_url
from ..errors import EngineClosed, StoreDenied, StoreError, StoreFull, StoreUnanswered, StoreUnreachable
from .address import Address
from .door import Door
from .patience import FIRST_PAUSE, is_rare, pause
from .translate import is_passing
from .wire import SENT, Wire
from .wires import Wires

T = TypeVar("T")

CLOSED = "the engine is closed: use it inside `async with engine`"


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: StoreError | None = None
    unanswered: bool = False


class Link:
    """Everything that talks to the server talks through one of these; one a process is enough."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        timeout: float = 5.0,
        connect_timeout: float = 5.0,
        name: str = "engine",
        tls: dict[str, Any] | None = None,
    ) -> None:
        self._address = Address(url, timeout=connect_timeout, name=name, tls=tls or {})
        self._clock = clock
        self._doors: dict[str, Door] = {}
        self._wires: dict[str, Wires] = {}
        self._closed = False
        self.allowed = {"rights"}
        """Scripts whose commands our user is known to have the right to"""
        self.timeout = timeout
        """Seconds a call may wait for its answer."""
        self._connect_timeout = connect_timeout
        self.where = redact_url(url).partition("?")[0]
        """The server's address as it may be shown."""

    def __repr__(self) -> str:
        return f"<Link {self.where} wires={sum(map(len, self._wires.values()))}>"

    @property
    def is_cluster(self) -> bool:
        """True when queues live on several servers."""
        return self._address.is_cluster

    def new_wire(self, queue: str = "", timeout: float | None = None) -> Wire:
        """A wire of the caller's own, for calls that block; the caller drops it."""
        key = self._server_of(queue)
        door = self._doors.get(key)
        if door is None:
            door = self._doors[key] = Door(self._clock)
        return Wire(
            lambda: self._address.dial(queue),
            self.where,
            door,
            timeout=self.timeout if timeout is None else timeout,
            connect_timeout=self._connect_timeout,
        )

    def _server_of(self, queue: str) -> str:
        """What stands for the server of that queue: in a cluster each may have another."""
        return queue if self._address.is_cluster else ""

    async def call(self, *args: Any, queue: str = "") -> Any:
        """One command, once. Errors as `Wire.call`."""
        wires = self._wires_to(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.call(*args)
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    async def run(self, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once. Errors as `Wire.call`."""
        wires = self._wires_to(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.run(name, prefix, *args)
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    async def run_confirmed(self, replicas: int, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once, answered when so many replicas have what it wrote. Errors as `Wire.run_confirmed`."""
        wires = self._wires_to(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.run_confirmed(replicas, name, prefix, *args)
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    def is_up(self, queue: str) -> bool:
        """True when a call would leave at once, over a connection that nobody uses."""
        wires = self._wires.get(self._server_of(queue))
        return wires is not None and wires.is_up

    def _wires_to(self, queue: str) -> Wires:
        if self._closed:
            raise EngineClosed(CLOSED)
        server = self._server_of(queue)
        wires = self._wires.get(server)
        if wires is None:
            wires = self._wires[server] = Wires(functools.partial(self.new_wire, queue))
        return wires

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
            known = tries.last or next((door.trouble for door in self._doors.values() if door.trouble is not None), None)
            if known is not None:
                raise copy.copy(known) from cut
            raise StoreUnreachable(f"{self.where} can't be reached within {timeout:.3g} s: is the server running?") from cut
        except StoreError as error:
            # a refusal by the server says nothing of the earlier tries; one by the script does, which knows what it has done
            by_server = is_passing(error) or isinstance(error, (StoreFull, StoreDenied))
            if tries.unanswered and by_server and not isinstance(error, StoreUnanswered):
                raise StoreUnanswered(f"{error} (an earlier try may have taken effect)") from error
            raise

    async def _repeat(
        self,
        attempt: Callable[[], Awaitable[T]],
        deadline_mono: float | None,
        on_trouble: Callable[[StoreError], None] | None,
        tries: _Tries,
    ) -> T:
        while True:
            try:
                return await attempt()
            except StoreError as error:
                tries.count += 1
                tries.last = error
                tries.unanswered = tries.unanswered or isinstance(error, StoreUnanswered)
                wait = pause(tries.count, error, self._clock.random())
                if deadline_mono is None:
                    worth = is_passing(error) or isinstance(error, StoreDenied)
                else:  # who has little time left asks sooner: a server that is back in time is not missed
                    left = deadline_mono - self._clock.mono()
                    worth = is_passing(error) and not is_rare(error) and left > 2 * FIRST_PAUSE
                    wait = min(wait, left / 2)
                if not worth:
                    raise
                if on_trouble is not None:
                    on_trouble(error)
            await self._clock.sleep(wait)

    async def close(self) -> None:
        """Drop every connection; later calls raise EngineClosed."""
        self._closed = True
        for wires in self._wires.values():
            await wires.close(EngineClosed(CLOSED))
