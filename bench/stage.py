"""Stage: what a measurement is played on: a server in a directory of its own, and worker processes as users run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from engine import Clock, Engine, Settings
from engine.embedded import EmbeddedServer

from .server import InstalledServer

Fsync = Literal["always", "everysec"]

READY_SECONDS = 20.0
"""A worker that has not started by then won't."""
LEAVE_SECONDS = 40.0
"""More than a worker's own drain time."""
ROOT = Path(__file__).resolve().parent.parent


class Stage:
    """A fresh server on its append-only file; gone with its directory when left.

    The server never rewrites its file meanwhile: a fork in the middle of one run and not of the next would be noise.
    """

    def __init__(self, fsync: Fsync = "always", *, clock: Clock | None = None, program: str | None = None) -> None:
        """`program`: an installed server (`redis-server`) instead of the embedded one."""
        self._clock = clock or Clock()
        self._fsync = fsync
        self._program = program
        self._place = tempfile.TemporaryDirectory(prefix="bench-")
        self.directory = Path(self._place.name)
        home, options = self.directory / "server", {"auto-aof-rewrite-percentage": "0"}
        self._server: EmbeddedServer | InstalledServer
        if program is None:
            self._server = EmbeddedServer(home, fsync=fsync, clock=self._clock, options=options)
        else:
            self._server = InstalledServer(program, home, fsync=fsync, clock=self._clock, options=options)
        self._parts = 0

    async def __aenter__(self) -> Self:
        try:
            await self._server.__aenter__()
        except BaseException:
            self._place.cleanup()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._server.__aexit__(kind, error, trace)
        self._place.cleanup()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    @property
    def about(self) -> dict[str, str]:
        """How it is set up, for a report."""
        where = f"{self._program or 'embedded'}, in a directory of its own"
        return {"server": where, "append-only file": f"on, fsync {self._fsync}, no rewrites"}

    def settings(self) -> Settings:
        """For an engine of this process."""
        return Settings(redis_url=self.url, data_dir=str(self.directory / "data"))

    def engine(self) -> Engine:
        """An engine without queues, to look and to enqueue by name."""
        return Engine(settings=self.settings())

    def environment(self, **more: str) -> dict[str, str]:
        """For a child process: this server, our code, and none of the user's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_"))}
        path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        ours = {"REDIS_URL": self.url, "ENGINE_DATA_DIR": str(self.directory / "data"), "PYTHONPATH": path}
        return {**kept, **ours, "ENGINE_LOG_FORMAT": "json", **more}

    def file(self, name: str) -> Path:
        """A new path in the stage's directory."""
        self._parts += 1
        return self.directory / f"{self._parts:03}-{name}"

    def workers(
        self,
        app: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        processes: int = 1,
        under: Sequence[str] = (),
    ) -> Workers:
        """`engine run` for that application, started when entered; `under` a command that takes one, a profiler say."""
        command = [*under, sys.executable, "-m", "engine.cli", "--app", app, "run", *arguments]
        if processes > 1:
            command += ["--processes", str(processes)]
        return Workers(command, self.environment(**(environment or {})), self.file("worker.log"), processes, self._clock)


class Workers:
    """`engine run` in its own process or processes: ready when entered, drained when left."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, processes: int, clock: Clock) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._processes = processes
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Returns when every process has said that it is at work.

        Raises:
            RuntimeError: it ended, or said nothing in time; its last lines are in the sentence.
        """
        self._process = _start(self._command, self._environment, self._log)
        deadline = self._clock.mono() + READY_SECONDS
        while self._log.read_bytes().count(b'"worker.started"') < self._processes:
            if self._process.poll() is not None or self._clock.mono() > deadline:
                await self._end(signal.SIGKILL)
                raise RuntimeError(f"the worker did not start; it said: {self.said()}")
            await self._clock.sleep(0.01)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._end(signal.SIGTERM)

    @property
    def pids(self) -> list[int]:
        """The processes that run jobs."""
        assert self._process is not None, "asked for while it runs"
        if self._processes == 1:
            return [self._process.pid]
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def said(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])

    async def ended(self, seconds: float) -> int:
        """Wait for its end by itself (`--burst`); its exit code. TimeoutError when it takes longer."""
        assert self._process is not None, "asked for while it runs"
        deadline = self._clock.mono() + seconds
        while (code := self._process.poll()) is None:
            if self._clock.mono() > deadline:
                raise TimeoutError(f"the worker did not end within {seconds:g} s; it said: {self.said()}")
            await self._clock.sleep(0.02)
        return code

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        deadline = self._clock.mono() + LEAVE_SECONDS
        while process.poll() is None:
            if self._clock.mono() > deadline:
                process.kill()
            await self._clock.sleep(0.02)


async def run_child(stage: Stage, module: str, *arguments: str, clock: Clock) -> None:
    """Run `python -m module arguments` to its end, against the stage's server.

    Raises:
        RuntimeError: it failed; what it said is in the sentence.
    """
    log = stage.file("child.log")
    process = _start([sys.executable, "-m", module, *arguments], stage.environment(), log)
    try:
        while process.poll() is None:
            await clock.sleep(0.02)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        said = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise RuntimeError(f"{module} ended with {process.returncode}; it said: {said}")


def _start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C ends the measurement first, and that its children."""
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=out, stderr=out, start_new_session=True)


def sync_seconds(directory: Path, times: int, clock: Clock) -> list[float]:
    """How long the disk takes to keep a little: what `fsync always` waits for at every call, whatever the server does."""
    found = []
    file = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(times):
            os.write(file, b"x" * 512)
            began = clock.mono()
            os.fsync(file)
            found.append(clock.mono() - began)
    finally:
        os.close(file)
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used so far; 0 where /proc has no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
