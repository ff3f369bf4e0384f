"""Kill: seconds from kill -9 of a worker to its job running again in another, on an idle queue, with default timings."""

from __future__ import annotations

import time

from .. import records
from ..contender import READY_SECONDS, Contender
from ..environments import CannotRun
from ..ground import POOL, Ground
from ..results import Metric, Reading, Readings
from .base import ready_worker, refuse

HOLD_MS = 3_600_000
"""The job is still running when its worker is killed."""


class Kill:
    """One job, two workers, one after the other."""

    name = "kill"
    title = "After kill -9 of a worker"
    text = (
        "A worker runs one long job and is killed with all its processes; another is started at once on the same server; nothing "
        "else is enqueued. Seconds from the kill to the job's next start, with every library's own timings."
    )
    metrics = (Metric("seconds", "until the job runs again", "s", "less", is_main=True),)
    is_waiting = True
    has_runs_at_once = True

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One kill; waits up to the limit."""
        refuse(contender, self.name, POOL)
        limit = ground.scale.kill_limit
        with ground.server() as (server, file):
            with ready_worker(contender, ground, server, file) as program:
                contender.command(server, "enqueue", how="one", count=1, hold_ms=HOLD_MS)
                contender.wait_records(program, file, 2, READY_SECONDS)
                time.sleep(1)
                killed_ns = time.time_ns()
            deadline = time.monotonic() + limit
            with contender.worker(server, POOL, file) as program:
                while len(found := records.read(file)) < 2 and time.monotonic() < deadline:
                    if program.exit_code is not None:
                        raise CannotRun(f"the second worker ended with code {program.exit_code}: {program.last_words()}")
                    time.sleep(0.05)
        if len(found) < 2:
            return {"seconds": Reading(limit, "it had not run again by then", is_floor=True)}
        return {"seconds": (found[1].started_ns - killed_ns) / 1e9}
