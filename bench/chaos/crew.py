"""Crew: the worker processes of a run, each brought back when it ends, and the producers beside them.

Faults strike the oldest worker that nobody else strikes: one that is still importing would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from bench.stage import ROOT
from engine import Clock

from .journal import JOURNALS, Journal, Record, lines
from .network import spawn
from .producer import Order

RESTART_PAUSE = 0.2
"""Seconds between a worker's end and its successor's start, as a supervisor has it."""
DRAIN = "5s"
PACKING_NS = 50_000_000
"""What ended so shortly before a call reached the proxy may have come too late for it."""


class Ways(Protocol):
    """How processes reach the server: through the proxy, or straight."""

    async def url(self, who: str) -> str:
        """The address for an engine of that name."""

    async def settled(self, who: str) -> dict[str, int]:
        """Queue -> monotonic ns: what had ended in that worker by then is settled."""


def environment(directory: Path, url: str, **more: str) -> dict[str, str]:
    """For a child process: this run's server, our code, and none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_", "CHAOS_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "REDIS_URL": url, "CHAOS_DIR": str(directory), "ENGINE_LOG_FORMAT": "json", **more}


@dataclass(eq=False)
class Member:
    """One worker process, from its start to its end."""

    name: str
    place: str
    """Its listener at the proxy; its successor has the same."""
    process: subprocess.Popen[bytes]
    log: Path
    began_mono: float
    is_expected_to_end: bool = False
    """A fault ends it, or the lab itself."""
    _said: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def has_begun(self) -> bool:
        """It has said that it claims jobs."""
        if not self._said:
            self._said = b'"worker.started"' in self.log.read_bytes()
        return self._said

    @property
    def is_at_work(self) -> bool:
        """It claims jobs, and has not ended."""
        return self.has_begun and self.process.poll() is None


class Crew:
    """So many places, each with a worker process in it, as long as it is entered."""

    def __init__(
        self,
        directory: Path,
        ways: Ways,
        journal: Journal,
        *,
        places: int,
        slots: int,
        clock: Clock,
        settings: Mapping[str, str],
    ) -> None:
        """`slots`: of one process, all its queues together."""
        self.slots = slots
        self._directory = directory
        self._ways = ways
        self._journal = journal
        self._clock = clock
        self._settings = dict(settings)
        self._places = [f"w{i}" for i in range(1, places + 1)]
        self._members: dict[str, Member] = {}
        self._struck: set[str] = set()
        self._started = 0
        self._keepers: list[asyncio.Task[None]] = []
        self._is_over = False
        self.offsets: dict[str, float] = {}
        """Place -> seconds by which the clock of its next worker is off."""
        self.crashed: deque[Member] = deque()
        """Workers that ended by themselves: a job ended its process. The lab writes them down as faults."""
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Crew:
        self._keepers = [asyncio.ensure_future(self._keep(place)) for place in self._places]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for member in self._members.values():
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait()

    @property
    def places(self) -> list[str]:
        """All places."""
        return list(self._places)

    @property
    def at_work(self) -> list[Member]:
        """Those that claim jobs, the oldest first."""
        return sorted((one for one in self._members.values() if one.is_at_work), key=lambda one: one.began_mono)

    async def ready(self, seconds: float) -> None:
        """Wait until all are at work.

        Raises:
            RuntimeError: they are not, in time; the log of one is named.
        """
        deadline = self._clock.mono() + seconds
        while len(self.at_work) < len(self._places):
            if self._clock.mono() > deadline:
                logs = [str(one.log) for one in self._members.values() if not one.is_at_work]
                raise RuntimeError(f"worker processes did not start within {seconds:g} s: see {', '.join(logs)}")
            await self._clock.sleep(0.05)

    @contextlib.asynccontextmanager
    async def victim(self, place: str | None = None, *, seconds: float = 4.0) -> AsyncIterator[Member | None]:
        """The oldest worker at work that no other fault strikes, this fault's own while entered; None when none comes free."""
        deadline = self._clock.mono() + seconds
        while True:
            free = [one for one in self.at_work if one.place not in self._struck and place in (None, one.place)]
            if free or self._clock.mono() > deadline:
                break
            await self._clock.sleep(0.02)
        if not free:
            yield None
            return
        member = free[0]
        self._struck.add(member.place)
        try:
            yield member
        finally:
            self._struck.discard(member.place)

    def kill(self, member: Member) -> None:
        """kill -9."""
        member.is_expected_to_end = True
        member.process.kill()

    def terminate(self, member: Member) -> None:
        """SIGTERM, as a deploy does."""
        member.is_expected_to_end = True
        member.process.terminate()

    async def gone(self, member: Member, seconds: float) -> bool:
        """Wait for its end; False when it takes longer."""
        deadline = self._clock.mono() + seconds
        while member.process.poll() is None:
            if self._clock.mono() > deadline:
                return False
            await self._clock.sleep(0.01)
        return True

    def running(self, member: Member) -> int:
        """How many handlers run in it now, by its own journal."""
        path = self._directory / JOURNALS / f"worker-{member.pid}.ndjson"
        open_: set[str] = set()
        if path.exists():
            for record in lines(path, Record):
                if record.what == "start":
                    open_.add(record.job)
                elif record.what == "end":
                    open_.discard(record.job)
        return len(open_)

    async def may_cost(self, member: Member, settled: Mapping[str, int] | None = None) -> int:
        """How many starts more than one its loss may cost now: its slots, and what has ended and the server does not know yet.
        `settled`: as the proxy had it at an earlier moment."""
        if settled is None:
            settled = await self._ways.settled(member.place)
        path = self._directory / JOURNALS / f"worker-{member.pid}.ndjson"
        ends = [one for one in lines(path, Record) if one.what == "end"] if path.exists() else []
        return self.slots + sum(one.mono_ns > settled.get(one.queue, 0) - PACKING_NS for one in ends)

    async def stop(self, seconds: float) -> None:
        """SIGTERM to all, and none is brought back; what has not ended in time is killed."""
        self._is_over = True
        members = list(self._members.values())
        for member in members:
            member.process.send_signal(signal.SIGCONT)
            self.terminate(member)
        for member in members:
            if not await self.gone(member, seconds):
                self.kill(member)
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(self, place: str) -> None:
        while not self._is_over:
            member = await self._start(place)
            while (code := member.process.poll()) is None:
                await self._clock.sleep(0.02)
            self._journal.note("gone", pid=member.pid, worker=member.name, how=str(code))
            if not member.is_expected_to_end:
                self.crashed.append(member)
                self.ended.set()
            if not self._is_over:
                await self._clock.sleep(RESTART_PAUSE)

    async def _start(self, place: str) -> Member:
        self._started += 1
        name = f"{place}.{self._started}"
        log = self._directory / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        more = {"ENGINE_WORKER_NAME": name, **self._settings}
        if place in self.offsets:
            more["CHAOS_CLOCK_OFFSET"] = str(self.offsets[place])
        command = [sys.executable, "-m", "engine.cli", "--app", "bench.chaos.app:engine", "run", "--drain-timeout", DRAIN]
        url = await self._ways.url(place)
        process = spawn(command, log, environment(self._directory, url, **more))
        member = self._members[place] = Member(name, place, process, log, self._clock.mono())
        self._journal.note("live", pid=member.pid, worker=name)
        return member


