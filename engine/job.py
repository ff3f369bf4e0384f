"""Job: what a unit of work is, its states, and how it is written down.

An *envelope* is what Redis keeps: a small header that the scripts read, and a msgpack body they never decode. The header is
`attempt;stalls;priority;id;key bytes;losses bytes;` followed by the ordering key, the losses (one `lost_at_ms,worker;` for
each stall) and the body. In a fresh stream entry the id is empty: there the entry's id is the job's id.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol, TypeVar, overload

import msgspec

from .errors import BadInput, BadPayload
from .keys import check_job_name

T = TypeVar("T")


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
    expires_after_ms: int | None = None
    """Counted from the id's milliseconds, so only the server's clock decides."""
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
    raw: bool = False
    """True for something that is no envelope of ours: `body` is all of it."""

    def pack(self) -> bytes:
        """The bytes that `unpack` reads and the scripts' `parse` splits."""
        if self.raw:
            return self.body
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


_HEAD = re.compile(rb"(\d+);(\d+);(\d);([\d-]*);(\d+);(\d+);")
"""The same pattern as `parse` of lua/parts/envelope.lua: what a worker can read, the scripts can read."""


def unpack(value: bytes, entry: str) -> Envelope:
    """Read an envelope; `entry` is the job's id when the envelope carries none.

    Raises:
        BadPayload: these bytes are no envelope. Bury them as they are; no attempt was used.
    """
    try:
        head = _HEAD.match(value)
        if head is None:
            raise ValueError("its header is not ours")
        attempt, stalls, priority, job_id, key_size, losses_size = head.groups()
        rest = value[head.end() :]
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
    if body.has_notes or body.expires_after_ms is not None:
        return _encode((body.name, body.payload, body.attempts, body.timeout, body.expires_after_ms, body.has_notes))
    if body.attempts is not None or body.timeout is not None:
        return _encode((body.name, body.payload, body.attempts, body.timeout))
    return _encode((body.name, body.payload))


def pack_plain(name: str, payload: bytes) -> bytes:
    """The body of a job of which nothing else is said, around its payload in msgpack."""
    return _encode((name, msgspec.Raw(payload)))


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


class Notes(Protocol):
    """Where a running job keeps what should outlive the attempt; the pool provides it."""

    async def write(self, field: str, value: bytes) -> None:
        """Keep `value` under `field`; LeaseLost when this attempt no longer owns the job."""

    async def read(self, field: str) -> bytes | None:
        """What an earlier attempt kept, None when nothing; LeaseLost when this attempt no longer owns the job."""

    def log(self, line: str) -> None:
        """Keep a log line soon; never waits, never raises."""


MAX_STEP_BYTES = 65_536
"""A step's result is stored in Redis for the life of the job: keep results small, store the rest elsewhere."""


class Job:
    """What a handler may know of, and do with, the job it runs."""

    __slots__ = (
        "_notes",
        "_organization_id",
        "attempt",
        "attempts",
        "cancelled",
        "enqueued_at_ms",
        "name",
        "noted",
        "queue",
        "short_id",
    )

    def __init__(
        self,
        *,
        queue: str,
        short_id: str,
        name: str,
        attempt: int,
        attempts: int,
        notes: Notes,
        organization_id: str | None = None,
    ) -> None:
        self.queue = queue
        self.short_id = short_id
        self.name = name
        self.attempt = attempt
        """This start of the handler, counted from 1."""
        self.attempts = attempts
        """The most starts this job gets."""
        self.enqueued_at_ms = int(short_id.partition("-")[0])
        """When `enqueue` was answered: epoch milliseconds of the server's clock."""
        self.cancelled = False
        """True once somebody asked to cancel the job, the worker stops, or the lease was lost: wind up and return."""
        self.noted = False
        """True when this attempt kept a note, so that settling lets it go."""
        self._notes = notes
        self._organization_id = organization_id

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name} attempt {self.attempt} of {self.attempts}>"

    @property
    def id(self) -> str:
        """The job's full id, `queue/id`: equal on every attempt, so it serves as an idempotency key towards the outside."""
        return f"{self.queue}/{self.short_id}"

    @property
    def organization_id(self) -> str | None:
        """`organization_id` of the payload, None when it has none."""
        return self._organization_id

    async def progress(self, done: int, total: int) -> None:
        """Say how far the job is; shown by `engine job ID` and the admin page.

        Raises:
            LeaseLost: another worker has the job now. Stop, write nothing more.
            BadInput: a number of more than 18 digits.
        """
        done, total = int(done), int(total)
        if max(abs(done), abs(total)) >= 10**18:
            raise BadInput("progress takes numbers of at most 18 digits")
        self.noted = True
        await self._notes.write("progress", f"{done};{total}".encode())

    def log(self, text: str) -> None:
        """Keep a line with the job (the last 100 stay). Phone numbers and tokens are masked."""
        self.noted = True
        self._notes.log(str(text))

    @overload
    async def step(self, name: str, fn: Callable[..., Awaitable[T]], *args: Any) -> T: ...
    @overload
    async def step(self, name: str, fn: Callable[..., T], *args: Any) -> T: ...
    async def step(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Run `fn(*args)` once over all attempts of this job: a later attempt gets the remembered result and skips the call.

        The result must be encodable (at most 64 KiB) and comes back as `fn`'s return annotation says, else as plain data. What is
        exactly-once is the *recording*: when the worker dies between the call and its record, the next attempt calls again.

        Raises:
            LeaseLost: another worker has the job now; `fn` was not called, or its result not recorded. Stop.
            BadPayload: the result can't be encoded or is too large, or the job keeps 1,000 steps already (`fn` was not called).
        """
        field = "step:" + check_job_name(name)
        kind = typing.get_type_hints(fn).get("return", Any) if inspect.isfunction(fn) or inspect.ismethod(fn) else Any
        # asked on a first attempt too: a worker that was frozen past its lease must not repeat what its successor has done
        kept = await self._notes.read(field)
        if kept is not None:
            return msgspec.msgpack.decode(kept, type=kind)
        value = fn(*args)
        if inspect.isawaitable(value):
            value = await value
        data = encode_payload(value)
        if len(data) > MAX_STEP_BYTES:
            raise BadPayload(f"result of step {name!r} is {len(data)} bytes, at most {MAX_STEP_BYTES} are kept")
        self.noted = True
        await self._notes.write(field, data)
        return value
