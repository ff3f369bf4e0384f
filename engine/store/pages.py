"""Pages: lists of jobs, a bounded page at a time, from the structure that holds each state. Nothing scans the key space.

Jobs move while somebody reads: a job may be missed or seen twice across pages when it changed its state meanwhile. What
stays in its state is seen exactly once.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import BadInput
from ..job import AttemptRecord, State
from ..keys import GROUP, prefix
from .base import Verbs, number, text
from .replies import entries, pairs
from .rows import JobRow, Page, dead_row, entry_ms, id_order, job_row

LARGEST_PAGE = 500
"""Jobs a page at most: about a quarter of a megabyte of envelopes, answered in a few milliseconds."""

_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,16}")

RECORDS_A_CALL = 200
"""Records of ended jobs read in one call; each may hold a hundred jobs."""


class Ran(msgspec.Struct, array_like=True, frozen=True):
    """One job of a packed record of completed jobs."""

    job_id: str
    name: str
    attempt: int
    started_ms: int
    run_ms: int
    entry: str = ""
    """Its entry id when that is not the job's id: what `lost` lists"""
    past: tuple[AttemptRecord, ...] = ()
    """The attempts and stalls before the one that completed"""


_decode_record = msgspec.msgpack.Decoder(tuple[str, tuple[Ran, ...]]).decode


def ended_rows(queue: str, entry: str, fields: dict[str, bytes]) -> list[JobRow]:
    """The jobs of one entry of stream `done`: a cancelled one (`x`), or a worker's record of completed ones (`r`)."""
    ended_ms = entry_ms(entry)
    if "x" in fields:
        row = job_row(queue, State.CANCELLED, fields.get("j", b""), text(fields["x"]))
        return [replace(row, entry=entry, ended_ms=ended_ms, reason=text(fields.get("w", b"")))]
    try:
        worker, ran = _decode_record(fields.get("r", b""))
    except (msgspec.DecodeError, UnicodeDecodeError):  # another version's record: its jobs are counted, but can't be listed
        return []
    lost = set(text(fields.get("lost", b"")).split(",")) - {""}
    return [
        JobRow(
            queue=queue, id=one.job_id, state=State.COMPLETED, name=one.name, attempt=one.attempt, worker=worker,
            started_ms=one.started_ms, run_ms=one.run_ms, ended_ms=one.started_ms + one.run_ms, entry=entry,
            past=one.past,
        )
        for one in ran
        if (one.entry or one.job_id) not in lost
    ]  # fmt: skip


def _of(queue: str, found: list[tuple[str, dict[str, bytes]]], job_id: str) -> JobRow | None:
    """That job's end, if it is in one of these entries of `done`."""
    return next((row for entry, fields in found for row in ended_rows(queue, entry, fields) if row.id == job_id), None)


def _due_ms(score: float) -> int:
    """A due time; one that somebody set to infinity is 0."""
    return int(score) if isfinite(score) else 0


