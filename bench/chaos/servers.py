"""Servers: the server of a run on its append-only file: killed, frozen and brought back on the same directory.

Its data lies on a small file system of its own where we may mount one (root), so that its disk can be full for real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.stage import Fsync
from engine import Clock
from engine.embedded_process import ALLOCATOR

from .node import Node, find_program, free_ports

DISK_MIB = 2048
"""Room for the append-only file of the longest run and its rewrite; memory is taken only as it fills."""
ROOM_KIB = 128
"""What is left of a full disk: it can't shrink below what is used, which grows meanwhile."""


class Disk:
    """The directory of the server's data. `why_not` says why it can't be filled up; '' when it can."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.why_not = ""
        directory.mkdir(parents=True)
        if os.geteuid() != 0:
            self.why_not = "only root may mount a file system to fill up"
            return
        size = ["-o", f"size={DISK_MIB}m"]
        done = subprocess.run(["mount", "-t", "tmpfs", *size, "chaos", str(directory)], capture_output=True, check=False)
        if done.returncode:
            self.why_not = f"a file system to fill up can't be mounted: {done.stderr.decode(errors='replace').strip()}"

    def fill(self) -> None:
        """Leave no room: the file system shrinks to what is used, so that being full costs no memory."""
        self._resize(shutil.disk_usage(self.directory).used // 1024 + ROOM_KIB)

    def empty(self) -> None:
        """Give the room back."""
        self._resize(DISK_MIB * 1024)

    def _resize(self, kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(self.directory)], check=True, capture_output=True)

    def close(self, *, keep: bool) -> None:
        """Unmount what was mounted, its files copied to where it was mounted if they are to be kept."""
        if self.why_not:
            return
        copy = self.directory.with_name(self.directory.name + ".kept")
        if keep:
            shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("*.sock"))
        subprocess.run(["umount", "--lazy", str(self.directory)], check=False)  # lazily: a file may still be open somewhere
        if keep:
            self.directory.rmdir()
            copy.rename(self.directory)


class Server:
    """One server on a loopback port, the same after it came back; `node` to kill, freeze and ask it."""

    def __init__(self, directory: Path, *, program: str, fsync: Fsync, clock: Clock) -> None:
        """`program`: see `find_program`. Raises ConfigError when there is none."""
        found = find_program(program)
        self.disk = Disk(directory / "disk")
        config = f'save ""\nappendonly yes\nappendfsync {fsync}\nmaxmemory-policy noeviction'
        self.node = Node(
            found, self.disk.directory / "server", config, port=free_ports(1)[0], clock=clock,
            environment={"GLIBC_TUNABLES": ALLOCATOR},
        )  # fmt: skip
        self.keep = True
        """Whether its data stays when it is left."""

    async def __aenter__(self) -> Self:
        try:
            await self.node.start()
        except BaseException:
            self.disk.close(keep=True)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.node.kill()
        self.disk.close(keep=self.keep)

    @property
    def url(self) -> str:
        """Its own address, past the proxy."""
        return self.primary_url

    @property
    def primary_url(self) -> str:
        """For the checker."""
        return f"redis://127.0.0.1:{self.node.port}/0"


async def version_of(node: Node) -> str:
    """`Valkey 9.1.2`."""
    lines = (await node.ask("INFO", "server")).decode().splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    name = info.get("server_name", "redis").capitalize()
    return f"{name} {info.get('valkey_version', info['redis_version'])}"
