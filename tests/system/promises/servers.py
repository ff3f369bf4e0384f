"""Servers that a test may kill, freeze and bring back on the same data: the real binaries, on a unix socket, append-only."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from engine.embedded_process import ask, find_binary
from tests.support.running import eventually


class OwnServer:
    """One test's own server. `kind` is `valkey` or `redis`; `options` as on its command line; `env`: its environment."""

    def __init__(self, kind: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        binary = str(find_binary()) if kind == "valkey" else shutil.which("redis-server")
        if binary is None:
            if os.environ.get("CI"):
                pytest.fail("redis-server is not installed: apt-get install redis-server")
            pytest.skip("redis-server is not installed: apt-get install redis-server")
        self._room = tempfile.TemporaryDirectory(prefix="own-")
        self.directory = Path(self._room.name)
        self.socket = self.directory / "s.sock"
        self._command = [
            *("sh", "-c", 'trap "" XFSZ; exec "$@"', "server"),  # a file that may not grow is an error, as on a full disk
            *(binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", *options),
        ]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, the same after it came back."""
        return f"unix://{self.socket}?db=0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self.kill()
        self._room.cleanup()

    def start(self) -> None:
        """Start on the data that is there; returns when it answers."""
        self.launch()
        eventually(self.is_up, "the server answers")

    def launch(self, *options: str) -> None:
        """Start on the data that is there, without waiting for it."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [*self._command, *options], stdout=subprocess.DEVNULL, start_new_session=True, env=self._env
        )

    def kill(self) -> None:
        """End it as by `kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def fill_disk(self, room: int = 0) -> None:
        """No file of it may grow any more, but for so many bytes."""
        assert self._process is not None
        largest = max(path.stat().st_size for path in self.directory.rglob("*.aof"))
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (largest + room, resource.RLIM_INFINITY))

    def empty_disk(self) -> None:
        """They may again."""
        assert self._process is not None
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def has_ended(self) -> bool:
        """True when it ended by itself."""
        assert self._process is not None
        self._process.wait(5)
        return True

    def is_up(self) -> bool:
        """True when it answers."""
        return self._says(b"+PONG")

    def is_loading(self) -> bool:
        """True while it loads its data and says so."""
        return self._says(b"-LOADING")

    def _says(self, answer: bytes) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended while starting"
        try:
            return ask(self.socket, "PING").startswith(answer)
        except OSError:
            return False
