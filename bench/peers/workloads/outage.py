"""Outage: Redis is down for some seconds under an idle worker. Does it survive, does it spin, when does it work again?"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from .. import records
from ..contender import Contender
from ..environments import CannotRun
from ..ground import POOL, Ground
from ..results import Metric, Reading, Readings
from .base import ready_worker, refuse

PROBE = 1
"""The job that asks whether the worker works again."""


AFTER_SECONDS = 0.3
"""The server is up again in less than that."""


class Outage:
    """A ready worker; its server is stopped, and started again with its data on the same port."""

    name = "outage"
    title = "Redis down"
    text = (
        "The server under an idle worker is stopped for some seconds and started again. CPU is the worker's over the outage, "
        "100 % being one core. Seconds are from the server's first answer to the start of a job that a waiting process enqueues "
        f"{AFTER_SECONDS} s later."
    )
    metrics = (
        Metric("cpu", "CPU during the outage", "%", "less", is_main=True),
        Metric("back", "works again after", "s", "less", is_main=True),
    )
    is_waiting = True
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One outage."""
        refuse(contender, self.name, POOL)
        scale = ground.scale
        with ground.server() as (server, file), ready_worker(contender, ground, server, file) as program:
            time.sleep(1)
            server.stop()
            before, began = program.usage(), time.monotonic()
            time.sleep(scale.down_seconds / 2)
            with ThreadPoolExecutor(1) as aside:
                at = round(time.time() + scale.down_seconds / 2 + AFTER_SECONDS, 3)
                sent = aside.submit(contender.command, server, "enqueue", how="one", count=1, first=PROBE, not_before=at)
                time.sleep(scale.down_seconds / 2)
                after, seconds = program.usage(), time.monotonic() - began
                died = program.exit_code
                server.start()
                up_ns = time.time_ns()
                sent.result()
            cpu = 100 * (after.cpu_seconds - before.cpu_seconds) / seconds
            if died is not None:
                gone = f"the worker died, exit code {died}: {program.last_words()}"
                return {"cpu": Reading(None, gone), "back": Reading(None, gone)}
            deadline = time.monotonic() + scale.back_limit
            while not (found := records.read(file)) and time.monotonic() < deadline:
                if program.exit_code is not None:
                    raise CannotRun(f"the worker died, exit code {program.exit_code}: {program.last_words()}")
                time.sleep(0.02)
        if not found:
            return {"cpu": cpu, "back": Reading(scale.back_limit, "it ran nothing until then", is_floor=True)}
        return {"cpu": cpu, "back": (found[0].started_ns - up_ns) / 1e9}
