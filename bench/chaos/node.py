"""Node: one server process on loopback that may be killed, frozen and brought back on its own directory.

It listens on TCP for those who use it and on a unix socket for those who look after it: they reach it also where it lives in a
network of its own (`under`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hiredis

from engine import Clock, ConfigError
from engine.embedded_process import find_binary

START_SECONDS = 10.0
ASK_SECONDS = 1.0
"""A node that answers nothing for so long is taken for dead or frozen."""


def find_program(kind: str) -> str:
    """The path of a server program. `kind`: `valkey` the embedded one, `redis` Debian's, else a program's name or path.

    Raises:
        ConfigError: there is none here.
    """
    if kind == "valkey":
        return str(find_binary())
    found = shutil.which("redis-server" if kind == "redis" else kind)
    if found is None:
        raise ConfigError(f"{kind} is not installed: name a server program of this machine", setting="--server")
    return found


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Node:
    """A server, or with `role="sentinel"` one that watches others; `config` is the text of its configuration file."""

    def __init__(
        self,
        program: str,
        directory: Path,
        config: str,
        *,
        port: int,
        clock: Clock,
        host: str = "127.0.0.1",
        role: str = "server",
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.socket = directory / "s.sock"
        self._clock = clock
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        place = directory / "server.conf"
        place.write_text(f"port {port}\nbind {host}\nunixsocket {self.socket}\ndir {directory}\nprotected-mode no\n{config}\n")
        self.command = [*under, program, str(place), *(["--sentinel"] if role == "sentinel" else [])]

    def __repr__(self) -> str:
        return f"<Node {self.address} {'up' if self.is_up else 'down'}>"

    @staticmethod
    def version(program: str) -> str:
        """What a server program says of itself: `Redis server v=7.0.15 sha=... bits=64 ...`, the first words of it."""
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=START_SECONDS).stdout
        return said.partition(" sha=")[0]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def url(self) -> str:
        """For those who look after it, from anywhere on this machine."""
        return f"unix://{self.socket}?db=0"

    @property
    def is_up(self) -> bool:
        """True while its process runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "asked for while it runs"
        return self._process.pid

    async def start(self, *options: str) -> None:
        """Start on the data that is there, with these options more; returns when it answers, its data read in.

        Raises:
            RuntimeError: it did not start; what it said is in the sentence.
        """
        self._process = self._spawn(options)
        deadline = self._clock.mono() + START_SECONDS
        while not await self.answers():
            if not self.is_up or self._clock.mono() > deadline:
                self.kill()
                raise RuntimeError(f"{' '.join(self.command)} did not start; it said: {self.said()}")
            await self._clock.sleep(0.01)

    def _spawn(self, options: Sequence[str]) -> subprocess.Popen[bytes]:
        self.socket.unlink(missing_ok=True)
        command = [*self.command, *options]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def answers(self) -> bool:
        """True when it answers and has read in its data."""
        try:
            return bool(await self.ask("PING"))
        except (OSError, hiredis.ReplyError):
            return False

    async def ask(self, *words: str | int) -> Any:
        """One command.

        Raises:
            OSError (TimeoutError): no answer within a second. hiredis.ReplyError: it refused.
        """
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            try:
                writer.write(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub asks for a tuple of one
                replies = hiredis.Reader()
                while (reply := replies.gets()) is False:
                    if not (data := await reader.read(1 << 16)):
                        raise ConnectionResetError(f"{self!r} hung up")
                    replies.feed(data)
            finally:
                writer.close()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def kill(self) -> None:
        """End it as by `kill -9`; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, nothing is answered."""
        assert self._process is not None, "frozen while it runs"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """The last lines of its log."""
        return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-5:])
