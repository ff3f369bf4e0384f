"""Crew: the worker processes of a run, each brought back when it ends.

Faults strike the oldest worker that nobody else strikes: one that is still importing would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import Clock

from .journal import JOURNALS, Journal, Record, lines
from .processes import Ways, environment, spawn

RESTART_PAUSE = 0.2
"""Seconds between a worker's end and its successor's start, as a supervisor has it."""
DRAIN = "5s"
PACKING_NS = 50_000_000
"""What ended so shortly before a call reached the proxy may have come too late for it."""


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
        self.leases: dict[str, float] = {}
        """Place -> lease of its next worker, in seconds, where it is not the run's."""
        self.longest_lease = 0.0
        """Of all that any worker was given in place of the run's."""
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
        lease = self.leases.get(place, 0.0)
        if lease:
            more["CHAOS_LEASE"] = str(lease)
            self.longest_lease = max(self.longest_lease, lease)
        command = [sys.executable, "-m", "engine.cli", "--app", "bench.chaos.app:engine", "run", "--drain-timeout", DRAIN]
        url = await self._ways.url(place)
        process = spawn(command, log, environment(self._directory, url, **more))
        member = self._members[place] = Member(name, place, process, log, self._clock.mono())
        self._journal.note("live", pid=member.pid, worker=name, lease_ms=int(lease * 1000))
        return member
