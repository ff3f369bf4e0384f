"""Drain with ordering keys: a key of its own on every job, and so few keys that most jobs are blocked behind theirs."""

from __future__ import annotations

import time

from .. import records
from ..contender import Contender
from ..environments import CannotRun
from ..ground import POOL, Ground
from ..results import Metric, Reading, Readings
from .base import refuse
from .drain import drain, rate
from .enqueue import WARM

VARIANTS = {"own": "a key each", "shared": "shared keys"}
FLUSH_SECONDS = 1.1
"""The append-only file's buffers are written out once a second."""
_COSTS = {"commands": ("commands a job", ""), "worker": ("worker CPU a job", "us"), "server": ("server CPU a job", "us")}


def _metrics(variant: str, said: str) -> tuple[Metric, ...]:
    return (
        Metric(f"{variant}_rate", said, "jobs/s", "more", is_main=True),
        *(Metric(f"{variant}_{cost}", f"{title}, {said}", unit, "less") for cost, (title, unit) in _COSTS.items()),
        Metric(f"{variant}_bytes", f"a waiting job, {said}", "bytes", "less"),
    )


class DrainKeys:
    """Two backlogs, drained as `drain-5` does it."""

    name = "drain-keys"
    title = "Drain of no-op jobs with ordering keys, pool of 5"
    text = (
        "Jobs of one ordering key run one after the other, in the order of their enqueueing; the handlers' records are checked "
        "for it. A key each: every job has one of its own, so that nothing waits and only the keeping is paid for. Shared keys: "
        "the jobs go round over a fourth as many keys, so that three of four are blocked at first. Measured as the drain without "
        "keys is, whose fastest peer stands against it in the summary. The other libraries as installed here have no ordering "
        "keys (BullMQ sells groups in its Pro edition; docket bounds how many jobs of an argument run at once, in no promised "
        "order). Bytes are counted as those of `enqueue` are, over all waiting jobs, the blocked ones among them."
    )
    metrics = tuple(metric for variant, said in VARIANTS.items() for metric in _metrics(variant, said))
    is_waiting = False
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """Both variants."""
        refuse(contender, self.name, POOL)
        if not contender.description.has_keys:
            raise CannotRun("it has no ordering keys")
        jobs = ground.scale.drain_jobs
        found: Readings = {}
        for variant, keys in (("own", jobs), ("shared", max(jobs // ground.scale.jobs_a_key, 1))):
            found[f"{variant}_bytes"] = _bytes(contender, ground, jobs, keys)
            drained = drain(contender, ground, ground.backlog(contender, jobs, keys=keys), jobs, POOL)
            reading = rate(drained.found, jobs, drained.cut_ns)
            wrong = records.disorder(drained.found, keys)
            found[f"{variant}_rate"] = Reading(reading.value, "; ".join(filter(None, (reading.note, wrong))))
            found.update({f"{variant}_{cost}": drained.costs[cost] for cost in _COSTS})
        return found


def _bytes(contender: Contender, ground: Ground, jobs: int, keys: int) -> float:
    """Of the server's memory, a job; jobs without a key come first, so that what is there once is there."""
    with ground.server() as (server, _):
        contender.command(server, "enqueue", how="bulk", count=WARM)
        start = server.gauge()
        contender.command(server, "enqueue", how="bulk", count=jobs, keys=keys)
        time.sleep(FLUSH_SECONDS)
        return (server.gauge().data_bytes - start.data_bytes) / jobs
