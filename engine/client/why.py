"""Why: one sentence that says what a job waits for. Pure.

The first reason is the one to act on: a paused queue before a missing worker, a missing worker before the place in line.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..durations import format_duration
from ..job import State
from ..keys import shown
from ..masking import mask_text
from ..store.rows import Inspection, JobRow, Place, QueueCounts, WorkerRow
from .views import instant


def why(found: Inspection, counts: QueueCounts, workers: Sequence[WorkerRow], lease_ms: int) -> str | None:
    """What the job waits for, or what is odd about its run; None when it runs as it should, or has ended.

    A worker is silent when it has not renewed for its own lease, which it tells, and for `lease_ms`, that of whoever asks.
    """
    row = found.row
    if row is None or row.state in (State.DEAD, State.COMPLETED, State.CANCELLED):
        return None
    if row.state is State.ACTIVE:
        told = [worker.lease_ms for worker in workers if worker.worker == row.worker]
        return _active(found, row, max(lease_ms, *told, 0))
    parts = _held_up(counts)
    match row.state:
        case State.BLOCKED:
            parts.append(_blocked(found, row))
            parts += _unserved(row, workers)
        case State.SCHEDULED | State.RETRYING:
            if row.due_ms > found.now_ms:
                parts.insert(0, _timed(found, row))
            else:
                late = format_duration((found.now_ms - row.due_ms) / 1000)
                parts.append(f"due since {late}: a worker will move it to its line")
                parts += _unserved(row, workers)
        case _:
            parts += _unserved(row, workers)
            parts.append(_in_line(found, row))
    return "; ".join(parts)


def brief_why(row: JobRow, counts: QueueCounts) -> str | None:
    """As `why`, from what a list knows: no look at this one job."""
    if row.state in (State.DEAD, State.COMPLETED, State.CANCELLED, State.ACTIVE):
        return None
    parts = _held_up(counts)
    if row.state is State.BLOCKED and row.envelope:
        parts.append(f"behind its ordering key {shown(mask_text(row.envelope.key))}")
    if row.state in (State.SCHEDULED, State.RETRYING):
        parts.insert(0, f"{row.state} until {instant(row.due_ms)}")
    if row.state is State.WAITING and not counts.workers:
        parts.append(_no_worker(row.queue))
    return "; ".join(parts) or None


def _held_up(counts: QueueCounts) -> list[str]:
    """What keeps the whole queue from starting jobs."""
    parts = []
    if counts.paused is not None:
        reason = f" ({mask_text(counts.paused.reason)})" if counts.paused.reason else ""
        until = counts.paused.until_ms
        end = f" until {instant(until)}, for {_in(until, counts.now_ms)} more" if until else ""
        parts.append(f"queue {counts.queue!r} is paused{reason}{end}: `engine resume {counts.queue}` lets it go on")
    elif counts.gate_until_ms:
        parts.append(
            f"queue {counts.queue!r} waits out a rate limit, for {_in(counts.gate_until_ms, counts.now_ms)} more: "
            f"`engine resume {counts.queue}` opens it before"
        )
    return parts


def _unserved(row: JobRow, workers: Sequence[WorkerRow]) -> list[str]:
    alive = [worker for worker in workers if worker.is_alive]
    if not alive:
        return [_no_worker(row.queue)]
    known = {name for worker in alive for name in worker.names}
    if row.name and known and row.name not in known and all(worker.names for worker in alive):
        some = ", ".join(sorted(known)[:5])
        return [f"no live worker knows the handler {shown(row.name)} (they know {some}): deploy one that does"]
    return []


def _no_worker(queue: str) -> str:
    return f"no live worker serves queue {queue!r}: start one with `engine run --queue {queue}`"


def _in_line(found: Inspection, row: JobRow) -> str:
    many = f"{found.front}{' or more' if found.is_more_in_front else ''} jobs are in front of it"
    place = {0: "next in line", 1: "1 job is in front of it"}.get(found.front, many)
    if row.tag == "s":
        stalls = row.envelope.stalls if row.envelope else 0
        times = "once" if stalls == 1 else f"{stalls} times"
        return f"it stalled {times}, so it will run alone as soon as a worker holds nothing else ({place})"
    return place


def _blocked(found: Inspection, row: JobRow) -> str:
    key = shown(mask_text(row.envelope.key)) if row.envelope else "?"
    holder = f"{row.queue}/{found.holder} has it" if found.holder else "nobody seems to have it: run `engine doctor`"
    place = f"number {found.line} in its line" if found.line else "and in nobody's line: run `engine doctor`"
    return f"behind its ordering key {key}, {place}; {holder}"


def _timed(found: Inspection, row: JobRow) -> str:
    when = f"{instant(row.due_ms)} (in {_in(row.due_ms, found.now_ms)})"
    if row.state is State.RETRYING:
        failed = [record.error for record in (row.body.history if row.body else ()) if record.outcome == "retry"]
        after = f", after {mask_text(failed[-1])}" if failed and failed[-1] else ""
        return f"attempt {row.attempt} starts at {when}{after}"
    return f"{'put off' if found.place is Place.SNOOZED else 'scheduled'} until {when}"


def _active(found: Inspection, row: JobRow, lease_ms: int) -> str | None:
    parts = []
    if found.is_cancel_asked:
        parts.append(f"its cancel was asked: worker {row.worker} is told and ends it")
    if row.idle_ms > lease_ms:
        silence = format_duration(row.idle_ms / 1000)
        parts.append(f"worker {row.worker} has not renewed its lease for {silence}: another worker will take it over")
    return "; ".join(parts) or None


def _in(until_ms: int, now_ms: int) -> str:
    return format_duration(max(until_ms - now_ms, 0) / 1000)
