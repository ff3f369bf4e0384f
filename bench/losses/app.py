"""The application under loss: queue `kept`, which nobody works, and `worked`, whose handler writes down that it ran.

`engine --app bench.losses.app:engine run --queue worked` with LOSSES_RUN naming the run's directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.chaos.journal import Journal
from engine import Engine, Job
from engine.events import DataLoss, JobCompleted

KEPT, WORKED = "kept", "worked"
LEASE = 2.0
"""Seconds; short, so that what a failover left in the air comes back while one watches."""
HOLD = 0.005
"""Seconds a job lasts."""


class Payload(msgspec.Struct, frozen=True):
    """As large as a small inbound message."""

    n: int
    content: str = "x" * 200


def build(environ: Mapping[str, str]) -> Engine:
    """The engine; workers of it write to the run's directory."""
    engine = Engine()
    journal = Journal(Path(environ["LOSSES_RUN"]), "worker") if "LOSSES_RUN" in environ else None
    kept = engine.queue(KEPT)
    worked = engine.queue(WORKED, lease=LEASE, keep_completed=1_000_000)

    @kept.handler("count")
    async def count(payload: Payload, job: Job) -> None:
        """Nobody works this queue: what was acknowledged can be counted in it."""

    @worked.handler("run")
    async def run(payload: Payload, job: Job) -> None:
        if journal is not None:
            journal.note("start", n=payload.n, job=job.id, attempt=job.attempt)
            await engine.clock.sleep(HOLD)
            journal.note("end", n=payload.n, job=job.id, attempt=job.attempt, how="ok")

    if journal is not None:
        engine.events.subscribe(lambda event: journal.note("told", job=event.id, how="recorded"), JobCompleted)
        engine.events.subscribe(lambda event: journal.note("told", queue=event.queue, how="data loss"), DataLoss)
    return engine


engine = build(os.environ)
