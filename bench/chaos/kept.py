"""Kept: what Redis keeps of a queue, as plain records, and its bytes taken apart.

Written from docs/keys.md and with nothing of the engine: a reader of its own is what makes the checker's word worth something.
Instants are epoch milliseconds of the server's clock.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import msgspec

WIDE = 13
"""Bytes of an id in a row of `keys`: 6 of milliseconds, 7 of sequence number."""

_HEAD = re.compile(rb"(\d+);(\d+);(\d);([\d-]*);(\d+);(\d+);")


class Tried(msgspec.Struct, array_like=True, frozen=True):
    """One attempt whose end is written down."""

    attempt: int
    started_ms: int
    ended_ms: int
    outcome: str
    """retry | snooze | released | dead, and ours: completed | cancelled"""
    error: str = ""
    worker: str = ""


class Loss(msgspec.Struct, frozen=True):
    """A lease that ran out: when that was found, and whose it was."""

    at_ms: int
    worker: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one place where it was found. One that is found at two places has two."""

    queue: str
    id: str
    state: str
    entry: str = ""
    """Its entry in a stream; '' in a sorted set."""
    tag: str = ""
    """Of its ready stream."""
    place: str = ""
    """As a row of `where` says it: `5:<entry>`, `s`, `z`, `t`, `b:<entry>`, `d:<entry>`; '' for a fresh entry and an ended
    job."""
    attempt: int = 1
    stalls: int = 0
    key: str = ""
    losses: tuple[Loss, ...] = ()
    history: tuple[Tried, ...] = ()
    """Every attempt whose end is written down, the last one too."""
    n: int = 0
    """`n` of its payload; 0 where no payload is kept (completed) or it has none."""
    worker: str = ""
    due_ms: int = 0
    ended_ms: int = 0
    """When its end was recorded, by the server."""
    reason: str = ""
    payload_bytes: int = 0
    """How much of its payload, or of what is no job, is kept."""

    @property
    def job(self) -> str:
        """The full id."""
        return f"{self.queue}/{self.id}"


class Stream(msgspec.Struct, kw_only=True):
    """One ready stream."""

    tag: str
    is_known: bool
    """Its tag is in `tags` of `meta`: workers look at it."""
    entries: int = 0
    delivered: str = "0-0"
    """The last entry that was given to a worker."""
    has_group: bool = True
    pending: dict[str, str] = msgspec.field(default_factory=dict)
    """Entry -> worker."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Who has an ordering key and who waits for it."""

    holder: str
    """A job's id; '' when nobody has it."""
    waiting: tuple[str, ...] = ()
    """Entries of `blocked`, of the row and then of its list."""
    is_listed: bool = False
    """The row says that there is a list."""
    listed: int = 0
    """How long the list is."""


class QueueData(msgspec.Struct, kw_only=True):
    """All of one queue."""

    name: str
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    jobs: list[Kept] = msgspec.field(default_factory=list)
    streams: list[Stream] = msgspec.field(default_factory=list)
    where: dict[str, str] = msgspec.field(default_factory=dict)
    rows: set[str] = msgspec.field(default_factory=set)
    """Ids in hash `jobs`."""
    keys: dict[str, Line] = msgspec.field(default_factory=dict)
    flags: set[str] = msgspec.field(default_factory=set)
    noted: dict[str, float] = msgspec.field(default_factory=dict)
    counted: int = 0
    """Completed jobs by the numbers in the records of `done`."""
    strays: list[str] = msgspec.field(default_factory=list)
    """What is there and could not be understood, a sentence each."""

    def number(self, field: str) -> int:
        """A counter of `meta`; a missing one is 0."""
        return int(float(self.meta.get(field) or 0))


class Envelope(msgspec.Struct, frozen=True):
    """The header of a job, and what the reader wants of its body."""

    id: str
    attempt: int
    stalls: int
    key: str
    losses: tuple[Loss, ...]
    history: tuple[Tried, ...]
    n: int
    payload_bytes: int


class _Body(msgspec.Struct, array_like=True, frozen=True):
    name: str
    payload: msgspec.Raw
    attempts: int | None = None
    timeout: float | None = None
    expires_after_ms: int | None = None
    has_notes: bool = False
    history: tuple[Tried, ...] = ()


class _Ran(msgspec.Struct, array_like=True, frozen=True):
    id: str
    name: str
    attempt: int
    started_ms: int
    run_ms: int
    entry: str = ""
    past: tuple[Tried, ...] = ()


_body = msgspec.msgpack.Decoder(_Body).decode
_anything = msgspec.msgpack.Decoder().decode
_record = msgspec.msgpack.Decoder(tuple[str, tuple[_Ran, ...]]).decode


