"""Notes: what the processes of a measurement write down for the one that started them. Instants are `Clock.mono()` seconds.

On one machine every process reads the same monotonic clock, so an instant of the producer and one of the worker may be
subtracted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A job as its producer saw it."""

    job: str
    planned: float
    """When it was due to be sent, fixed before the load began."""
    sent: float
    acked: float
    """When `enqueue` returned."""


class Ran(msgspec.Struct, frozen=True, array_like=True):
    """A job as its worker saw it."""

    job: str
    name: str
    started: float
    """When its handler was called."""
    ended: float
    """When its handler returned."""
    settled: float
    """When the server had recorded its end."""


class ProducerNotes(msgspec.Struct, frozen=True):
    """What a producer wrote down."""

    sent: list[Sent]
    scripts: dict[str, list[float]] = {}
    """Script -> seconds of each call, as the client saw them."""


class WorkerNotes(msgspec.Struct, frozen=True):
    """What a worker wrote down."""

    ran: list[Ran]
    most_at_once: dict[str, int]
    """Queue -> the most handlers of it that ran at the same time."""
    scripts: dict[str, list[float]] = {}


class Outcome(msgspec.Struct, frozen=True):
    """One job from both sides."""

    name: str
    planned: float
    sent: float
    acked: float
    started: float
    ended: float
    settled: float


def write(path: Path, notes: object) -> None:
    """Keep notes in a file, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(msgspec.msgpack.encode(notes))
    fresh.replace(path)


def read(path: Path, kind: type[T]) -> T:
    """Notes that `write` kept."""
    return msgspec.msgpack.decode(path.read_bytes(), type=kind)


def joined(sent: list[Sent], ran: list[Ran]) -> list[Outcome]:
    """Every job that was sent and has run, in the order of sending.

    Raises:
        LostJobs: some were sent and never ran. A figure without them would flatter.
    """
    by_id = {one.job: one for one in ran}
    missing = [one.job for one in sent if one.job not in by_id]
    if missing:
        raise LostJobs(f"{len(missing)} of {len(sent)} jobs were sent and never ran, the first is {missing[0]}")
    found = []
    for one in sent:
        end = by_id[one.job]
        found.append(Outcome(end.name, one.planned, one.sent, one.acked, end.started, end.ended, end.settled))
    return found


class LostJobs(Exception):
    """Jobs were sent and did not run."""
