"""Cli: runs `engine` as an operator would: another process, a directory of its own, an application beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]

APPLICATION = """
import asyncio
from pathlib import Path

import msgspec
from engine import Engine, Fixed, Job

engine = Engine()
orders = engine.queue("{queue}", attempts=2, backoff=Fixed(0.01))


class Order(msgspec.Struct):
    id: int
    fail: bool = False
    gate: str = ""  # a file; until it exists the handler waits


@orders.handler("ship", ordering_key=lambda order: "c1" if order.id < 0 else None)
async def ship(order: Order, job: Job) -> dict[str, int]:
    job.log("to +5511987654321")
    await job.progress(1, 2)
    if order.gate:
        from tests.support.running import until  # only here: each command imports this module

        await until(lambda: asyncio.to_thread(Path(order.gate).exists), bool, timeout=3600.0)
    if order.fail:
        raise OSError("nobody at +5511987654321")
    return {{"shipped": order.id}}


async def sample_traffic(engine, stop):
    for n in range(1000):
        handle = await ship.enqueue(Order(n))
        yield handle
        await handle.result(timeout=10)
"""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document of the answer."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents of the answer, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True)
class Cli:
    """`engine` in `directory`, where module `shop` has one queue of a fresh name."""

    directory: Path
    url: str | None
    queue: str = field(default_factory=lambda: f"cli-{uuid.uuid4().hex[:8]}")
    extra: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "shop.py").write_text(APPLICATION.format(queue=self.queue))

    @property
    def env(self) -> dict[str, str]:
        """Nothing of the test's own environment but what finds Python."""
        settings = {"ENGINE_APP": "shop:engine", "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}
        return settings | ({"REDIS_URL": self.url} if self.url else {}) | self.extra

    def command(self, *args: str) -> list[str]:
        """The process's arguments."""
        return [sys.executable, "-m", "engine.cli", *args]

    def __call__(self, *args: str, stdin: str | bytes | None = None, **env: str) -> Result:
        """Run a command to its end, without a terminal; `env` on top of the usual."""
        done = subprocess.run(
            self.command(*args),
            input=stdin.encode() if isinstance(stdin, str) else (stdin or b""),
            capture_output=True,
            cwd=self.directory,
            env=self.env | env,
            timeout=30,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command that stays; the caller ends it, and `close` when the caller failed before."""
        process = subprocess.Popen(
            self.command(*args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self.env,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Leave no process behind, however the test ended."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def enqueue(self, n: int = 1, **payload: object) -> list[str]:
        """Add jobs in bulk; their ids."""
        lines = "\n".join(json.dumps({"id": i, **payload}) for i in range(n))
        done = self("enqueue", self.queue, "ship", "--data", "-", "--json", stdin=lines)
        assert done.code == 0, done.err
        return [line["id"] for line in done.lines]

    def work(self) -> None:
        """Run what there is to do."""
        done = self("run", "--burst")
        assert done.code == 0, done.err

    def counts(self) -> dict[str, int]:
        """The counts of the application's queue."""
        found: dict[str, int] = self("stats", "--json").json["queues"][self.queue]
        return found

    def dead(self, n: int = 1) -> list[str]:
        """Jobs that failed for good."""
        ids = self.enqueue(n, fail=True)
        self.work()
        return ids


T = TypeVar("T")


def until(ask: Callable[[], T], holds: Callable[[T], object], seconds: float = 20.0) -> T:
    """Ask (a whole command each time) until the answer holds; fails with the last answer after `seconds`."""
    deadline_mono = time.monotonic() + seconds
    while not holds(answer := ask()):
        assert time.monotonic() < deadline_mono, f"still {answer!r} after {seconds:g} s"
    return answer