def read_envelope(value: bytes, entry: str) -> Envelope | None:
    """A job's header and body; None when these bytes are no envelope. `entry` is its id when it carries none."""
    head = _HEAD.match(value)
    if head is None:
        return None
    attempt, stalls, _, inside, key_bytes, losses_bytes = head.groups()
    key_end = head.end() + int(key_bytes)
    losses_end = key_end + int(losses_bytes)
    if losses_end > len(value):
        return None
    n, size, history = read_body(value[losses_end:])
    return Envelope(
        inside.decode() or entry,
        int(attempt),
        int(stalls),
        value[head.end() : key_end].decode(errors="replace"),
        read_losses(value[key_end:losses_end]),
        history,
        n,
        size,
    )


def read_body(body: bytes) -> tuple[int, int, tuple[Tried, ...]]:
    """`n` of the payload (or `number`, where `n` is what does not fit; 0 without), the payload's length, the history."""
    try:
        found = _body(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0, len(body), ()
    payload = bytes(found.payload)
    try:
        fields: Any = _anything(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = None
    numbers = [fields.get("n"), fields.get("number")] if isinstance(fields, dict) else []
    return next((n for n in numbers if isinstance(n, int)), 0), len(payload), found.history


def read_losses(value: bytes) -> tuple[Loss, ...]:
    """`lost_at_ms,worker;` for each stall."""
    found = []
    for part in value.split(b";"):
        at, comma, worker = part.partition(b",")
        if comma:
            found.append(Loss(int(at), worker.decode(errors="replace")))
    return tuple(found)


def read_done(queue: str, entry: str, fields: dict[str, bytes]) -> tuple[list[Kept], int]:
    """The jobs of one entry of `done`, and how many of them its own number says are completed.

    Raises:
        ValueError: neither form that docs/keys.md knows.
    """
    ended_ms = entry_ms(entry)
    if "x" in fields:
        job = fields["x"].decode()
        envelope = read_envelope(fields.get("j", b""), job)
        reason = fields.get("w", b"").decode(errors="replace")
        gone = Kept(queue=queue, id=job, state="cancelled", entry=entry, ended_ms=ended_ms, reason=reason)
        return [with_envelope(gone, envelope, fields.get("j", b""))], 0
    try:
        worker, ran = _record(fields["r"])
        counted = int(fields["n"])
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"entry {entry} of done is no record: {error}") from error
    refused = set(fields.get("lost", b"").decode().split(","))
    jobs = []
    for one in ran:
        if (one.entry or one.id) in refused:
            continue
        last = Tried(one.attempt, one.started_ms, one.started_ms + one.run_ms, "completed", "", worker)
        past = [t for t in one.past if t.outcome != "stalled"]
        lost = tuple(Loss(t.ended_ms, t.worker) for t in one.past if t.outcome == "stalled")
        jobs.append(
            Kept(
                queue=queue, id=one.id, state="completed", entry=entry, attempt=one.attempt, stalls=len(lost), losses=lost,
                history=(*past, last), worker=worker, ended_ms=ended_ms,
            )
        )  # fmt: skip
    return jobs, counted


def with_envelope(kept: Kept, envelope: Envelope | None, raw: bytes) -> Kept:
    """What the envelope adds; bytes that are none are counted and kept as they are."""
    if envelope is None:
        return msgspec.structs.replace(kept, payload_bytes=len(raw))
    return msgspec.structs.replace(
        kept,
        attempt=envelope.attempt,
        stalls=envelope.stalls,
        key=envelope.key,
        losses=envelope.losses,
        history=envelope.history,
        n=envelope.n,
        payload_bytes=envelope.payload_bytes,
    )


def read_line(row: bytes, rest: list[bytes]) -> Line:
    """A row of `keys` and the members of its list.

    Raises:
        ValueError: not a whole number of ids.
    """
    is_listed = row.endswith(b"+") and len(row) % WIDE == 1
    ids = [read_short(row, at) for at in range(0, len(row) - is_listed, WIDE)]
    ids += [read_short(one, 0) for one in rest]
    return Line(holder=ids[0] if len(row) >= WIDE else "", waiting=tuple(ids[1:]), is_listed=is_listed, listed=len(rest))


def read_short(value: bytes, at: int) -> str:
    """An id of 13 bytes.

    Raises:
        ValueError: there are fewer.
    """
    part = value[at : at + WIDE]
    if len(part) != WIDE:
        raise ValueError(f"{len(part)} bytes are no id")
    ms, seq = struct.unpack(">Q", b"\0\0" + part[:6])[0], struct.unpack(">Q", b"\0" + part[6:])[0]
    return f"{ms}-{seq}"


def entry_ms(entry: str) -> int:
    """The milliseconds in an id."""
    return int(entry.partition("-")[0])


def id_order(entry: str) -> tuple[int, int]:
    """What sorts ids by age."""
    ms, _, seq = entry.partition("-")
    return int(ms), int(seq)


def pid_of(worker: str) -> int:
    """The process of a worker named `<host>:<pid>:<hex>`; 0 when the name says none."""
    parts = worker.rsplit(":", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0
