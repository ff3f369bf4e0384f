"""Reads: what anybody may look at. Counts at one instant, one job, workers, what happened; pages are in `pages.py`.

Nothing here writes, so a monitor can't change what it watches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from ..job import State
from ..keys import GROUP, prefix, registry
from .base import text
from .pages import PageVerbs, ended_rows
from .replies import entries, pairs, streams
from .rows import (
    ConsumerRow,
    Feed,
    Inspection,
    JobRow,
    Pause,
    Place,
    QueueCounts,
    QueueEvent,
    WorkerRow,
    dead_row,
    entry_ms,
    job_row,
    worker_row,
)
from .server import ServerVerbs

_FLOWS = (
    "enqueued",
    "completed",
    "cancelled",
    "removed",
    "retried",
    "snoozed",
    "stalled",
    "died",
    "released",
    "requeued",
    "expired",
    "refused",
    "dropped",
)

_NUMBER = re.compile(r"(-?[0-9]{1,18})?")
"""What a counter or a time in the meta hash may be; '' when it is not there."""


class ReadVerbs(PageVerbs, ServerVerbs):
    """The verbs that only look. Errors of all of them as `Wire.call`; repeating is safe."""

    async def counts(self, queue: str) -> QueueCounts:
        """How many jobs are where, at one instant; zeros for a queue that never had any. Redis: lua/counts.lua."""
        reply = await self._run("counts", queue)
        waiting, active, scheduled, retrying, blocked, dead, oldest, now_ms, workers = (int(part) for part in reply[:9])
        meta = {name: text(value) for name, value in pairs(reply[9]).items()}
        gate, grace = _ms(meta["gate"]), _ms(meta["grace"])
        return QueueCounts(
            queue=queue,
            waiting=waiting,
            active=active,
            scheduled=scheduled,
            retrying=retrying,
            blocked=blocked,
            dead=dead,
            oldest_waiting_ms=oldest,
            now_ms=now_ms,
            workers=workers,
            paused=read_pause(meta["paused"], now_ms),
            gate_until_ms=gate if gate > now_ms else 0,
            grace_until_ms=grace if grace > now_ms else 0,
            epoch=meta["epoch"],
            unread=tuple(name for name in (*_FLOWS, "gate", "grace") if not _NUMBER.fullmatch(meta[name])),
            **{name: _ms(meta[name]) for name in _FLOWS},
        )

    async def last_id(self, queue: str) -> str:
        """The last id that the queue gave a job or an entry; '0-0' when it never gave one. What comes has a later one."""
        ms, seq = await self.link.call("HMGET", prefix(queue) + "meta", "ms", "seq", queue=queue)
        return f"{text(ms or 0)}-{text(seq or 0)}"

    async def inspect(self, queue: str, job_id: str) -> Inspection:
        """All that is known of one job outside the finished ones (`find_ended` looks there). Redis: lua/inspect.lua."""
        reply = await self._run("inspect", queue, job_id)
        place, value, tag, worker, due, holder, line, front, dead, notes, now_ms, idle, asked, entry, more = reply
        found = Place(text(place))
        row: JobRow | None = None
        if found is Place.DEAD:
            row = dead_row(queue, text(entry), pairs(dead))
        elif found is not Place.UNKNOWN:
            state = _STATES.get(found) or (State.ACTIVE if worker else State.WAITING)
            row = replace(
                job_row(queue, state, value, job_id),
                tag=text(tag), entry=text(entry), worker=text(worker), due_ms=int(due), idle_ms=int(idle),
            )  # fmt: skip
        return Inspection(
            place=found,
            row=row,
            now_ms=int(now_ms),
            holder=text(holder),
            line=int(line),
            front=int(front),
            is_more_in_front=bool(int(more)),
            is_cancel_asked=bool(int(asked)),
            notes=pairs(notes),
        )

    async def results(self, queue: str, job_ids: Sequence[str]) -> dict[str, bytes]:
        """The packed results that are still kept of these completed jobs."""
        if not job_ids:
            return {}
        noted = await self.link.call("ZMSCORE", prefix(queue) + "noted", *job_ids, queue=queue)
        found = {}
        for job_id, kept in zip(job_ids, noted, strict=True):
            if kept is not None:  # most jobs return nothing, so most are not asked for
                result = await self.link.call("HGET", f"{prefix(queue)}notes:{job_id}", "result", queue=queue)
                found.update({job_id: result} if result is not None else {})
        return found

    async def workers(self, queue: str, now_ms: int) -> list[WorkerRow]:
        """Every worker of the queue that has not been forgotten, by name; `now_ms` (the server's) says which are alive."""
        rows = pairs(await self.link.call("HGETALL", prefix(queue) + "workers", queue=queue))
        return [worker_row(queue, name, rows[name], now_ms) for name in sorted(rows)]

    async def consumers(self, queue: str) -> list[ConsumerRow]:
        """Every name in the groups of the queue's ready streams."""
        found = []
        for tag in await self.tags(queue):
            if await self.delivered(queue, tag) is None:
                continue
            rows = await self.link.call("XINFO", "CONSUMERS", f"{prefix(queue)}ready:{tag}", GROUP, queue=queue)
            found += [ConsumerRow(tag, text(r["name"]), int(r["pending"]), int(r["idle"])) for r in map(pairs, rows)]
        return found

    async def queue_names(self) -> list[str]:
        """Every queue that anybody ever enqueued to, sorted."""
        return sorted(text(name) for name in await self.link.call("HKEYS", registry()))

    async def events_now(self, queue: str) -> str:
        """The cursor from which `events` answers only what happens from now on."""
        last = []
        for name in ("events", "done"):
            found = entries(await self.link.call("XREVRANGE", prefix(queue) + name, "+", "-", "COUNT", 1, queue=queue))
            last.append(found[0][0] if found else "0-0")
        return ",".join(last)

    async def events(self, queue: str, since: str = "", *, block_ms: int = 0, limit: int = 200) -> Feed:
        """What happened after cursor `since` ('' all that is kept), completions included, oldest first.

        `block_ms` over 0 waits so long for something to happen, on a connection of its own. At most about `limit` events and
        as many records of completed jobs an answer.
        """
        since_event, _, since_done = (since or "0-0,0-0").partition(",")
        names = [prefix(queue) + "events", prefix(queue) + "done"]
        command = ["XREAD", "COUNT", str(limit), *(("BLOCK", str(block_ms)) if block_ms > 0 else ())]
        command += ["STREAMS", *names, since_event, since_done or "0-0"]
        if block_ms > 0:
            wire = self.link.new_wire(queue)
            try:
                reply = await wire.call(*command, timeout=block_ms / 1000 + self.link.timeout)
            finally:
                await wire.drop()
        else:
            reply = await self.link.call(*command, queue=queue)
        found = streams(reply)
        happened, done = found.get(names[0], []), found.get(names[1], [])
        cursor = f"{happened[-1][0] if happened else since_event},{done[-1][0] if done else since_done or '0-0'}"
        events = [
            QueueEvent(queue, text(f["k"]), text(f["id"]), entry_ms(text(f["at"])), text(f["d"]))
            for _, f in happened
            if f.keys() >= {"k", "id", "at", "d"}  # else somebody else's
        ]
        for entry, fields in done:
            for row in ended_rows(queue, entry, fields):
                if row.state is State.COMPLETED:
                    detail = f"{row.name} in {row.run_ms} ms"
                    events.append(QueueEvent(queue, "completed", row.id, row.ended_ms, detail))
        events.sort(key=lambda event: event.at_ms)
        return Feed(events, cursor)


def read_pause(row: str, now_ms: int) -> Pause | None:
    """`until;since;reason` of a queue's meta row; None when it is not paused, or when a timed pause is over by `now_ms`."""
    if not row:
        return None
    until, _, rest = row.partition(";")
    since, _, reason = rest.partition(";")
    is_ours = bool(until and since and _NUMBER.fullmatch(until) and _NUMBER.fullmatch(since))
    pause = Pause(_ms(until), _ms(since), reason) if is_ours else Pause(0, 0, row)  # as scripts take it: until resumed
    return None if 0 < pause.until_ms <= now_ms else pause


_STATES = {
    Place.SCHEDULED: State.SCHEDULED,
    Place.SNOOZED: State.SCHEDULED,
    Place.RETRYING: State.RETRYING,
    Place.BLOCKED: State.BLOCKED,
}


def _ms(value: str) -> int:
    """A number of the meta hash; a missing one is 0, and so is what is none (`unread` tells of it)."""
    return int(value) if value and _NUMBER.fullmatch(value) else 0
