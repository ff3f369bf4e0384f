"""Journal: what handlers really did, kept outside Redis.

Worker processes of the system tests append one line a fact; each line is one `write` to a file opened with O_APPEND, so lines of
several processes never mix and a killed process loses none. Tests compare it with what the store says.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["start", "end", "told", "note"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. `mono` is seconds of the machine's monotonic clock, which all its processes share; `at_ms` is wall time."""

    what: What
    job: str
    """The job's full id."""
    n: int = 0
    """The job's number in its test."""
    attempt: int = 0
    key: str = ""
    pid: int = 0
    mono: float = 0.0
    at_ms: int = 0
    text: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a handler, and its end if there was one; `end_mono` is infinite for a handler that was killed."""

    start: Line
    end: Line | None

    @property
    def end_mono(self) -> float:
        """When it ended, monotonic seconds."""
        return self.end.mono if self.end else float("inf")


class Journal:
    """One file of one test; any number of processes write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    def write(self, what: What, job: str, *, n: int = 0, attempt: int = 0, key: str = "", text: str = "") -> None:
        """Add one line, in one system call."""
        line = Line(
            what=what, job=job, n=n, attempt=attempt, key=key, pid=os.getpid(), text=text,
            mono=time.monotonic(), at_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
        os.write(self._fd, _encode(line) + b"\n")

    def lines(self, what: What | None = None, *, n: int | None = None) -> list[Line]:
        """Every line so far, oldest first; only of one kind, or of one job."""
        found = [_decode(line) for line in self.path.read_bytes().splitlines()]
        return [x for x in found if (what is None or x.what == what) and (n is None or x.n == n)]

    def starts(self, n: int | None = None) -> list[Line]:
        """Every start of a handler."""
        return self.lines("start", n=n)

    def ends(self, n: int | None = None) -> list[Line]:
        """Every handler that came to its end (returned, raised or was cancelled)."""
        return self.lines("end", n=n)

    def runs(self, n: int | None = None) -> list[Run]:
        """Starts with their ends. One process runs a job once at a time, so an end belongs to that process's last start."""
        found: list[Run] = []
        open_at: dict[tuple[str, int], int] = {}
        for line in self.lines(n=n):
            if line.what == "start":
                open_at[line.job, line.pid] = len(found)
                found.append(Run(line, None))
            elif line.what == "end":
                at = open_at.pop((line.job, line.pid))
                found[at] = Run(found[at].start, line)
        return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
