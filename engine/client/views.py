"""Views: rows of the store -> what people and JSON see. Pure.

Payloads, results and texts are masked unless the caller asks to see them as they are; masking twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..declared import QueueSpec
from ..job import AttemptRecord, Envelope, State
from ..masking import mask_payload, mask_text
from ..store.rows import JobRow, QueueCounts, WorkerRow, entry_ms
from ..store.server import ServerInfo
from .shapes import AttemptView, ErrorView, JobLine, JobView, ProgressView, QueueView, ServerView, ServingView, WorkerView

RAW_SHOWN = 200
"""Bytes shown of an entry that can't be read."""


def counted(n: int, noun: str) -> str:
    """`1 job`, `12,000 jobs`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def instant(ms: int) -> str | None:
    """Epoch ms as `2026-11-23T12:00:00.000Z`; None for 0 (not known) and for what no calendar has."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if ms else None
    except (OverflowError, ValueError, OSError):
        return None


def decoded(data: bytes, *, reveal: bool) -> Any:
    """msgpack -> plain data for JSON, masked unless `reveal`; None when it can't be read."""
    try:
        value = msgspec.msgpack.decode(data)
        return msgspec.to_builtins(value, str_keys=True) if reveal else mask_payload(value)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None


def job_view(
    row: JobRow, spec: QueueSpec | None, *, why: str | None, notes: Mapping[str, bytes], reveal: bool = False
) -> JobView:
    """A job with its whole story: what its row and its notes say."""
    line = job_line(row, spec, why=why, result=notes.get("result"), reveal=reveal)
    return JobView(
        **msgspec.structs.asdict(line),
        history=_history(row),
        progress=_progress(notes),
        steps=_steps(notes),
        log=_log(notes),
    )


def job_line(
    row: JobRow, spec: QueueSpec | None, *, why: str | None = None, result: bytes | None = None, reveal: bool = False
) -> JobLine:
    """A job as a list has it; `result` is what its handler returned, packed."""
    envelope, body, death = row.envelope, row.body, row.death
    key = envelope.key if envelope else ""
    return JobLine(
        id=f"{row.queue}/{row.id}",
        queue=row.queue,
        name=row.name,
        state=row.state,
        attempt=row.attempt,
        attempts=_attempts(row, spec),
        stalls=envelope.stalls if envelope else sum(record.outcome == "stalled" for record in row.past),
        priority=envelope.priority if envelope else (spec.priority if spec else 5),
        ordering_key=(key if reveal else mask_text(key)) or None,
        organization_id=death.organization_id if death else None,
        enqueued_at=instant(entry_ms(row.id)),
        due_at=instant(row.due_ms),
        started_at=instant(row.started_ms),
        ended_at=instant(row.ended_ms),
        expires_at=instant(entry_ms(row.id) + body.expires_after_ms) if body and body.expires_after_ms else None,
        timeout=body.timeout if body else None,
        run_seconds=row.run_ms / 1000 if row.state is State.COMPLETED else None,
        worker=row.worker or (death.worker if death else "") or None,
        error=_error(row),
        why=why,
        cancel_reason=(mask_text(row.reason) or None) if row.state is State.CANCELLED else None,
        result=None if result is None else decoded(result, reveal=reveal),
        payload=decoded(body.payload, reveal=reveal) if body else None,
        raw=_raw(row.raw) if row.raw else None,
    )


def queue_view(counts: QueueCounts, spec: QueueSpec | None) -> QueueView:
    """The counts of a queue as people see them."""
    pause = counts.paused
    return QueueView(
        enqueued=counts.enqueued,
        waiting=counts.waiting,
        active=counts.active,
        scheduled=counts.scheduled,
        retrying=counts.retrying,
        blocked=counts.blocked,
        completed=counts.completed,
        dead=counts.dead,
        cancelled=counts.cancelled,
        removed=counts.removed,
        paused=pause is not None,
        oldest_waiting_seconds=counts.oldest_waiting_seconds,
        workers=counts.workers,
        pause_reason=mask_text(pause.reason) if pause else None,
        paused_until=instant(pause.until_ms) if pause else None,
        rate_limited_until=instant(counts.gate_until_ms),
        difference=counts.difference,
        retried=counts.retried,
        stalled=counts.stalled,
        priority=spec.priority if spec else None,
        concurrency=spec.concurrency if spec else None,
        max_waiting=spec.limit.most or None if spec else None,
        when_full=spec.limit.when_full if spec and spec.limit.most else None,
        refused=counts.refused,
        dropped=counts.dropped,
    )


def server_view(info: ServerInfo, address: str) -> ServerView:
    """The server as people see it; `address` must be redacted already."""
    return ServerView(
        flavour=info.flavour,
        version=info.version,
        role=info.role,
        durability=info.durability,
        ping_ms=round(info.ping_ms, 3),
        used_memory_bytes=info.used_memory,
        maxmemory_bytes=info.maxmemory,
        policy=info.policy,
        connected_replicas=info.connected_replicas,
        address=address,
    )


