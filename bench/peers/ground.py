"""Ground: where workloads are run: fresh servers in one temporary directory, and backlogs that are filled once and copied."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .contender import Contender
from .scale import Scale
from .servers import Server

POOL = 5
"""Jobs at once, where a workload does not say otherwise: what the messages queue has."""

STARTING = 3
"""Workers that start at once, where many run side by side."""


class Ground:
    """The scale of a run, and what gives each measurement a server and a records file of its own."""

    def __init__(self, scale: Scale, binary: str, directory: Path) -> None:
        self.scale = scale
        self.binary = binary
        self.starting = threading.Semaphore(STARTING)
        self._directory = directory
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._backlogs: dict[tuple[str, int, int, int], Path] = {}

    @contextmanager
    def server(self, data: Path | None = None) -> Iterator[tuple[Server, Path]]:
        """A fresh server (with a copy of `data` in it) and the path of a records file; both are gone afterwards."""
        with self.place() as place:
            if data is not None:
                shutil.copytree(data, place, dirs_exist_ok=True)
            with Server(self.binary, place) as server:
                yield server, place / "records"

    @contextmanager
    def place(self) -> Iterator[Path]:
        """An empty directory, gone afterwards."""
        with self._lock:
            place = self._directory / f"{next(self._numbers)}"
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def backlog(self, contender: Contender, jobs: int, hold_ms: int = 0, keys: int = 0) -> Path:
        """A server's directory with so many of the contender's jobs waiting; filled once, copied by each run that drains it.

        `keys`: ordering keys over which the jobs go round; 0: none.
        """
        key = (contender.name, jobs, hold_ms, keys)
        if key not in self._backlogs:
            place = self._directory / f"{next(self._numbers)}-backlog"
            with Server(self.binary, place) as server:
                contender.command(server, "enqueue", how="bulk", count=jobs, hold_ms=hold_ms, keys=keys)
            self._backlogs[key] = place
        return self._backlogs[key]

    def forget(self, contender: Contender) -> None:
        """Drop its backlogs."""
        for key in [key for key in self._backlogs if key[0] == contender.name]:
            shutil.rmtree(self._backlogs.pop(key), ignore_errors=True)
