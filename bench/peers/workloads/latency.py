"""Latency: from the enqueue call to the handler's start, at a steady rate that never waits for answers (open loop)."""

from __future__ import annotations

import time
from pathlib import Path

from .. import records
from ..contender import Contender
from ..ground import POOL, Ground
from ..results import Metric, Reading, Readings
from .base import refuse

RATES = (200, 1000)
SENDER_LATE_MS = 20.0
"""A sender that is later than this with one call in a hundred is itself the limit, and the note says so."""


class Latency:
    """A ready worker and a sender, two processes; both rates on the same worker."""

    name = "latency"
    title = "Latency, open loop"
    text = (
        "A sender of its own process enqueues at a steady rate without waiting for answers; latency is from just before the "
        "enqueue call to the handler's start, pool of 5, worker up and warmed by 100 jobs."
    )
    metrics = tuple(
        Metric(f"{what}_{rate}", f"{what} at {rate:,}/s", "ms", "less", is_main=True) for rate in RATES for what in ("p50", "p99")
    )
    is_waiting = False
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """Both rates."""
        refuse(contender, self.name, POOL)
        found: Readings = {}
        patience = ground.scale.patience
        with ground.server() as (server, file), contender.worker(server, POOL, file) as program:
            contender.wait_ready(server, program, file)
            for rate in RATES:
                skip = records.count(file)
                sent = contender.command(server, "load", rate=rate, seconds=ground.scale.load_seconds)
                waited = _wait(file, skip, sent["count"], patience)
                found.update(_readings(rate, records.late_ms(records.read(file, skip)), sent, waited))
                if waited >= patience:
                    for later in RATES[RATES.index(rate) + 1 :]:
                        gone = Reading(None, f"it could not hold {rate:,}/s")
                        found.update({f"p50_{later}": gone, f"p99_{later}": gone})
                    break
        return found


def _wait(file: Path, skip: int, jobs: int, patience: float) -> float:
    """Seconds waited until all measured jobs have started."""
    began = time.monotonic()
    while len(records.late_ms(records.read(file, skip))) < jobs:
        if time.monotonic() - began > patience:
            break
        time.sleep(0.1)
    return time.monotonic() - began


def _readings(rate: int, late: list[float], sent: dict[str, float], waited: float) -> Readings:
    """Percentiles, those that never started counted as later than we waited."""
    jobs = int(sent["count"])
    notes = []
    if len(late) < jobs:
        notes.append(f"{jobs - len(late):,} of {jobs:,} jobs had not started {waited:.0f} s after the last enqueue")
    if sent["late_ms"] > SENDER_LATE_MS:
        notes.append(f"its own enqueue call could not hold the rate: {jobs / sent['seconds']:.0f}/s were sent")
    missing = [waited * 1000] * (jobs - len(late))
    note = "; ".join(notes)
    return {
        f"p50_{rate}": records.percentile_reading(late, missing, 0.5, note),
        f"p99_{rate}": records.percentile_reading(late, missing, 0.99, note),
    }
