"""Delayed: jobs due at instants spread over some seconds; how late their handlers start, and whether any was early."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .. import records
from ..contender import Contender
from ..environments import CannotRun
from ..ground import POOL, Ground
from ..results import Metric, Readings
from ..tables import OURS
from .base import refuse

FORGIVEN_MS = 1.0
"""By how much the others may be early: some know whole milliseconds alone. We promise that no job is."""


def early(late_ms: Sequence[float], name: str) -> int:
    """How many of these jobs of that contender began too early."""
    forgiven = 0.0 if name == OURS else FORGIVEN_MS
    return sum(one < -forgiven for one in late_ms)


class Delayed:
    """A ready worker; all jobs are enqueued before the first is due."""

    name = "delayed"
    title = "Delayed jobs"
    text = (
        "Jobs are enqueued with due instants spread evenly, all before the first is due, while a worker (pool of 5) is up. "
        "Lateness is from the due instant to the handler's start; early is any start before it, of the others "
        "one by more than a millisecond. Where an interface takes only whole milliseconds or seconds, the instant asked for is "
        "rounded up."
    )
    metrics = (
        Metric("p50", "late p50", "ms", "less", is_main=True),
        Metric("p99", "late p99", "ms", "less", is_main=True),
        Metric("early", "early", "jobs", "less"),
    )
    is_waiting = False
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One batch."""
        refuse(contender, self.name, POOL)
        scale = ground.scale
        with ground.server() as (server, file), contender.worker(server, POOL, file, scheduler=True) as program:
            contender.wait_ready(server, program, file)
            sent = contender.command(
                server, "delayed", count=scale.delayed_jobs, over=scale.delayed_over, lead=scale.delayed_lead
            )
            deadline = time.monotonic() + sent["spare_s"] + scale.delayed_over + scale.patience
            while len(late := records.late_ms(records.read(file))) < scale.delayed_jobs and time.monotonic() < deadline:
                time.sleep(0.25)
            found, now_ns = records.read(file), time.time_ns()
        if not late:
            raise CannotRun(f"no delayed job ran within {scale.patience:.0f} s of the last one's instant")
        notes = [contender.description.notes.get(self.name, ""), records.tally(found, scale.delayed_jobs)]
        if sent["spare_s"] < 0:
            notes.append(f"its enqueue calls took {-sent['spare_s']:.1f} s longer than there was before the first was due")
        note = "; ".join(filter(None, notes))
        ran = {record.seq for record in found}
        gap_ns = scale.delayed_over * 1e9 / scale.delayed_jobs
        missing = [(now_ns - sent["first_ns"] - seq * gap_ns) / 1e6 for seq in range(scale.delayed_jobs) if seq not in ran]
        return {
            "p50": records.percentile_reading(late, missing, 0.5, note),
            "p99": records.percentile_reading(late, missing, 0.99, note),
            "early": float(early(late, contender.name)),
        }
