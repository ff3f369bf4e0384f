"""Lab: what a fault can reach, and the book in which it is written down."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine import Clock

from .crew import Crew
from .hands import Hands
from .journal import FAULTS, Fault, Pen
from .network import Network
from .schedule import Planned
from .servers import Server
from .watched import WatchedServer


class NotInjected(Exception):
    """The fault was due, and could not be done; the sentence says why. It is reported, and not counted."""


class Book:
    """`faults.ndjson`: each fault when it begins and when it has ended."""

    def __init__(self, directory: Path) -> None:
        self._pen = Pen(directory / FAULTS)
        self.last: dict[int, Fault] = {}
        self._extra = 1_000_000

    def write(self, fault: Fault) -> Fault:
        """Write it down, as it is now."""
        self._pen.put(fault)
        self.last[fault.i] = fault
        return fault

    def begin(self, i: int, kind: str, **facts: object) -> Fault:
        """A fault begins now."""
        return self.write(Fault(i=i, kind=kind, begin_mono_ns=time.monotonic_ns(), **facts))  # type: ignore[arg-type]  # fields of Fault

    def end(self, fault: Fault, **facts: object) -> Fault:
        """It has ended now."""
        return self.write(msgspec.structs.replace(fault, end_mono_ns=time.monotonic_ns(), **facts))

    def by_a_job(self, **facts: object) -> Fault:
        """What a job did to its worker process: not of the schedule, numbered apart."""
        self._extra += 1
        return self.write(Fault(i=self._extra, **facts))  # type: ignore[arg-type]  # fields of Fault

    @property
    def injected(self) -> int:
        """How many of the schedule were injected so far."""
        return sum(fault.injected for fault in self.last.values() if fault.i < 1_000_000)

    def close(self) -> None:
        """Close the file."""
        self._pen.close()


@dataclass(eq=False)
class Lab:
    """A run under way."""

    clock: Clock
    server: Server | WatchedServer
    proxy: Network | None
    crew: Crew
    hands: Hands
    book: Book
    lease: float
    server_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One fault of the server at a time."""
    network_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One fault of the network at a time."""

    @property
    def network(self) -> Network:
        """The proxy. NotInjected in a run without one."""
        if self.proxy is None:
            raise NotInjected("this run has no proxy")
        return self.proxy

    @property
    def single(self) -> Server:
        """The one server. NotInjected in a run with several."""
        if not isinstance(self.server, Server):
            raise NotInjected("this run has several servers")
        return self.server

    @property
    def watched(self) -> WatchedServer:
        """The servers that Sentinel watches. NotInjected in a run without."""
        if not isinstance(self.server, WatchedServer):
            raise NotInjected("this run has no Sentinel")
        return self.server


Inject = Callable[[Lab, Planned], Awaitable[None]]


def chance(planned: Planned) -> random.Random:
    """What a fault draws from, beside its duration."""
    return random.Random(planned.draw)
