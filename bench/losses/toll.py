"""Toll: what a fault cost, from what was written down and from what the server still has. Pure: records in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.chaos.journal import Record

from .app import KEPT, WORKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """The cost of one fault. Seconds are None where nothing of the kind was under way."""

    asked: int
    acked: int
    lost: int
    """Acknowledged enqueues that are nowhere: not on the server, and their handler never ran."""
    lost_seconds: float
    """Between the first and the last lost acknowledgement."""
    unknown: int
    """Calls that ended as EnqueueUnknown; all of them were told later, but for `untold`."""
    untold: int
    refused: int
    longest_call_seconds: float
    silence_seconds: float
    """The longest time without any acknowledgement."""
    same_id: int
    """Acknowledged jobs whose id another acknowledged job has too."""
    run_again: int
    """Jobs whose handler came to its end more than once."""
    recorded_again: int
    """Jobs whose completion was acknowledged to a worker more than once: the first one is in no history any more."""
    idle_seconds: float | None
    """The longest time in which workers started nothing."""
    loss_told: int
    """`data.loss` events of workers and producers."""


def toll(records: Sequence[Record], kept: Mapping[str, int]) -> Toll:
    """What it cost. `kept`: full id -> number of every job that the server has in queue `kept` in the end."""
    acked = [record for record in records if record.what == "acked"]
    ran = {record.n for record in records if record.what == "end"}
    lost = [a for a in acked if (kept.get(a.job) != a.n if a.queue == KEPT else a.n not in ran)]
    unknown = {record.n for record in records if record.what == "unknown"}
    took = [record.took_ms for record in records if record.what in ("acked", "unknown", "refused")]
    starts = [record for record in records if record.what == "start"]
    return Toll(
        asked=sum(record.what == "ask" for record in records),
        acked=len(acked),
        lost=len(lost),
        lost_seconds=(lost[-1].mono_ns - lost[0].mono_ns) / 1e9 if lost else 0.0,
        unknown=len(unknown),
        untold=len(unknown - {a.n for a in acked}),
        refused=sum(record.what == "refused" for record in records),
        longest_call_seconds=max(took, default=0) / 1000,
        silence_seconds=longest_gap(a.mono_ns for a in acked) or 0.0,
        same_id=_more_than_once((a.job, a.n) for a in acked),
        run_again=_repeated(record.n for record in records if record.what == "end"),
        recorded_again=_repeated(record.job for record in records if record.how == "recorded"),
        idle_seconds=longest_gap(s.mono_ns for s in starts),
        loss_told=sum(record.how == "data loss" for record in records),
    )


def longest_gap(instants_ns: Iterable[int]) -> float | None:
    """Seconds between the two neighbours that lie furthest apart; None of fewer than two.

    >>> longest_gap([0, 1_000_000_000, 4_000_000_000]), longest_gap([5])
    (3.0, None)
    """
    ordered = sorted(instants_ns)
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    return max(gaps) / 1e9 if gaps else None


def worked(records: Sequence[Record]) -> set[int]:
    """Numbers of the acknowledged jobs of queue `worked`."""
    return {record.n for record in records if record.what == "acked" and record.queue == WORKED}


def _repeated(values: Iterable[object]) -> int:
    return sum(times > 1 for times in Counter(values).values())


def _more_than_once(pairs: Iterable[tuple[str, int]]) -> int:
    """Ids that belong to several numbers. The same job may be acknowledged twice, by `repeat`."""
    return _repeated(job for job, _ in set(pairs))