@dataclass(eq=False)
class Hand:
    """One producer process."""

    order: Order
    process: subprocess.Popen[bytes]


@dataclass(eq=False)
class Hands:
    """The producer processes; one that a fault killed gets a successor, with numbers and keys of its own."""

    directory: Path
    ways: Ways
    clock: Clock
    template: Order
    """What all have in common."""
    count: int
    room: int = 10_000_000
    """Numbers that each may use up."""
    current: dict[str, Hand] = field(default_factory=dict)
    _started: int = 0

    async def start(self) -> None:
        """Start them all."""
        for i in range(1, self.count + 1):
            await self._launch(f"p{i}", self.template.begin_mono)

    async def _launch(self, place: str, begin_mono: float) -> None:
        self._started += 1
        order = msgspec.structs.replace(
            self.template,
            name=f"{place}.{self._started}",
            url=await self.ways.url(place),
            first=self._started * self.room + 1,
            most=self.room,
            begin_mono=begin_mono,
        )
        command = [sys.executable, "-m", "bench.chaos.producer", msgspec.json.encode(order).decode()]
        log = self.directory / "logs" / f"{order.name}.log"
        log.parent.mkdir(exist_ok=True)
        self.current[place] = Hand(order, spawn(command, log, environment(self.directory, order.url)))

    async def kill(self, place: str) -> int:
        """kill -9, and a successor; the dead one's process id."""
        process = self.current[place].process
        process.kill()
        process.wait()
        await self._launch(place, self.clock.mono())
        return process.pid

    async def finish(self, seconds: float) -> None:
        """SIGTERM; what does not end in time is killed.

        Raises:
            RuntimeError: one ended badly; its log is named.
        """
        for hand in self.current.values():
            hand.process.terminate()
        deadline = self.clock.mono() + seconds
        for hand in self.current.values():
            while (code := hand.process.poll()) is None:
                if self.clock.mono() > deadline:
                    hand.process.kill()
                await self.clock.sleep(0.02)
            if code not in (0, -signal.SIGTERM):  # SIGTERM's own: it had not begun, or had done everything
                raise RuntimeError(f"producer {hand.order.name} ended with {code}: see its log in {self.directory / 'logs'}")
