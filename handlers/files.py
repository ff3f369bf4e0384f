"""Files: small local stores that several processes of one machine may share. For development and single-machine use.

A write is one atomic replacement (or one appended line) under a lock that the kernel releases however its holder dies, so a
killed worker leaves neither half a file nor a lock behind. All of it blocks: the stores call it in threads.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
R = TypeVar("R")

_threads = threading.Lock()
"""For the threads of this process where the platform has no file locks; elsewhere it costs nothing."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else on this machine who asks for the same path is inside at the same time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _threads:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class JsonFile(Generic[T]):
    """One value of type `kind`, kept as JSON. A file that is not there reads as `empty()`."""

    def __init__(self, path: Path, kind: type[T], empty: Callable[[], T]) -> None:
        self._path = path
        self._empty = empty
        self._decode = msgspec.json.Decoder(kind).decode

    def __repr__(self) -> str:
        return f"<JsonFile {self._path}>"

    def read(self) -> T:
        """The value as it is now.

        Raises:
            ValueError: the file holds something else; the sentence names the file and the field.
        """
        try:
            return self._decode(self._path.read_bytes())
        except FileNotFoundError:
            return self._empty()
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._path} can't be read: {error}; mend it or remove it") from error

    def update(self, change: Callable[[T], R]) -> R:
        """Let `change` alter the value in place, keep it, and return what `change` returned. Errors as `read`."""
        with locked(self._path):
            value = self.read()
            result = change(value)
            fresh = self._path.with_name(f"{self._path.name}.new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
            os.replace(fresh, self._path)
        return result
