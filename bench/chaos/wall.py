"""Wall: two networks of our own with one cable between, which can be cut. Linux; needs root, or a kernel that gives users
network namespaces of their own.

    with Wall() as wall:
        Popen([*wall.under(wall.near), "redis-server", "--bind", wall.near])  # near and far are addresses
        wall.cut()   # what is sent across is lost and nobody is told, as when a switch dies
        wall.mend()

Nothing of the machine's own network is touched: both ends live in namespaces that end with this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

NEAR, FAR = "10.63.7.1", "10.63.7.2"
TOOLS = ("unshare", "nsenter", "ip")


class Wall:
    """Two sides, while entered."""

    near, far = NEAR, FAR
    """The address on either side."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self._is_root = os.geteuid() == 0

    def __repr__(self) -> str:
        return f"<Wall {len(self._holders)} sides>"

    @staticmethod
    def missing() -> str:
        """Why there can be none on this machine; '' when there can."""
        absent = [tool for tool in TOOLS if shutil.which(tool) is None]
        if absent:
            return f"{', '.join(absent)} is not installed"
        try:
            with Wall():
                return ""
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            return f"no network namespaces here ({said.decode(errors='replace').strip()})"

    def __enter__(self) -> Self:
        """Raises CalledProcessError, OSError where `missing` says why."""
        try:
            rights = [] if self._is_root else ["--user", "--map-root-user"]
            self._hold(["unshare", *rights, "--net"])
            self._hold([*self.under(NEAR), "unshare", "--net"])
            far = str(self._holders[1].pid)
            self._run(NEAR, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far)
            for side in (NEAR, FAR):
                self._run(side, "ip", "address", "add", f"{side}/24", "dev", "cable")
                self._run(side, "ip", "link", "set", "lo", "up")
                self._run(side, "ip", "link", "set", "cable", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            for pipe in (holder.stdin, holder.stdout, holder.stderr):
                if pipe is not None:
                    pipe.close()
        self._holders.clear()

    def under(self, side: str) -> tuple[str, ...]:
        """What a command is given to, to run on that side."""
        holder = self._holders[0 if side == NEAR else 1]
        rights = () if self._is_root else ("--user", "--preserve-credentials")
        return ("nsenter", "--target", str(holder.pid), *rights, "--net", "--")

    def cut(self) -> None:
        """From now on nothing gets across."""
        self._run(NEAR, "ip", "link", "set", "cable", "down")

    def mend(self) -> None:
        """It does again; what was sent meanwhile is sent again by those who still wait for an answer."""
        self._run(NEAR, "ip", "link", "set", "cable", "up")

    def _hold(self, command: list[str]) -> None:
        """A process that keeps a namespace: it ends when we do, whatever ends us, since then its input ends."""
        holder = subprocess.Popen(
            [*command, "sh", "-c", "echo here; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != b"here\n":
            raise subprocess.CalledProcessError(holder.wait(), command, stderr=holder.stderr.read())

    def _run(self, side: str, *command: str) -> None:
        subprocess.run([*self.under(side), *command], check=True, capture_output=True)
