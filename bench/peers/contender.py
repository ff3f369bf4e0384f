"""Contender: one job engine as the harness sees it: commands to its driver, and its workers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import records
from .environments import ROOT, CannotRun, Environment, Pin
from .processes import Program, last_line
from .servers import Server

READY_SECONDS = 30.0
"""A worker that has not run its first job by then won't."""
COMMAND_SECONDS = 120.0
PROBE = records.WARM_UP * 2
"""Numbers of jobs that only ask whether a worker works."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a driver says of itself."""

    versions: dict[str, str]
    settings: list[tuple[str, str, str]]
    runs_as: str
    bulk: str
    most_pool: int
    notes: dict[str, str]
    refuses: dict[str, str]
    has_keys: bool = False
    """It can run jobs in the order of a key."""


class Contender:
    """A prepared contender."""

    def __init__(self, pin: Pin, environment: Environment) -> None:
        self.name = pin.name
        self.title = pin.title
        self._environment = environment
        self.description = self._describe()

    def __repr__(self) -> str:
        return f"<Contender {self.name}>"

    def command(self, server: Server, what: str, **options: Any) -> dict[str, Any]:
        """Run one of the driver's commands to its end; what it answered.

        Raises:
            CannotRun: it failed or took too long; the message has its last words.
        """
        return self._run([what, *_flags(options)], server.url)

    @contextmanager
    def worker(self, server: Server, pool: int, records_file: Path, *, scheduler: bool = False) -> Iterator[Program]:
        """A worker in a session of its own; killed with all its children in the end."""
        arguments = ["worker", "--pool", str(pool), *(["--with-scheduler"] if scheduler and not self._is_node else [])]
        variables = {"BENCH_RECORDS": str(records_file), "BENCH_POOL": str(pool)}
        log = records_file.with_suffix(".log")
        with Program([*self._environment.command, *arguments], self._variables(server.url, variables), log, ROOT) as program:
            yield program

    def wait_ready(self, server: Server, program: Program, records_file: Path) -> None:
        """Until the worker has run a job sent for that purpose.

        Raises:
            CannotRun: it ended, or ran nothing in time.
        """
        before = records.count(records_file)
        self.command(server, "enqueue", how="one", count=1, first=PROBE)
        self.wait_records(program, records_file, before + 1, READY_SECONDS)

    def wait_records(self, program: Program, records_file: Path, many: int, seconds: float) -> None:
        """Until so many records are there.

        Raises:
            CannotRun: the worker ended, or they did not come in time.
        """
        deadline = time.monotonic() + seconds
        while records.count(records_file) < many:
            if program.exit_code is not None:
                raise CannotRun(f"its worker ended with code {program.exit_code}: {program.last_words()}")
            if time.monotonic() > deadline:
                raise CannotRun(f"its worker ran no job within {seconds:.0f} s: {program.last_words()}")
            time.sleep(0.005)

    @property
    def _is_node(self) -> bool:
        return self._environment.command[-1].endswith(".mjs")

    def _describe(self) -> Description:
        found = self._run(
            ["describe"], "redis://127.0.0.1:6379/0"
        )  # not connected to: some libraries ask for an address on import
        return Description(**{**found, "settings": [tuple(one) for one in found["settings"]]})

    def _run(self, arguments: list[str], url: str) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [*self._environment.command, *arguments],
                env=self._variables(url, {}),
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CannotRun(f"its {arguments[0]} did not end within {COMMAND_SECONDS:.0f} s") from None
        if done.returncode:
            raise CannotRun(f"its {arguments[0]} failed: {last_line(done.stderr)}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _variables(self, url: str, more: dict[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_", "BENCH_"))}
        return {**ours, **self._environment.variables, "REDIS_URL": url, **more}


def _flags(options: dict[str, Any]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
