"""Producing: enqueue, and waiting for a job's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..declared import NO_LIMIT, Limit
from ..errors import StoreRefused
from ..keys import prefix, registry
from .base import Verbs, number, text

DROPPING = "enqueue drop-oldest"
"""What `needs` calls the script where it may remove jobs, which a producer has no right to otherwise."""


class Entry(msgspec.Struct, frozen=True):
    """One job as the enqueue script wants it."""

    body: bytes
    priority: int = 5
    delay_ms: int = 0
    at_ms: int = 0
    ordering_key: str = ""
    dedup_key: str = ""
    dedup_window_ms: int = 0

    @property
    def head(self) -> str:
        """The part that is often equal for many jobs of one call."""
        key = self.ordering_key
        return f"{self.priority};{self.delay_ms};{self.at_ms};{self.dedup_window_ms};{len(key.encode())};{key}{self.dedup_key}"


class Enqueued(msgspec.Struct, frozen=True):
    """The id a job got, or the first job's when it is a duplicate; '' when the queue was full and the job was refused."""

    id: str
    duplicate: bool
    made_room: bool = False
    """An older job was removed for it."""
    waiting: int = 0
    """Of a refused one: how many jobs wait."""


class ProducingVerbs(Verbs):
    """The verbs of producers."""

    async def enqueue(
        self,
        queue: str,
        producer: str,
        number: int,
        entries: Sequence[Entry],
        limit: Limit = NO_LIMIT,
        replicas: int = 0,
        within: float | None = None,
        since: int | None = None,
    ) -> list[Enqueued]:
        """Add jobs, one answer each. The same producer and number again adds nothing and gives the same answer; with `replicas`,
        it comes when so many of them have the jobs too. `within`, `since`: a single request, as
        `Link.run_at_once`; only where the same was answered before, when it was looked whether our user has the rights.

        Raises:
            StoreFull: the server is at maxmemory, nothing was added.
            StoreRefused: code STALE, a later number was answered before.
            StoreUnreachable, StoreUnanswered: repeat with the same number.
        Redis: lua/enqueue.lua, one round trip (and WAIT, which is a replica's); at most 100 entries a call keep it under 2 ms, 20
        where the oldest go.
        """
        if within is None and limit.most and limit.drops and DROPPING not in self.link.allowed:
            await self._check_rights(DROPPING, queue)
        args: list[Any] = [*self._common(), producer, number, limit.most, limit.when_full]
        for entry in entries:
            args += (entry.head, entry.body)
        if within is not None:
            reply = await self.link.run_at_once(
                "enqueue", queue, prefix(queue), *args, timeout=within, replicas=replicas, since=since
            )
        elif replicas:
            reply = await self.link.run_confirmed(replicas, "enqueue", queue, prefix(queue), *args)
        else:
            reply = await self._run("enqueue", queue, *args[2:])
        if reply[0] == b"stale":
            raise StoreRefused("this enqueue call is older than one already answered", code="STALE")
        ms, first, dups = text(reply[0]), int(reply[1]), reply[2]
        if not dups and len(reply) == 3:
            if len(entries) == 1:
                return [Enqueued(f"{ms}-{first}", False)]
            return [Enqueued(f"{ms}-{n}", False) for n in range(first, first + len(entries))]
        older = {int(dups[i]): text(dups[i + 1]) for i in range(0, len(dups), 2)}
        if len(reply) == 3:
            return [Enqueued(older.get(i) or f"{ms}-{first + i}", i in older) for i in range(len(entries))]
        full, cut, waiting = (int(part) for part in reply[3:])
        answers = []
        for i in range(len(entries)):
            if i in older:
                answers.append(Enqueued(older[i], True))
            elif i < cut:
                answers.append(Enqueued(f"{ms}-{first + i}", False, made_room=i >= full))
            else:
                answers.append(Enqueued("", False, waiting=waiting))
        return answers

    async def last_enqueue(self, queue: str, producer: str) -> int:
        """Number of the last enqueue call of this producer that the server knows of, 0 when none."""
        row = await self.link.call("HGET", prefix(queue) + "meta", "p:" + producer, queue=queue)
        return number(row)

    async def register_queue(self, queue: str, now_ms: int) -> None:
        """Make the queue findable for those who do not declare it."""
        await self.link.call("HSETNX", registry(), queue, now_ms)

    async def await_end(self, queue: str, job_id: str) -> tuple[str, str, bytes]:
        """Ask to be told of a job's end. Returns ('waiting', id to read `settled` from, b''), ('dead', '', b'') or ('ended',
        '', result); in the last case `done` tells whether it completed or was cancelled. Redis: lua/await_end.lua."""
        reply = await self._run("await_end", queue, job_id)
        state = text(reply[0])
        if state == "waiting":
            return state, text(reply[1]), b""
        return state, "", reply[1] if len(reply) > 1 else b""


def settled_key(queue: str) -> str:
    """The stream that `await_end` points into."""
    return prefix(queue) + "settled"
