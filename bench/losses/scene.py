"""Scene: one run's directory, the processes that write to it, and what is read in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from bench.chaos.journal import Record, records
from bench.chaos.node import Node
from bench.stage import ROOT, Workers
from engine import Clock
from engine.keys import prefix

from .app import KEPT, WORKED
from .producer import TELL_SECONDS, Plan
from .toll import worked

APP = "bench.losses.app:engine"
LOOK_SECONDS = 0.05
CHUNK = 2000


class Scene:
    """Producers and workers against one address, while entered."""

    def __init__(self, url: str, clock: Clock, *, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: of the engine, as in the environment."""
        self._clock = clock
        self._place = tempfile.TemporaryDirectory(prefix="losses-")
        self.directory = Path(self._place.name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_"))}
        path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        ours = {"REDIS_URL": url, "PYTHONPATH": path, "ENGINE_LOG_FORMAT": "json", "LOSSES_RUN": str(self.directory)}
        self._environment = {**kept, **ours, **(settings or {})}
        self._producer: subprocess.Popen[bytes] | None = None
        self._parts = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._producer is not None:
            self._producer.kill()
            self._producer.wait()
        self._place.cleanup()

    def records(self) -> list[Record]:
        """Everything that was written down so far."""
        return records(self.directory)

    # --- processes ---------------------------------------------------------------------------------------------------

    async def produce(self, *, under: Sequence[str] = (), **plan: Any) -> None:
        """Start the producer; returns when its first job is acknowledged."""
        text = msgspec.json.encode(Plan(directory=str(self.directory), **plan)).decode()
        command = [*under, sys.executable, "-m", "bench.losses.producer", text]
        self._producer = self._start(command, self._file("producer"))
        await self.acknowledged(1)

    async def acknowledged(self, count: int, timeout: float = 60.0) -> None:
        """Wait until so many jobs are acknowledged. Raises RuntimeError when they are not, or the producer ended."""
        assert self._producer is not None, "produce comes first"
        deadline = self._clock.mono() + timeout
        while sum(path.read_bytes().count(b'"acked"') for path in self._journals("producer")) < count:
            if self._producer.poll() is not None or self._clock.mono() > deadline:
                raise RuntimeError(f"the producer did not get {count} jobs acknowledged; it said: {self._said('producer')}")
            await self._clock.sleep(LOOK_SECONDS)

    async def told(self) -> None:
        """End the producer, and wait until it has been told of every call. Raises RuntimeError when it failed."""
        assert self._producer is not None, "produce comes first"
        self._producer.send_signal(signal.SIGTERM)
        deadline = self._clock.mono() + TELL_SECONDS + 10
        while (code := self._producer.poll()) is None:
            if self._clock.mono() > deadline:
                raise RuntimeError(f"the producer did not end; it said: {self._said('producer')}")
            await self._clock.sleep(LOOK_SECONDS)
        if code:
            raise RuntimeError(f"the producer ended with {code}; it said: {self._said('producer')}")

    def worker(self, *, under: Sequence[str] = ()) -> Workers:
        """A worker process of queue `worked`, as users run it."""
        command = [*under, sys.executable, "-m", "engine.cli", "--app", APP, "run", "--queue", WORKED]
        return Workers(command, self._environment, self._file("worker"), 1, self._clock)

    async def drained(self, timeout: float = 30.0) -> bool:
        """Wait until every acknowledged job of `worked` has run; False when some have not within `timeout` seconds."""
        wanted = worked(self.records())
        deadline = self._clock.mono() + timeout
        while not wanted <= {record.n for record in self.records() if record.what == "end"}:
            if self._clock.mono() > deadline:
                return False
            await self._clock.sleep(10 * LOOK_SECONDS)
        return True

    def _start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _file(self, role: str) -> Path:
        self._parts += 1
        return self.directory / f"{role}-{self._parts}.log"

    def _journals(self, role: str) -> list[Path]:
        return list((self.directory / "journal").glob(f"{role}-*"))

    def _said(self, role: str) -> str:
        lines = [line for path in self.directory.glob(f"{role}-*.log") for line in path.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-5:])


async def kept_jobs(node: Node) -> dict[str, int]:
    """Full id -> number of every job in queue `kept` of that server, read from its stream."""
    found: dict[str, int] = {}
    begin = "-"
    while True:
        rows = await node.ask("XRANGE", f"{prefix(KEPT)}ready:5", begin, "+", "COUNT", CHUNK)
        for entry, fields in rows:
            body = fields[1].split(b";", 6)[6]  # a fresh job without a key: docs/keys.md, the envelope
            found[f"{KEPT}/{entry.decode()}"] = msgspec.msgpack.decode(body)[1]["n"]
        if len(rows) < CHUNK:
            return found
        begin = f"({rows[-1][0].decode()}"
