"""Idle: what a worker without work costs: requests and commands a second, CPU, memory."""

from __future__ import annotations

import time

from ..contender import Contender
from ..ground import POOL, Ground
from ..results import Metric, Readings
from .base import ready_worker, refuse, snapshot

CALM_SECONDS = 3.0
"""After the first job: what is done once at the start is not idling."""


class Idle:
    """A ready worker and an empty queue."""

    name = "idle"
    title = "Idle worker"
    text = (
        "A worker (pool of 5, one queue) with nothing to do: what it asks of the server, and what both use. Requests are the "
        "commands that the worker sends, each by itself even where several come in one round trip, as MONITOR shows them; "
        "commands have those inside scripts in them. 100 % CPU is one core."
    )
    metrics = (
        Metric("requests", "requests a second", "", "less", is_main=True),
        Metric("commands", "commands a second, inside scripts included", "", "less", is_main=True),
        Metric("reads", "round trips a second", "", "less"),
        Metric("worker", "worker CPU", "%", "less", is_main=True),
        Metric("server", "server CPU", "%", "less"),
        Metric("rss", "worker memory", "MB", "less"),
        Metric("connections", "connections", "", "less"),
    )
    is_waiting = True
    has_runs_at_once = False

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One window."""
        refuse(contender, self.name, POOL)
        with ground.server() as (server, file), ready_worker(contender, ground, server, file) as program:
            time.sleep(CALM_SECONDS)
            connections = server.connected()
            with server.watched() as watch:
                before, began = snapshot(server, program), time.monotonic()
                time.sleep(ground.scale.idle_seconds)
                after, seconds = snapshot(server, program), time.monotonic() - began
                requests = watch.requests()
        return {
            "requests": requests / seconds,
            "commands": (after.gauge.commands - before.gauge.commands) / seconds,
            "reads": (after.gauge.reads - before.gauge.reads) / seconds,
            "worker": 100 * (after.usage.cpu_seconds - before.usage.cpu_seconds) / seconds,
            "server": 100 * (after.gauge.cpu_seconds - before.gauge.cpu_seconds) / seconds,
            "rss": after.usage.rss_bytes / 1e6,
            "connections": float(connections),
        }