class PageVerbs(Verbs):
    """The verbs that list jobs. `limit` is cut to LARGEST_PAGE; a cursor is what the page before answered, '' at first."""

    async def tags(self, queue: str) -> str:
        """The ready streams in use, in the order in which they are served."""
        return text(await self.link.call("HGET", prefix(queue) + "meta", "tags", queue=queue) or b"")

    async def delivered(self, queue: str, tag: str) -> str | None:
        """The last entry of a ready stream that a worker was given; None when the stream or its group is gone."""
        stream = f"{prefix(queue)}ready:{tag}"
        if not await self.link.call("EXISTS", stream, queue=queue):
            return None
        groups = map(pairs, await self.link.call("XINFO", "GROUPS", stream, queue=queue))
        return next((text(group["last-delivered-id"]) for group in groups if text(group["name"]) == GROUP), None)

    async def page(self, queue: str, state: State, *, cursor: str = "", limit: int = 50) -> Page:
        """One page of the jobs in a state; waiting in the order of their claim, ended ones newest first."""
        limit = max(1, min(limit, LARGEST_PAGE))
        match state:
            case State.WAITING:
                return await self._ready(queue, State.WAITING, cursor, limit)
            case State.ACTIVE:
                return await self._ready(queue, State.ACTIVE, cursor, limit)
            case State.SCHEDULED | State.RETRYING:
                return await self._timed(queue, state, cursor, limit)
            case State.BLOCKED:
                return await self._blocked(queue, cursor, limit)
            case State.DEAD:
                return await self.dead(queue, before=cursor, limit=limit)
            case State.COMPLETED | State.CANCELLED:
                return await self._ended(queue, state, cursor, limit)

    # --- waiting and active: the ready streams ---------------------------------------------------------------------------

    async def _ready(self, queue: str, state: State, cursor: str, limit: int) -> Page:
        """From tag to tag. The cursor is `tag:entry`, the last one shown."""
        at_tag, _, after = cursor.partition(":")
        rows: list[JobRow] = []
        tags = await self.tags(queue)
        if at_tag and at_tag in tags:
            tags = tags[tags.index(at_tag) :]
        for tag in tags:
            start = after if tag == at_tag else ""
            read = self._unclaimed if state is State.WAITING else self._claimed
            rows += await read(queue, tag, start, limit - len(rows))
            if len(rows) >= limit:
                return Page(rows, f"{tag}:{rows[-1].entry}")
        return Page(rows, "")

    async def _unclaimed(self, queue: str, tag: str, after: str, limit: int) -> list[JobRow]:
        stream = f"{prefix(queue)}ready:{tag}"
        start = max(after or "0-0", await self.delivered(queue, tag) or "0-0", key=id_order)
        found = entries(await self.link.call("XRANGE", stream, f"({start}", "+", "COUNT", limit, queue=queue))
        return [replace(job_row(queue, State.WAITING, f.get("j", b""), e), tag=tag, entry=e) for e, f in found]

    async def _claimed(self, queue: str, tag: str, after: str, limit: int) -> list[JobRow]:
        stream = f"{prefix(queue)}ready:{tag}"
        if await self.delivered(queue, tag) is None:
            return []
        start = f"({after}" if after else "-"
        pending = await self.link.call("XPENDING", stream, GROUP, start, "+", limit, queue=queue)
        if not pending:
            return []
        # Claimed entries lie together at the front of the stream, so one range has them all.
        first, last = text(pending[0][0]), text(pending[-1][0])
        found = dict(entries(await self.link.call("XRANGE", stream, first, last, "COUNT", limit * 2, queue=queue)))
        rows = []
        for entry, worker, idle, _ in pending:
            fields = found.get(text(entry))
            if fields is not None:  # else it was settled between the two reads
                row = job_row(queue, State.ACTIVE, fields.get("j", b""), text(entry))
                rows.append(replace(row, tag=tag, entry=text(entry), worker=text(worker), idle_ms=int(idle)))
        return rows

    # --- scheduled, retrying, blocked ------------------------------------------------------------------------------------

    async def _timed(self, queue: str, state: State, cursor: str, limit: int) -> Page:
        """By due time, then id. The cursor is `due:id`, the last one looked at."""
        key = prefix(queue) + state.value
        rank = await self._rank_after(queue, key, cursor) if cursor else 0
        found = await self.link.call("ZRANGE", key, rank, rank + limit - 1, "WITHSCORES", queue=queue)
        if not found:
            return Page([], "")
        ids = [text(job_id) for job_id, _ in found]
        values = await self.link.call("HMGET", prefix(queue) + "jobs", *ids, queue=queue)
        rows = [
            replace(job_row(queue, state, value, job_id), due_ms=_due_ms(due))
            for job_id, (_, due), value in zip(ids, found, values, strict=True)
            if value is not None  # else it was promoted between the two reads
        ]
        return Page(rows, f"{_due_ms(found[-1][1])}:{ids[-1]}" if len(found) == limit else "")

    async def _rank_after(self, queue: str, key: str, cursor: str) -> int:
        """The rank of the first member behind `due:id`. Thousands may be due at one instant, so the due time alone won't do."""
        due, _, job_id = cursor.partition(":")
        rank = await self.link.call("ZRANK", key, job_id, queue=queue)
        if rank is not None:
            return int(rank) + 1
        behind = (int(due), job_id.encode())
        low = int(await self.link.call("ZCOUNT", key, "-inf", f"({due}", queue=queue))
        high = low + int(await self.link.call("ZCOUNT", key, due, due, queue=queue))
        while low < high:  # it has left: find where it would be among those due at the same ms
            middle = (low + high) // 2
            at: list[Any] = await self.link.call("ZRANGE", key, middle, middle, queue=queue)
            if at and (behind[0], at[0]) <= behind:
                low = middle + 1
            else:
                high = middle
        return low

    async def _blocked(self, queue: str, cursor: str, limit: int) -> Page:
        """In the order in which they came to wait, whatever their keys. The cursor is the entry of the last one shown."""
        if cursor and not _ENTRY.fullmatch(cursor):
            raise BadInput(f"cursor {cursor!r} is none that a page of blocked jobs gave: begin without a cursor")
        start = f"({cursor}" if cursor else "-"
        found = entries(await self.link.call("XRANGE", prefix(queue) + "blocked", start, "+", "COUNT", limit, queue=queue))
        rows = [replace(job_row(queue, State.BLOCKED, f.get("j", b""), e), entry=e) for e, f in found]
        return Page(rows, found[-1][0] if len(found) == limit else "")

    # --- dead, completed, cancelled --------------------------------------------------------------------------------------

    async def dead(self, queue: str, *, before: str = "", limit: int = LARGEST_PAGE) -> Page:
        """Dead jobs, newest first; the cursor is the last one's entry."""
        end = f"({before}" if before else "+"
        found = entries(await self.link.call("XREVRANGE", prefix(queue) + "dead", end, "-", "COUNT", limit, queue=queue))
        return Page([dead_row(queue, e, f) for e, f in found], found[-1][0] if len(found) == limit else "")

    async def dead_upto(self, queue: str, *, since: str, upto: str, limit: int = 50) -> list[JobRow]:
        """Dead jobs, oldest first, after entry `since` (or from an epoch ms) up to and with entry `upto`."""
        start = f"({since}" if "-" in since else since
        found = entries(await self.link.call("XRANGE", prefix(queue) + "dead", start, upto, "COUNT", limit, queue=queue))
        return [dead_row(queue, e, f) for e, f in found]

    async def last_dead(self, queue: str) -> str:
        """The newest dead job's entry, '' when there is none: a line under what is dead now."""
        found = entries(await self.link.call("XREVRANGE", prefix(queue) + "dead", "+", "-", "COUNT", 1, queue=queue))
        return found[0][0] if found else ""

    async def _ended(self, queue: str, state: State, cursor: str, limit: int) -> Page:
        """Newest first. The cursor is `entry:how many of it were shown`; one call looks at RECORDS_A_CALL records at most."""
        at, _, shown = cursor.partition(":")
        found = await self._ends(queue, "XREVRANGE", at or "+", "-")
        rows: list[JobRow] = []
        for entry, fields in found:
            of_it = [one for one in reversed(ended_rows(queue, entry, fields)) if one.state is state]
            skip = int(shown) if entry == at else 0
            room = limit - len(rows)
            rows += of_it[skip : skip + room]
            if len(rows) >= limit:
                return Page(rows, f"{entry}:{min(skip + room, len(of_it))}")
        if len(found) < RECORDS_A_CALL:
            return Page(rows, "")
        return Page(rows, f"{found[-1][0]}:{LARGEST_PAGE * LARGEST_PAGE}")  # all of it was shown

    async def find_ended(self, queue: str, job_id: str, *, most_records: int = 20_000) -> JobRow | None:
        """The record of a completed or cancelled job; None when it is not kept, or not among the `most_records` that follow its
        id and as many from the newest back (each one call of a busy worker, or one cancelled job).

        Usually it follows the id. Where the server's clock was set back ids go on from where they were, and it stands before.
        """
        before_ms = max(entry_ms(job_id) - 1, 0)
        start, end = str(entry_ms(job_id)), "+"
        for _ in range(0, most_records, RECORDS_A_CALL):
            if start:  # something behind the id was not looked at, and `end` is there too
                found = await self._ends(queue, "XRANGE", start, "+")
                if (row := _of(queue, found, job_id)) is not None:
                    return row
                start = f"({found[-1][0]}" if len(found) == RECORDS_A_CALL else ""
                end = end if start else str(before_ms)
            found = await self._ends(queue, "XREVRANGE", end, "-")
            if (row := _of(queue, found, job_id)) is not None:
                return row
            if len(found) < RECORDS_A_CALL:
                return None
            end = f"({found[-1][0]}"
            start = "" if entry_ms(found[-1][0]) <= before_ms else start
        return None

    async def _ends(self, queue: str, command: str, first: str, last: str) -> list[tuple[str, dict[str, bytes]]]:
        return entries(await self.link.call(command, prefix(queue) + "done", first, last, "COUNT", RECORDS_A_CALL, queue=queue))

    async def count_older(self, queue: str, state: State, before_ms: int, cursor: str) -> tuple[int, str]:
        """How many dead, completed or cancelled jobs ended before `before_ms`, a bite at a time: (jobs, next cursor or '')."""
        key = prefix(queue) + ("dead" if state is State.DEAD else "done")
        start = f"({cursor}" if cursor else "-"
        limit = LARGEST_PAGE
        found = entries(await self.link.call("XRANGE", key, start, str(max(before_ms - 1, 0)), "COUNT", limit, queue=queue))
        jobs = 0
        for _, fields in found:
            if state is State.DEAD or (state is State.CANCELLED and "x" in fields):
                jobs += 1
            elif state is State.COMPLETED and "r" in fields:
                jobs += number(fields.get("n"))
        return jobs, found[-1][0] if len(found) == limit else ""
