"""Rows: what reads of the store answer with, still close to Redis. `engine.client` turns them into what people see.

Instants are the server's epoch milliseconds. Payloads stay packed and unmasked here: whoever shows a row masks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ..errors import BadPayload
from ..job import AttemptRecord, Body, Envelope, State, unpack, unpack_body


class Pause(msgspec.Struct, frozen=True):
    """A paused queue. `until_ms` 0: until somebody resumes it."""

    until_ms: int
    since_ms: int
    reason: str


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a queue are where, at one instant; flows count from the queue's beginning."""

    queue: str
    enqueued: int
    waiting: int
    active: int
    scheduled: int
    retrying: int
    blocked: int
    completed: int
    dead: int
    cancelled: int
    removed: int
    retried: int
    snoozed: int
    stalled: int
    died: int
    released: int
    requeued: int
    expired: int
    """of the cancelled ones: too late to start"""
    refused: int
    """never enqueued: the queue was full"""
    dropped: int
    """of the removed ones: the oldest, to make room in a full queue"""
    workers: int
    """seen within the last 15 s"""
    paused: Pause | None
    gate_until_ms: int
    """0, or until when a rate limit of the outside keeps the whole queue from starting jobs"""
    grace_until_ms: int
    """0, or until when no lease is taken away, after an outage"""
    oldest_waiting_ms: int
    """0, or since when the oldest waiting job could run"""
    now_ms: int
    epoch: str
    unread: tuple[str, ...] = ()
    """Counters and times that somebody made no number; they count as 0 here"""

    @property
    def pending(self) -> int:
        """Jobs that have not ended: waiting, active, scheduled, retrying or blocked."""
        return self.kept + self.active

    @property
    def kept(self) -> int:
        """Jobs that count against the queue's `max_waiting`: waiting, scheduled, retrying or blocked."""
        return self.waiting + self.scheduled + self.retrying + self.blocked

    @property
    def difference(self) -> int:
        """0 while the conservation law holds; over 0 jobs are missing, under 0 there are more than were enqueued."""
        return self.enqueued - (self.pending + self.completed + self.dead + self.cancelled + self.removed)

    @property
    def oldest_waiting_seconds(self) -> float:
        """How long the oldest waiting job could have run; 0 when none waits."""
        return max(self.now_ms - self.oldest_waiting_ms, 0) / 1000 if self.oldest_waiting_ms else 0.0


class Death(msgspec.Struct, frozen=True):
    """What a worker writes down about a job it buries (field `i` of the dead-letter stream, msgpack). Text is masked."""

    type: str = ""
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""
    """Equal for failures of one cause."""
    reason: str = ""
    history: tuple[AttemptRecord, ...] = ()
    worker: str = ""
    organization_id: str | None = None
    died_at_ms: int = 0


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job as a list shows it. What does not apply to its state is 0, '' or None."""

    queue: str
    id: str
    state: State
    name: str = ""
    """'' when its envelope can't be read; `raw` has it then"""
    attempt: int = 1
    envelope: Envelope | None = None
    body: Body | None = None
    raw: bytes = b""
    due_ms: int = 0
    tag: str = ""
    """The ready stream it is in: 1 to 9 priority, A to I released, s suspects"""
    worker: str = ""
    idle_ms: int = 0
    """Since its worker last renewed the lease"""
    started_ms: int = 0
    ended_ms: int = 0
    run_ms: int = 0
    reason: str = ""
    """Why cancelled, or why dead"""
    death: Death | None = None
    past: tuple[AttemptRecord, ...] = ()
    """Of a completed job: the attempts and stalls before the one that completed"""
    entry: str = ""
    """Where it is among the dead or the ended; rises with time"""


class Page(msgspec.Struct, frozen=True):
    """Some rows. `cursor` '' is the end; a page may be empty and still have one, when it looked at much that did not fit."""

    rows: list[JobRow]
    cursor: str


class Place(StrEnum):
    """Where `inspect` found a job."""

    READY = "r"
    SCHEDULED = "s"
    SNOOZED = "z"
    RETRYING = "t"
    BLOCKED = "b"
    DEAD = "d"
    UNKNOWN = ""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one job that has not ended well. `row` None: no such job outside the finished ones."""

    place: Place
    row: JobRow | None
    now_ms: int
    holder: str = ""
    """Id of the job that has its ordering key"""
    line: int = 0
    """From 1, its place behind that key; 0 when it waits behind none, or is missing in its line"""
    front: int = 0
    """Jobs that will be claimed before it, as far as was counted"""
    is_more_in_front: bool = False
    """There are more than that; to a thousand, or to 64 KiB of them, they are counted"""
    is_cancel_asked: bool = False
    notes: dict[str, bytes]
    """progress, result, ended, lines, log:<n>; of step:<name> the name alone"""


class Heartbeat(msgspec.Struct, frozen=True):
    """What a worker says of itself in each heartbeat (msgpack map)."""

    host: str = ""
    pid: int = 0
    started_at_ms: int = 0
    concurrency: int = 0
    lease_ms: int = 0
    """Its lease at this queue; 0 when it did not say"""
    names: tuple[str, ...] = ()
    """Handlers it knows"""
    held: int = 0
    version: str = ""


class WorkerRow(Heartbeat, frozen=True, kw_only=True):
    """A worker's last heartbeat for one queue: whose it is, and what it said."""

    queue: str
    worker: str
    seen_ms: int
    is_alive: bool


