"""Processes: start a program with all its children in a session of its own, look at what they use, end them all. Linux only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes used so far (CPU, with its ended children) and holds now (memory)."""

    cpu_seconds: float
    rss_bytes: int
    processes: int


class Program:
    """A started program. Leaving the context kills it and everything it started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The program's own process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the program's own process lives."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line it wrote, for a reason."""
        return last_line(self._log.read_text(errors="replace"))

    def usage(self) -> Usage:
        """Of the whole tree, now."""
        cpu, rss, found = 0.0, 0, 0
        for stat in _tree(self.pid).values():
            cpu += stat.cpu_seconds
            rss += stat.rss_bytes
            found += 1
        return Usage(cpu, rss, found)

    def kill(self) -> None:
        """SIGKILL to every process of the tree, again until none is left (a parent may just have forked)."""
        for _ in range(50):
            left = [pid for pid, stat in _tree(self.pid).items() if not stat.is_zombie]
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            if not left:
                break
            time.sleep(0.02)
        self._process.wait(10)


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    session: int
    cpu_seconds: float
    rss_bytes: int
    is_zombie: bool


def _tree(root: int) -> dict[int, _Stat]:
    """Processes of the root's session, and whatever descends from them: some libraries start sessions of their own."""
    everything = {int(entry): stat for entry in os.listdir("/proc") if entry.isdigit() and (stat := _stat(entry))}
    found = {pid: stat for pid, stat in everything.items() if stat.session == root or pid == root}
    grown = True
    while grown:
        more = {pid: stat for pid, stat in everything.items() if pid not in found and stat.parent in found}
        found.update(more)
        grown = bool(more)
    return found


def _stat(pid: str) -> _Stat | None:
    try:
        text = Path("/proc", pid, "stat").read_text()
    except OSError:
        return None  # it has just ended
    fields = text.rpartition(")")[2].split()
    cpu = sum(int(field) for field in fields[11:15]) / _TICK
    return _Stat(int(fields[1]), int(fields[3]), cpu, int(fields[21]) * _PAGE, fields[0] == "Z")


def last_line(text: str) -> str:
    """What it died of: the last line that names an error, else the last that says something; cut to a cell's width."""
    lines = [line.strip(" \t\r│╭╰─╮╯|") for line in text.splitlines()]
    lines = [line for line in lines if any(letter.isalpha() for letter in line)]
    errors = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
    return (errors or lines or ["it said nothing"])[-1][:160]
