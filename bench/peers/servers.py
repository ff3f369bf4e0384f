"""Servers: a fresh one for each contender and measurement, on 127.0.0.1, append-only file written out every second."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import redis

from engine.embedded_process import find_binary

SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "auto-aof-rewrite-percentage": "0",
}
"""Durable as a careful user has it; the file is never rewritten meanwhile, since a fork in one run and not the next is noise."""
_START_SECONDS = 20.0
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """What the server has done so far (counters) and holds now, our own questions left out."""

    commands: int
    reads: int
    """Times it read from a connection: a pipeline that arrives whole counts once, so these are round trips."""
    cpu_seconds: float
    data_bytes: int
    """Used memory without the buffers of connections and of the append-only file."""


class Server:
    """A server process on a port of its own; `directory` holds its data and survives a stop."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary = binary
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._asked = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address contenders get."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Bring it up on its port, with the data of its directory; returns when it answers."""
        options = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--daemonize", "no")
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *where, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._client = redis.Redis(port=self.port, decode_responses=True)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._client.ping()
                break
            except (redis.ConnectionError, redis.BusyLoadingError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"the server did not start; see {self.directory}/server.log") from None
                time.sleep(0.01)
        self._asked = 0  # counters begin anew with the process; the gauge's own questions are counted from here

    def stop(self) -> None:
        """End it gently: its file is written out."""
        if self._process is None:
            return
        self._client.close()
        self._process.terminate()
        self._process.wait(30)
        self._process = None

    def gauge(self) -> Gauge:
        """Read the counters."""
        info = self._client.info("everything")
        self._asked += 1
        buffers = int(info.get("mem_clients_normal", 0)) + int(info.get("mem_aof_buffer", 0))
        return Gauge(
            commands=int(info["total_commands_processed"]) - self._asked,
            reads=int(info.get("total_reads_processed", 0)) - self._asked,
            cpu_seconds=float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
            data_bytes=int(info["used_memory"]) - buffers,
        )

    def version(self) -> str:
        """`valkey 9.1.2`."""
        info = self._client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version') or info['redis_version']}"

    def connected(self) -> int:
        """Connections besides our own."""
        self._asked += 1
        return len(self._client.client_list()) - 1

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """From now on the server also tells who sends which command: for a quiet time, at some microseconds a command."""
        self._asked += 1
        ours = str(self._client.client_info()["addr"])
        with (
            socket.create_connection(("127.0.0.1", self.port), _ANSWER_SECONDS) as connection,
            connection.makefile("rb") as lines,
        ):
            connection.sendall(b"MONITOR\r\n")
            lines.readline()  # +OK
            self._asked += 1
            yield Watch(lines, ours)


class Watch:
    """What clients send while the server is watched."""

    def __init__(self, lines: IO[bytes], ours: str) -> None:
        self._lines = lines
        self._ours = f" {ours}] ".encode()

    def requests(self) -> int:
        """Commands that others sent between our last two gauges, without those that scripts called; call it once.

        Raises:
            OSError: the server did not tell in time.
        """
        self._until_gauge()
        return self._until_gauge()

    def _until_gauge(self) -> int:
        sent = 0
        for line in self._lines:
            source = line.partition(b'"')[0]  # +1795361827.8 [0 127.0.0.1:45146] "XREAD" ..., or [0 lua]
            if source.endswith(self._ours):
                return sent
            sent += not source.endswith(b" lua] ")
        raise OSError("the server ended while it was watched")


def binary(asked: str) -> str:
    """Path of the server's program: `valkey` (the embedded one), `redis`, or a path."""
    if asked == "valkey":
        return str(find_binary())
    found = shutil.which("redis-server" if asked == "redis" else asked)
    if found is None:
        raise SystemExit(f"there is no server program {asked!r} here")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
