"""Outcome: what the lab itself saw of a run, and the faults that came from jobs instead of the schedule."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from .crew import Member
from .journal import JOURNALS, Record, lines
from .lab import Lab

CRASHES = {"exits": ("exit by a job", 3), "poison": ("kill by a job", -9)}
"""Kind of a job that ends its own process -> how that fault is called, and the exit code."""
NOT_STARTED = (4, 69, 75)
"""Exit codes of a worker whose server refuses, is away, or does not answer while it starts."""


class Outcome(msgspec.Struct, kw_only=True):
    """What the lab itself saw. What is right and wrong about the jobs, the checker says."""

    directory: Path
    versions: dict[str, str]
    slots: int
    drained_s: float | None = None
    bound_s: float = 0.0
    bound_why: str = ""
    odd_ends: list[str] = []
    """Workers that ended, and neither a fault nor a job of the run ended them."""
    not_started: int = 0
    """Workers that ended at their start since the server was away or refused them."""
    left: dict[str, int] = {}
    """Jobs that were not settled when draining was given up."""


class SelfMade:
    """Notices what jobs did to their worker processes, and writes it down as faults."""

    def __init__(self, directory: Path, lab: Lab, outcome: Outcome) -> None:
        self._directory = directory
        self._lab = lab
        self._outcome = outcome

    async def watch(self) -> None:
        """Write down crashes as they come, until cancelled."""
        while True:
            await self._lab.crew.ended.wait()
            self._lab.crew.ended.clear()
            await self.note_crashes()

    async def note_crashes(self) -> None:
        """Write down those that came since."""
        crew = self._lab.crew
        while crew.crashed:
            await self._note_crash(crew.crashed.popleft())

    async def _note_crash(self, member: Member) -> None:
        """Write down whose job ended it; what ended without any is odd."""
        code = member.process.returncode
        path = self._directory / JOURNALS / f"worker-{member.pid}.ndjson"
        starts = [one for one in lines(path, Record) if one.what == "start"] if path.exists() else []
        last = next((one for one in reversed(starts) if one.kind in CRASHES), None)
        if code in NOT_STARTED and not member.has_begun:
            # the server was away or full: whoever keeps workers alive tries again, as the crew does
            self._outcome.not_started += 1
            return
        if last is None or code != CRASHES[last.kind][1]:
            self._outcome.odd_ends.append(f"{member.name} ended with {code} by itself; its log: {member.log}")
            return
        self._lab.book.by_a_job(
            kind=CRASHES[last.kind][0], begin_mono_ns=last.mono_ns, pids=(member.pid,), loses_lease=True,
            entitles=await self._lab.crew.may_cost(member), note=last.job, end_mono_ns=time.monotonic_ns(),
        )  # fmt: skip
