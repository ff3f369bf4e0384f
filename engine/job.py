"""Job: what a unit of work is, its states, and how it is written down.

An *envelope* is what Redis keeps: a small header that the scripts read, and a msgpack body they never decode. The header is
`attempt;stalls;priority;id;key bytes;losses bytes;` followed by the ordering key, the losses (one `lost_at_ms,worker;` for
each stall) and the body. In a fresh stream entry the id is empty: there the entry's id is the job's id.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .errors import BadPayload


class State(StrEnum):
    """A job is in exactly one. `docs/states.md` draws them."""

    WAITING = "waiting"
    ACTIVE = "active"
    SCHEDULED = "scheduled"
    RETRYING = "retrying"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class AttemptRecord(msgspec.Struct, array_like=True, frozen=True):
    """One attempt that did not complete, as kept in the job's history. Instants are the server's clock."""

    attempt: int
    started_at_ms: int
    ended_at_ms: int
    outcome: str
    """retry, snooze, released, dead, stalled"""
    error: str = ""
    """One masked line, `Type: message`."""
    worker: str = ""


class Body(msgspec.Struct, array_like=True, frozen=True):
    """What the scripts never look into. Written with as few elements as its defaults allow."""

    name: str
    payload: msgspec.Raw
    attempts: int | None = None
    """Overrides the handler's; None takes what the worker's declaration says."""
    timeout: float | None = None
    expires_at_ms: int | None = None
    has_notes: bool = False
    """An earlier attempt left progress, log lines or steps."""
    history: tuple[AttemptRecord, ...] = ()


class Loss(msgspec.Struct, frozen=True):
    """A stall: when the lease was found lost, and whose it was."""

    at_ms: int
    worker: str


class Envelope(msgspec.Struct):
    """A job as Redis keeps it, unpacked. `body` stays packed until somebody needs it."""

    attempt: int
    stalls: int
    priority: int
    id: str
    key: str
    losses: bytes
    body: bytes

    def pack(self) -> bytes:
        """The bytes that `unpack` reads and the scripts' `parse` splits."""
        key = self.key.encode()
        head = f"{self.attempt};{self.stalls};{self.priority};{self.id};{len(key)};{len(self.losses)};"
        return b"".join((head.encode(), key, self.losses, self.body))

    @property
    def lost(self) -> list[Loss]:
        """Every stall of this job, oldest first."""
        found = []
        for part in self.losses.split(b";"):
            at, comma, worker = part.partition(b",")
            if comma and at.isdigit():
                found.append(Loss(int(at), worker.decode(errors="replace")))
        return found


def unpack(value: bytes, entry: str) -> Envelope:
    """Read an envelope; `entry` is the job's id when the envelope carries none.

    Raises:
        BadPayload: these bytes are no envelope. Bury them as they are; no attempt was used.
    """
    try:
        attempt, stalls, priority, job_id, key_size, losses_size, rest = value.split(b";", 6)
        key_end = int(key_size)
        losses_end = key_end + int(losses_size)
        if losses_end > len(rest):
            raise ValueError("shorter than its header says")
        return Envelope(
            int(attempt),
            int(stalls),
            int(priority),
            job_id.decode("ascii") or entry,
            rest[:key_end].decode() if key_end else "",
            rest[key_end:losses_end],
            rest[losses_end:],
        )
    except ValueError as error:
        raise BadPayload(f"entry {entry} is no job envelope: {error}") from error


_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(Body).decode


def pack_body(body: Body) -> bytes:
    """Encode a body, leaving out what is default at its end."""
    if body.history:
        return _encode(body)
    if body.has_notes or body.expires_at_ms is not None:
        return _encode((body.name, body.payload, body.attempts, body.timeout, body.expires_at_ms, body.has_notes))
    if body.attempts is not None or body.timeout is not None:
        return _encode((body.name, body.payload, body.attempts, body.timeout))
    return _encode((body.name, body.payload))


def unpack_body(data: bytes) -> Body:
    """Read a body; the payload stays raw msgpack.

    Raises:
        BadPayload: not a body of ours.
    """
    try:
        return _decode_body(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPayload(f"job body can't be decoded: {error}") from error


def encode_payload(payload: object) -> bytes:
    """Payload -> msgpack. Structs, dataclasses, dicts, lists, numbers, text, bytes, dates, UUIDs.

    Raises:
        BadPayload: a value that msgpack has no form for; the sentence names its type.
    """
    try:
        return _encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadPayload(f"payload can't be encoded: {error}") from error
