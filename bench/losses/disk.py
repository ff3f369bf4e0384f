"""Disk: a power loss without pulling a plug. What a server had not synced is cut from its files after `kill -9`.

`Shim` is a small library, compiled here, that is loaded into the server and writes down what was synced. It is the harshest
reading: a real kernel may have written more.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.chaos.node import Node

SOURCE = Path(__file__).with_name("synced.c")


def missing() -> str:
    """Why there can be no simulated power loss on this machine; '' when there can."""
    return "" if shutil.which("cc") else "cc is not installed: it compiles what watches the server's fsync"


class Shim:
    """Compiled into a directory, for one server."""

    def __init__(self, directory: Path) -> None:
        """Raises subprocess.CalledProcessError when it can't be compiled; `missing` tells whether there is a compiler."""
        self._library = directory / "synced.so"
        self._log = directory / "synced.log"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def environment(self) -> dict[str, str]:
        """For the server's process."""
        return {"LD_PRELOAD": str(self._library), "LOSSES_SYNCED": str(self._log)}

    def synced(self) -> tuple[dict[str, int], dict[int, int]]:
        """Bytes that are surely on the disk, as of the last sync: by path, and by inode for those that were renamed since."""
        by_path: dict[str, int] = {}
        by_inode: dict[int, int] = {}
        if self._log.exists():
            for line in self._log.read_text().splitlines():
                inode, size, path = line.split(" ", 2)
                by_path[path] = by_inode[int(inode)] = int(size)
        return by_path, by_inode

    def cut_power(self, node: Node) -> int:
        """End the server, and cut each of its append-only files to what was synced; how many bytes that took.

        Raises:
            RuntimeError: nothing was synced: the library was not loaded, or the server has no append-only file.
        """
        node.kill()
        by_path, by_inode = self.synced()
        files = [path for path in (node.directory / "appendonlydir").glob("*") if path.is_file()]
        if not any(path.stat().st_ino in by_inode for path in files):
            raise RuntimeError(f"{node!r} synced none of {len(files)} files: its fsync was not seen")
        gone = 0
        for path in files:
            found = path.stat()
            # the path first: an inode may have been another file's
            kept = min(by_path.get(str(path), by_inode.get(found.st_ino, 0)), found.st_size)
            gone += found.st_size - kept
            with path.open("r+b") as file:
                file.truncate(kept)
        return gone