class ConsumerRow(msgspec.Struct, frozen=True):
    """A worker's name in the group of one ready stream, as the server knows it; it outlives a killed worker."""

    tag: str
    worker: str
    pending: int
    idle_ms: int
    """Since it last asked for anything"""


class QueueEvent(msgspec.Struct, frozen=True):
    """Something happened in a queue: died, retried, stalled, cancelled, removed, dropped, requeued, paused, resumed or
    completed."""

    queue: str
    kind: str
    id: str
    at_ms: int
    detail: str


class Feed(msgspec.Struct, frozen=True):
    """What happened since a cursor; go on from `cursor`."""

    events: list[QueueEvent]
    cursor: str


# --- from bytes ------------------------------------------------------------------------------------------------------

_decode_death = msgspec.msgpack.Decoder(Death).decode
_decode_heartbeat = msgspec.msgpack.Decoder(Heartbeat).decode

ALIVE_MS = 15_000
"""A worker is taken for alive so long after its last heartbeat; lua/counts.lua and lua/heartbeat.lua say the same. One that is
further ahead than that is of before the clock was set back: who lives beats again within 4 s."""


def job_row(queue: str, state: State, value: bytes, entry: str) -> JobRow:
    """A row from a job's envelope; one that can't be read becomes a row with `raw`, never an error."""
    try:
        envelope = unpack(value, entry)
    except BadPayload:
        return JobRow(queue=queue, id=entry, state=state, raw=value)
    try:
        body = unpack_body(envelope.body)
    except BadPayload:
        return JobRow(queue=queue, id=envelope.id, state=state, attempt=envelope.attempt, envelope=envelope, raw=value)
    return JobRow(
        queue=queue, id=envelope.id, state=state, name=body.name, attempt=envelope.attempt, envelope=envelope, body=body
    )


def dead_row(queue: str, entry: str, fields: Mapping[str, bytes]) -> JobRow:
    """A row from an entry of the dead-letter queue: `j` envelope, `i` a worker's Death, `f` fingerprint, `w` reason, `id`."""
    row = job_row(queue, State.DEAD, fields.get("j", b""), entry)
    died_ms = entry_ms(entry)
    reason = fields.get("w", b"").decode(errors="replace")
    try:
        death = _decode_death(fields.get("i", b""))
    except (msgspec.DecodeError, UnicodeDecodeError):  # a script buried it, no worker wrote anything down
        kind = {"undecodable": "Undecodable", "stall limit": "WorkerLost"}.get(reason, "")
        lost = row.envelope.lost if row.envelope else []
        death = Death(type=kind, worker=lost[-1].worker if lost else "", died_at_ms=died_ms)
    print_ = fields.get("f", b"").decode(errors="replace")
    death = msgspec.structs.replace(death, reason=death.reason or reason, fingerprint=death.fingerprint or print_)
    job_id = fields.get("id", b"").decode(errors="replace") or row.id
    return msgspec.structs.replace(
        row, id=job_id, entry=entry, ended_ms=death.died_at_ms or died_ms, reason=death.reason, death=death
    )


def worker_row(queue: str, worker: str, value: bytes, now_ms: int) -> WorkerRow:
    """A row of hash `workers`: `<seen_ms>;<msgpack map>`."""
    seen, _, packed = value.partition(b";")
    seen_ms = int(seen) if seen.isdigit() else 0
    try:
        beat = _decode_heartbeat(packed)
    except (msgspec.DecodeError, UnicodeDecodeError):  # another version's; that it lives is still known
        beat = Heartbeat()
    return WorkerRow(
        queue=queue, worker=worker, seen_ms=seen_ms, is_alive=abs(now_ms - seen_ms) < ALIVE_MS, **msgspec.structs.asdict(beat)
    )


def entry_ms(entry: str) -> int:
    """The epoch ms in a job's or an entry's id; 0 when it has none."""
    ms = entry.partition("-")[0]
    return int(ms) if ms.isdigit() else 0


def id_order(entry: str) -> tuple[int, int]:
    """What sorts ids by age: the text of an id does not."""
    ms, _, seq = entry.partition("-")
    return (int(ms) if ms.isdigit() else 0, int(seq) if seq.isdigit() else 0)
