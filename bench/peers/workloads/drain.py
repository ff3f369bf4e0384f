"""Drain: how fast a worker gets through no-op jobs that wait for it, and what each job costs server and worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .. import records
from ..contender import READY_SECONDS, Contender
from ..ground import Ground
from ..processes import Program
from ..results import Metric, Reading, Readings
from .base import Snapshot, refuse, snapshot

SETTLE_SECONDS = 0.3
"""After the last handler ended: its acknowledgement belongs to the job."""


class Drain:
    """A backlog, then a worker; measured from the first start of a handler to the last end."""

    is_waiting = False
    has_runs_at_once = False

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self.name = f"drain-{pool}"
        self.title = f"Drain of no-op jobs, pool of {pool}"
        self.text = (
            f"A worker with a pool of {pool} is started on a backlog; the rate is from the first start of a handler to the last "
            "end, over all jobs or as many as were run in the time a drain has. Commands (those inside scripts included), round "
            "trips (reads of the server) and CPU are counted between the first job and the last, children included."
        )
        self.metrics = (
            Metric("rate", "jobs/s", "jobs/s", "more", is_main=True),
            Metric("commands", "commands a job", "", "less", is_main=pool == 5),
            Metric("reads", "round trips a job", "", "less", is_main=pool == 5),
            Metric("worker", "worker CPU a job", "us", "less", is_main=pool == 5),
            Metric("server", "server CPU a job", "us", "less", is_main=pool == 5),
            Metric("rss", "worker memory", "MB", "less", is_main=pool == 5),
            Metric("processes", "processes", "", "less"),
        )

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One drain of a copy of the backlog."""
        refuse(contender, self.name, self.pool)
        jobs = ground.scale.drain_jobs
        drained = drain(contender, ground, ground.backlog(contender, jobs), jobs, self.pool)
        return {"rate": rate(drained.found, jobs, drained.cut_ns), **drained.costs}


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain left: the handlers' records, when it was cut, what a job cost."""

    found: list[records.Record]
    cut_ns: int
    costs: Readings


def drain(contender: Contender, ground: Ground, backlog: Path, jobs: int, pool: int) -> Drained:
    """Start a worker on a copy of the backlog, until all its jobs have run or the time for a drain is up."""
    with ground.server(backlog) as (server, file), contender.worker(server, pool, file) as program:
        contender.wait_records(program, file, 1, READY_SECONDS)
        before = snapshot(server, program)
        done_before = records.count(file)
        _wait(file, jobs, ground.scale.drain_seconds, program)
        found, cut_ns = records.read(file), time.time_ns()
        if len(found) >= jobs:
            time.sleep(SETTLE_SECONDS)
        after = snapshot(server, program)
        done = records.count(file) - done_before
    return Drained(found, cut_ns, costs(before, after, done))


def rate(found: list[records.Record], jobs: int, cut_ns: int) -> Reading:
    """Jobs a second; where they were not all run by then, over the time until the cut."""
    if len(found) < jobs:
        return Reading(records.rate(found, cut_ns), f"{len(found):,} of {jobs:,} jobs in the time it had")
    return Reading(records.rate(found), records.tally(found, jobs))


def _wait(file: Path, jobs: int, seconds: float, program: Program) -> None:
    deadline = time.monotonic() + seconds
    while records.count(file) < jobs and time.monotonic() < deadline and program.exit_code is None:
        time.sleep(0.005)


def costs(before: Snapshot, after: Snapshot, jobs: int) -> Readings:
    """What one job cost between two instants."""
    if jobs <= 0:
        return {name: Reading(None, "too few jobs ran") for name in ("commands", "reads", "worker", "server", "rss", "processes")}
    return {
        "commands": (after.gauge.commands - before.gauge.commands) / jobs,
        "reads": (after.gauge.reads - before.gauge.reads) / jobs,
        "worker": (after.usage.cpu_seconds - before.usage.cpu_seconds) / jobs * 1e6,
        "server": (after.gauge.cpu_seconds - before.gauge.cpu_seconds) / jobs * 1e6,
        "rss": after.usage.rss_bytes / 1e6,
        "processes": float(after.usage.processes),
    }