def worker_views(rows: list[WorkerRow], now_ms: int) -> list[WorkerView]:
    """One view a worker, from its rows of several queues."""
    by_name: dict[str, list[WorkerRow]] = {}
    for row in rows:
        by_name.setdefault(row.worker, []).append(row)
    views = []
    for name, mine in sorted(by_name.items()):
        last = max(mine, key=lambda row: row.seen_ms)
        serving = tuple(ServingView(queue=r.queue, concurrency=r.concurrency, held=r.held, names=r.names) for r in mine)
        views.append(
            WorkerView(
                worker=name,
                host=last.host,
                pid=last.pid,
                version=last.version,
                is_alive=last.is_alive,
                seen_at=instant(last.seen_ms),
                seen_seconds_ago=max(now_ms - last.seen_ms, 0) / 1000,
                started_at=instant(last.started_at_ms),
                queues=serving,
            )
        )
    return views


# --- parts -----------------------------------------------------------------------------------------------------------


def _attempts(row: JobRow, spec: QueueSpec | None) -> int | None:
    if row.body and row.body.attempts is not None:
        return row.body.attempts
    handler = spec.handlers.get(row.name) if spec else None
    if handler:
        return handler.rules.attempts
    return spec.attempts if spec else None


def _history(row: JobRow) -> tuple[AttemptView, ...]:
    """The records of the body and the stalls of the envelope, in the order in which they ended."""
    records = list(row.death.history if row.death and row.death.history else (row.body.history if row.body else row.past))
    records += _stalls(row.envelope)
    records.sort(key=lambda record: record.ended_at_ms)
    views = [
        AttemptView(
            attempt=record.attempt,
            started_at=instant(record.started_at_ms),
            ended_at=instant(record.ended_at_ms),
            outcome=record.outcome,
            error=mask_text(record.error) or None,
            worker=record.worker or None,
        )
        for record in records
    ]
    if row.state is State.COMPLETED:
        views.append(
            AttemptView(
                attempt=row.attempt,
                started_at=instant(row.started_ms),
                ended_at=instant(row.ended_ms),
                outcome="completed",
                error=None,
                worker=row.worker or None,
            )
        )
    return tuple(views)


def _stalls(envelope: Envelope | None) -> list[AttemptRecord]:
    """A stall keeps when it was found and whose it was; which attempt it hit is not written down, so it is the present one."""
    if envelope is None:
        return []
    lost = "the worker was lost: killed, frozen, or cut off for longer than its lease"
    return [AttemptRecord(envelope.attempt, 0, loss.at_ms, "stalled", lost, loss.worker) for loss in envelope.lost]


def _error(row: JobRow) -> ErrorView | None:
    death = row.death
    if death is not None:
        message = death.message
        if not message and death.type == "WorkerLost":
            message = f"{counted(len(row.envelope.lost) if row.envelope else 0, 'worker')} lost while running it"
        if not message and death.type == "Undecodable":
            message = "this entry is no job of the engine's: something else wrote it, or its bytes were damaged"
        return ErrorView(
            type=death.type or "Unknown",
            message=mask_text(message),
            traceback=mask_text(death.traceback) or None,
            fingerprint=death.fingerprint or None,
            reason=death.reason or None,
        )
    failed = [record for record in (row.body.history if row.body else ()) if record.error and record.outcome == "retry"]
    if not failed or row.state in (State.COMPLETED, State.CANCELLED):
        return None
    kind, colon, message = mask_text(failed[-1].error).partition(": ")
    return ErrorView(type=kind if colon else mask_text(failed[-1].error), message=message)


def _progress(notes: Mapping[str, bytes]) -> ProgressView | None:
    done, semicolon, total = notes.get("progress", b"").partition(b";")
    try:
        return ProgressView(int(done), int(total)) if semicolon else None
    except ValueError:
        return None


def _steps(notes: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(sorted(name.removeprefix("step:") for name in notes if name.startswith("step:")))


def _log(notes: Mapping[str, bytes]) -> tuple[str, ...]:
    numbers = sorted(int(name[4:]) for name in notes if name.startswith("log:") and name[4:].isdigit())
    lines = []
    for number in numbers:
        at, _, said = notes[f"log:{number}"].partition(b";")
        lines.append(f"{instant(int(at)) if at.isdigit() else ''} {mask_text(said.decode(errors='replace'))}".strip())
    return tuple(lines)


def _raw(value: bytes) -> str:
    shown = repr(value[:RAW_SHOWN])
    return mask_text(shown) + (f" and {len(value) - RAW_SHOWN} bytes more" if len(value) > RAW_SHOWN else "")
