"""What a workload is, and what several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..contender import Contender
from ..environments import CannotRun
from ..ground import POOL, Ground
from ..processes import Program, Usage
from ..results import Metric, Readings
from ..servers import Gauge, Server


class Workload(Protocol):
    """A workload."""

    @property
    def name(self) -> str:
        """What `--workloads` calls it."""

    @property
    def title(self) -> str:
        """What a reader calls it."""

    @property
    def text(self) -> str:
        """How it is measured, for the report."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a run gives."""

    @property
    def is_waiting(self) -> bool:
        """It mostly waits, so that all contenders go side by side."""

    @property
    def has_runs_at_once(self) -> bool:
        """And all runs of them too: it waits for minutes."""

    def run(self, contender: Contender, ground: Ground) -> Readings:
        """One run. Raises CannotRun with the reason."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Server and worker at one instant."""

    gauge: Gauge
    usage: Usage


def snapshot(server: Server, program: Program) -> Snapshot:
    """Both, now."""
    return Snapshot(server.gauge(), program.usage())


def refuse(contender: Contender, workload: str, pool: int = 0) -> None:
    """Raise CannotRun where the contender's driver said that it can't."""
    if workload in contender.description.refuses:
        raise CannotRun(contender.description.refuses[workload])
    if pool > contender.description.most_pool:
        raise CannotRun(f"a pool of {pool} would be {pool} processes")


@contextmanager
def ready_worker(contender: Contender, ground: Ground, server: Server, file: Path) -> Iterator[Program]:
    """A worker that has run a first job. Few are started at a time: dozens at once would starve one another."""
    ground.starting.acquire()
    is_starting = True
    try:
        with contender.worker(server, POOL, file) as program:
            contender.wait_ready(server, program, file)
            ground.starting.release()
            is_starting = False
            yield program
    finally:
        if is_starting:
            ground.starting.release()
