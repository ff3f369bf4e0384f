"""Server: a Redis or Valkey that is installed here, started as the embedded one is, for figures on another build or allocator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from engine import Clock, ConfigError

START_SECONDS = 10.0


class InstalledServer:
    """One server program in a directory of its own, on a unix socket, while it is entered."""

    def __init__(self, program: str, directory: Path, *, fsync: str, clock: Clock, options: Mapping[str, str]) -> None:
        self._program = program
        self._directory = directory
        self._options = {"appendonly": "yes", "appendfsync": fsync, "save": "", "port": "0", **options}
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Returns when it answers.

        Raises:
            ConfigError: there is no such program, or it did not start.
        """
        found = shutil.which(self._program)
        if found is None:
            raise ConfigError(f"{self._program} is not installed: name a server program of this machine", setting="--server")
        self._directory.mkdir(parents=True)
        flags = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        command = [found, "--unixsocket", str(self._socket), "--dir", str(self._directory), *flags]
        self._process = process = _start(command)
        deadline = self._clock.mono() + START_SECONDS
        while not self._socket.is_socket():
            if process.poll() is not None or self._clock.mono() > deadline:
                await self.__aexit__(None, None, None)
                raise ConfigError(f"{self._program} did not start: {' '.join(command)} says why", setting="--server")
            await self._clock.sleep(0.01)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        while process.poll() is None:
            await self._clock.sleep(0.01)

    @property
    def _socket(self) -> Path:
        return self._directory / "server.sock"

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "asked for while it runs"
        return self._process.pid


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
