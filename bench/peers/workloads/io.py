"""I/O: jobs that wait 10 ms, as calls to a provider do, at a pool of 5: how close to the ideal 500 a second."""

from __future__ import annotations

import time

from .. import records
from ..contender import READY_SECONDS, Contender
from ..ground import POOL, Ground
from ..results import Metric, Readings
from .base import refuse
from .drain import rate
from .raw import HOLD_MS

IDEAL = POOL * 1000 / HOLD_MS
LEAST_SECONDS = 3.0
"""A drain is watched for twice the ideal time, but some engines poll only every half second."""


class Io:
    """A backlog of waiting jobs that each hold a slot for 10 ms."""

    name = "io"
    title = "Jobs of 10 ms I/O, pool of 5"
    text = (
        "A backlog of jobs that each sleep 10 ms (asyncio.sleep, time.sleep in threads and processes), pool of 5. The ideal is "
        f"{IDEAL:.0f} jobs/s; what is missing went into fetching, starting and settling while a slot stood empty, and into the "
        "event loop's own timers: five bare coroutines without any engine, measured before each round, stand in the RAW table."
    )
    metrics = (
        Metric("rate", "jobs/s", "jobs/s", "more"),
        Metric("efficiency", "of the ideal", "%", "more", is_main=True),
    )
    is_waiting = False
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One drain."""
        refuse(contender, self.name, POOL)
        jobs = ground.scale.io_jobs
        backlog = ground.backlog(contender, jobs, HOLD_MS)
        with ground.server(backlog) as (server, file), contender.worker(server, POOL, file) as program:
            contender.wait_records(program, file, 1, READY_SECONDS)
            deadline = time.monotonic() + max(2 * jobs / IDEAL, LEAST_SECONDS)
            while records.count(file) < jobs and time.monotonic() < deadline:
                time.sleep(0.005)
            found, cut_ns = records.read(file), time.time_ns()
        reading = rate(found, jobs, cut_ns)
        return {"rate": reading, "efficiency": 100 * (reading.value or 0.0) / IDEAL}
