"""Restarts: which starts were cut off by a kill, and when each of those jobs began anew. Pure functions over the notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec


class Restart(msgspec.Struct, frozen=True):
    """A job that a killed worker ran, and its next start."""

    job: str
    pid: int
    """Of the worker that was killed."""
    seconds: float
    """From the kill to the next start."""


def restarts(lines: Iterable[str], killed_ns: Mapping[int, int]) -> list[Restart]:
    """The restarts in notes (`start|end job pid ns`); `killed_ns` has the process ids that were killed, and when. A job that was
    struck twice before it started anew counts from the second kill.

    >>> restarts(["start q/1 7 1000000000", "start q/1 8 4000000000"], {7: 2000000000})
    [Restart(job='q/1', pid=7, seconds=2.0)]
    """
    starts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    ended: set[tuple[str, int]] = set()
    for line in lines:
        what, job, process, ns = line.split()
        if what == "start":
            starts[job].append((int(ns), int(process)))
        else:
            ended.add((job, int(process)))
    found = []
    for job, runs in starts.items():
        for (began_ns, pid), (next_ns, _) in zip(sorted(runs), sorted(runs)[1:], strict=False):
            if (job, pid) not in ended and began_ns < killed_ns.get(pid, 0) < next_ns:
                found.append(Restart(job, pid, (next_ns - killed_ns[pid]) / 1e9))
    return found
