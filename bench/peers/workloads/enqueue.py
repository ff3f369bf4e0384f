"""Enqueue: one awaited call after the other, and in bulk; what a waiting job takes in the server's memory."""

from __future__ import annotations

import time

from ..contender import Contender
from ..ground import Ground
from ..results import Metric, Readings
from .base import refuse

WARM = 200


class Enqueue:
    """Nobody works meanwhile."""

    name = "enqueue"
    title = "Enqueue"
    text = (
        "One process adds jobs of some 280 bytes to a fresh server without a worker: first each call awaited before the next, "
        "then by the library's own bulk call (1,000 payloads a call); where it has none, by single calls side by side (asyncio) "
        "or in a row. "
        "Bytes are the server's used memory, buffers left out, divided by the jobs that wait; the payload is in them."
    )
    metrics = (
        Metric("one", "one by one", "jobs/s", "more", is_main=True),
        Metric("bulk", "in bulk", "jobs/s", "more", is_main=True),
        Metric("one_commands", "commands a job, one by one", "", "less"),
        Metric("one_reads", "round trips a job, one by one", "", "less"),
        Metric("bulk_commands", "commands a job, bulk", "", "less"),
        Metric("bulk_server", "server CPU a job, bulk", "us", "less"),
        Metric("bytes", "a waiting job", "bytes", "less", is_main=True),
    )
    is_waiting = False
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One server for all; the first jobs only warm it up."""
        refuse(contender, self.name)
        scale = ground.scale
        with ground.server() as (server, _):
            contender.command(server, "enqueue", how="bulk", count=WARM)
            start = server.gauge()
            one = contender.command(server, "enqueue", how="one", count=scale.enqueue_one, warm=WARM)
            between = server.gauge()
            bulk = contender.command(server, "enqueue", how="bulk", count=scale.enqueue_bulk, warm=WARM)
            time.sleep(1.1)  # the append-only file's buffers are written out once a second
            end = server.gauge()
        ones, bulks = scale.enqueue_one + WARM, scale.enqueue_bulk + WARM
        return {
            "one": one["count"] / one["seconds"],
            "bulk": bulk["count"] / bulk["seconds"],
            "one_commands": (between.commands - start.commands) / ones,
            "one_reads": (between.reads - start.reads) / ones,
            "bulk_commands": (end.commands - between.commands) / bulks,
            "bulk_server": (end.cpu_seconds - between.cpu_seconds) / bulks * 1e6,
            "bytes": (end.data_bytes - start.data_bytes) / (ones + bulks),
        }
