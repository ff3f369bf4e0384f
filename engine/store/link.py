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
from typing import Any, TypeVar

import msgspec

from ..clock import Clock
from ..config import redact_url
from ..errors import EngineClosed, StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnanswered, StoreUnreachable
from .address import Address
from .door import Door
from .nodes import Nodes, slot_of
from .patience import FIRST_PAUSE, is_rare, pause
from .scripts import script
from .translate import is_passing, meaning_of
from .wire import SENT, Dial, Wire
from .wires import Wires

T = TypeVar("T")

CLOSED = "the engine is closed: use it inside `async with engine`"


class _Tries(msgspec.Struct):
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
        self._address = address = Address(url, timeout=connect_timeout, name=name, tls=tls or {})
        self._clock = clock
        self._doors: dict[str, Door] = {}
        self._wires: dict[str, Wires] = {}
        self._closed = False
        self.allowed = {"rights"}
        """Scripts whose commands our user is known to have the right to"""
        self.timeout = timeout
        """Seconds a call may wait for its answer."""
        self.connects = 0
        """How often somebody let us in. While it stays the same, whoever answers is who answered before: a connection does not
        outlive its server."""
        self._connect_timeout = connect_timeout
        self.where = redact_url(url).partition("?")[0]
        """The server's address as it may be shown."""
        self._nodes = Nodes(address, self.where, clock=clock, timeout=connect_timeout) if address.is_cluster else None

    def __repr__(self) -> str:
        return f"<Link {self.where} wires={sum(map(len, self._wires.values()))}>"

    @property
    def is_cluster(self) -> bool:
        """True when queues live on several servers."""
        return self._address.is_cluster

    def new_wire(self, queue: str = "", timeout: float | None = None) -> Wire:
        """A wire of the caller's own, for calls that block; the caller drops it. It follows the queue to whoever has it."""
        if self._nodes is None:
            return self._wire("", self._address.dial, timeout)
        return self._wire(queue, functools.partial(self._address.dial, slot_of(queue)), timeout)

    def _wire(self, server: str, dial: Dial, timeout: float | None = None) -> Wire:
        door = self._doors.get(server)
        if door is None:
            door = self._doors[server] = Door(self._clock)
        return Wire(
            dial,
            self.where,
            door,
            timeout=self.timeout if timeout is None else timeout,
            connect_timeout=self._connect_timeout,
            on_connect=self._count_connect,
        )

    def _count_connect(self) -> None:
        self.connects += 1

    async def call(self, *args: Any, queue: str = "") -> Any:
        """One command, once. Errors as `Wire.call`."""
        wires = self._wires_to(queue)
        if wires is None:
            wires = await self._find_wires(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.call(*args)
        except StoreError as error:
            self._doubt(error)
            raise
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    async def run(self, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once. Errors as `Wire.call`."""
        wires = self._wires_to(queue)
        if wires is None:
            wires = await self._find_wires(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.run(name, prefix, *args)
        except StoreError as error:
            self._doubt(error)
            raise
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    async def run_confirmed(self, replicas: int, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script, once, answered when so many replicas have what it wrote. Errors as `Wire.run_confirmed`."""
        wires = self._wires_to(queue)
        if wires is None:
            wires = await self._find_wires(queue)
        wire = wires.take() or await wires.wait()
        try:
            if wire.is_over:
                await wire.drop()
            return await wire.run_confirmed(replicas, name, prefix, *args)
        except StoreError as error:
            self._doubt(error)
            raise
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    async def run_at_once(
        self,
        name: str,
        queue: str,
        prefix: str,
        *args: Any,
        timeout: float,
        replicas: int = 0,
        since: int | None = None,
    ) -> Any:
        """One request, answered within `timeout` seconds: no connection is made for it, nor waited for, and a script that the
        server does not have is not loaded. `replicas`: answered when so many have what it wrote. `since`: wait for a connection
        that comes free, but be sent only while `connects` is that.

        Raises:
            StoreUnreachable: no such connection; nothing was sent.
            StoreUnanswered, StoreRefused: as `Wire.call`, `Wire.run_confirmed`.
        """
        wires = self._wires_to(queue)
        wire = None if wires is None else wires.take_up()
        if wires is not None and wire is None and since is not None:
            wire = wires.take() or await wires.wait()
            if not wire.is_up or self.connects != since:
                wires.give(wire)
                wire = None
        if wires is None or wire is None:
            raise StoreUnreachable(f"no connection to {self.where} is up and free")
        try:
            if replicas:
                return await wire.run_confirmed(replicas, name, prefix, *args, timeout=timeout)
            return await wire.call("EVALSHA", script(name).sha, 1, prefix, *args, timeout=timeout)
        except StoreError as error:
            self._doubt(error)
            raise
        finally:
            wires.give(wire)
            if self._closed:
                await wire.drop()

    def _wires_to(self, queue: str) -> Wires | None:
        """Those that calls about this queue share; None while it is not known which node of the cluster has it."""
        if self._closed:
            raise EngineClosed(CLOSED)
        node = "" if self._nodes is None else self._nodes.of(queue)
        if node is None:
            return None
        wires = self._wires.get(node)
        return self._wires_of(node) if wires is None else wires

    async def _find_wires(self, queue: str) -> Wires:
        assert self._nodes is not None, "one server needs no looking for"
        node = await self._nodes.find(queue)
        if self._closed:
            raise EngineClosed(CLOSED)
        return self._wires_of(node)

    def _wires_of(self, node: str) -> Wires:
        wires = self._wires.get(node)
        if wires is None:
            dial = functools.partial(self._address.dial_node, node) if node else self._address.dial
            wires = self._wires[node] = Wires(functools.partial(self._wire, node, dial))
        return wires

    def _doubt(self, error: StoreError) -> None:
        """In a cluster: does this error mean that the queue may be at another node now?"""
        if self._nodes is not None and (not isinstance(error, StoreRefused) or meaning_of(error).elsewhere):
            self._nodes.forget()

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
