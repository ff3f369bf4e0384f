"""Claim: one entry that this worker holds, from the reply that gave it until the reply that took its settle."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Literal

from ..errors import BadPayload
from ..job import Body, Envelope, Job, pack_body, unpack, unpack_body

Told = Literal["cancel", "stop", "lost"]
"""Why a handler was cancelled: somebody asked, the worker stops, the lease was lost."""


class Phase(Enum):
    """Where a held entry is within this process."""

    AHEAD = "ahead"
    RUNNING = "running"
    ENDED = "ended"


class Claim:
    """An entry under our lease. Its `entry` id is the fencing token of this attempt."""

    __slots__ = (
        "_body",
        "deadline_mono",
        "entry",
        "envelope",
        "job",
        "phase",
        "queue",
        "renewed_mono",
        "slot",
        "started_mono",
        "tag",
        "told",
    )

    def __init__(self, queue: str, tag: str, entry: str, envelope: Envelope, sent_mono: float) -> None:
        self.queue = queue
        self.tag = tag
        self.entry = entry
        self.envelope = envelope
        self.renewed_mono = sent_mono
        """When the request that granted or renewed the lease left, never when its reply came: a slow answer can't stretch it."""
        self.started_mono = 0.0
        self.deadline_mono = 0.0
        """0 until started; then until when the lease may be renewed: the attempt's timeout bounds it."""
        self.phase = Phase.AHEAD
        self.told: Told | None = None
        self.slot: asyncio.Task[Any] | None = None
        self.job: Job | None = None
        self._body: Body | None = None

    @classmethod
    def read(cls, queue: str, tag: str, entry: str, value: bytes, sent_mono: float) -> Claim:
        """A claim from an entry's value; BadPayload when the value is no envelope."""
        return cls(queue, tag, entry, unpack(value, entry), sent_mono)

    @classmethod
    def unreadable(cls, queue: str, tag: str, entry: str, value: bytes, sent_mono: float) -> Claim:
        """A claim of something that is no job: known by its entry id, its raw bytes kept."""
        return cls(queue, tag, entry, Envelope(1, 0, 9, entry, "", b"", value, raw=True), sent_mono)

    def __repr__(self) -> str:
        return f"<Claim {self.queue}/{self.id} {self.tag}:{self.entry} attempt {self.envelope.attempt} {self.phase.value}>"

    @property
    def id(self) -> str:
        """The job's id within its queue."""
        return self.envelope.id

    @property
    def full_id(self) -> str:
        """The job's full id, `queue/id`."""
        return f"{self.queue}/{self.envelope.id}"

    @property
    def moved_id(self) -> str:
        """The job id when it differs from the entry id (the job was re-added), else ''."""
        return "" if self.envelope.id == self.entry else self.envelope.id

    @property
    def is_marked(self) -> bool:
        """True when settling it must also free a key or drop a `where` row."""
        return bool(self.envelope.key) or self.envelope.id != self.entry

    @property
    def is_suspect(self) -> bool:
        """True when it must run alone: an earlier attempt's worker was lost."""
        return self.tag == "s"

    @property
    def body(self) -> Body:
        """The unpacked body; BadPayload when it is none of ours."""
        if self._body is None:
            self._body = unpack_body(self.envelope.body)
        return self._body

    @property
    def name(self) -> str:
        """The job's name, '?' when it can't be read."""
        try:
            return self.body.name
        except BadPayload:
            return "?"

    def repacked(self, *, attempt: int | None = None, body: Body | None = None) -> bytes:
        """The envelope as it goes back into Redis, its id inside."""
        old = self.envelope
        data = old.body if body is None else pack_body(body)
        return Envelope(attempt or old.attempt, old.stalls, old.priority, old.id, old.key, old.losses, data, raw=old.raw).pack()
