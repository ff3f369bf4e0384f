"""Skew: a wall clock that is off, for one process: a server or a worker, real and unchanged. Linux, and a C compiler.

with Skew() as skew:
    subprocess.Popen(command, env=skew.env)
    skew.set(hours=1)  # from now on, in that process; its monotonic clock goes on as ever
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

SOURCE = Path(__file__).with_name("skew.c")


@functools.cache
def _built() -> tempfile.TemporaryDirectory[str]:
    """The directory of the library, as long as this process lives."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("to set a process's clock takes Linux and a C compiler (cc)")
    room = tempfile.TemporaryDirectory(prefix="skew-lib-")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", f"{room.name}/skew.so", str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return room


class Skew:
    """A clock that may be set, while entered. Skips the test where it can't be had."""

    def __init__(self, hours: float = 0.0) -> None:
        self._library = Path(_built().name) / "skew.so"
        self._room = tempfile.TemporaryDirectory(prefix="skew-")
        self._file = Path(self._room.name) / "offset"
        self.set(hours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._room.cleanup()

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process whose clock this is."""
        return {**os.environ, "LD_PRELOAD": str(self._library), "SKEW_FILE": str(self._file)}

    def set(self, hours: float) -> None:
        """Ahead by so many hours, or behind."""
        mode = "r+b" if self._file.exists() else "wb"
        with self._file.open(mode) as file:  # written in its place: those who read it have it mapped
            file.write(int(hours * 3_600_000).to_bytes(8, sys.byteorder, signed=True))
