"""Acts: what operators do to jobs and queues, and what retention rules drop. One method a script.

Each is idempotent, so `Link.patient` may repeat it; a repeated act may answer "unknown" for what its first sending did.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

from ..keys import registry
from .base import Verbs, text

NOTES_MS = 3_600_000
"""How long notes (log lines, progress) of a cancelled job stay: long enough to look at why somebody cancelled it."""


class Removal(StrEnum):
    """What became of a cancel or a delete."""

    DONE = "done"
    REQUESTED = "requested"
    """The job is active: its worker is told, and its next settle or reclaim ends it as cancelled."""
    ACTIVE = "active"
    """Refused: an active job can be cancelled, not deleted."""
    DEAD = "dead"
    """Refused: a dead job can be deleted or requeued, not cancelled."""
    UNKNOWN = "unknown"
    """No such job outside the finished ones."""


class Bite(msgspec.Struct, frozen=True):
    """One bounded step of a sweep: so many jobs went, and whether to call again (from `cursor`)."""

    dropped: int
    is_more: bool
    cursor: str = ""


class Rest(msgspec.Struct, frozen=True):
    """What sweep_rest dropped. `cursor` goes into the next call; '0' means once round."""

    notes: int
    workers: int
    producers: int
    cursor: str


class Obliterated(msgspec.Struct, frozen=True):
    """One bite of obliterate. `active` over 0: refused because so many jobs run; nothing was changed."""

    is_done: bool
    active: int = 0


class ActVerbs(Verbs):
    """The verbs of operators and sweepers. Errors of all of them as `Wire.call`."""

    async def cancel(self, queue: str, job_id: str, reason: str, *, notes_ms: int = NOTES_MS) -> Removal:
        """Take a job out, counted as cancelled; an active one is asked to stop. Redis: lua/remove.lua."""
        return Removal(text(await self._run("remove", queue, job_id, "cancel", reason, notes_ms)))

    async def delete(self, queue: str, job_id: str, reason: str) -> Removal:
        """Take a job out without a trace, counted as removed. Redis: lua/remove.lua."""
        return Removal(text(await self._run("remove", queue, job_id, "delete", reason, 0)))

    async def hasten(self, queue: str, job_id: str) -> bool:
        """Make a scheduled or retrying job runnable now. False: it waits for no time. Redis: lua/hasten.lua."""
        return text(await self._run("hasten", queue, job_id)) == "done"

    async def requeue(self, queue: str, job_ids: Sequence[str]) -> int:
        """Give dead jobs a fresh set of attempts at the end of the line; how many of them were dead. At most 25 a call.

        Raises:
            StoreFull: at maxmemory; none of them moved.
        Redis: lua/requeue.lua.
        """
        return int(await self._run("requeue", queue, *job_ids)) if job_ids else 0

    async def pause(self, queue: str, reason: str, for_ms: int = 0) -> bool:
        """Stop claims, for `for_ms` or (0) until resumed. False: it was paused so before. Without a reason, what
        stood of reason and end stays.

        Redis: lua/pause.lua."""
        return bool(await self._run("pause", queue, "pause", for_ms, reason))

    async def resume(self, queue: str, reason: str = "") -> bool:
        """Let claims go on: a pause ends, a rate limit's gate opens. False: there was neither. Redis: lua/pause.lua."""
        return bool(await self._run("pause", queue, "resume", 0, reason))

    async def gate(self, queue: str, for_ms: int) -> bool:
        """Claim nothing for `for_ms`, because the outside said "too fast"; never shortens. Redis: lua/pause.lua."""
        return bool(await self._run("pause", queue, "gate", for_ms, ""))

    async def sweep_done(
        self,
        queue: str,
        before_ms: int,
        *,
        keep: int = -1,
        limit: int = 200,
        kind: Literal["all", "completed", "cancelled"] = "all",
        cursor: str = "",
    ) -> Bite:
        """Drop records of jobs that ended before `before_ms`, or beyond the newest `keep` (-1: any number stays).

        `limit` records are looked at a call; go on from `cursor` while `is_more`. Redis: lua/sweep_done.lua."""
        dropped, more, after = await self._run("sweep_done", queue, before_ms, keep, limit, kind, cursor)
        return Bite(int(dropped), bool(more), text(after))

    async def sweep_dead(self, queue: str, before_ms: int, *, keep: int = -1, limit: int = 50) -> Bite:
        """Remove jobs that died before `before_ms`, or beyond the newest `keep` (-1: any number). Redis: lua/sweep_dead.lua."""
        dropped, more = await self._run("sweep_dead", queue, before_ms, limit, keep)
        return Bite(int(dropped), bool(more))

    async def sweep_rest(self, queue: str, gone_ms: int, silent_ms: int, *, limit: int = 50, cursor: str = "0") -> Rest:
        """Drop notes past their time, workers silent for `gone_ms`, producers silent for `silent_ms`.

        Redis: lua/sweep_rest.lua."""
        notes, workers, producers, after = await self._run("sweep_rest", queue, gone_ms, silent_ms, limit, cursor)
        return Rest(int(notes), int(workers), int(producers), text(after))

    async def obliterate(self, queue: str, *, force: bool = False, limit: int = 200) -> Obliterated:
        """Remove the queue with all its jobs, one bite; call until `is_done`. The first bite pauses the queue.

        `force` goes on although jobs are active; their workers are then refused their settles. Redis: lua/obliterate.lua."""
        word, active = await self._run("obliterate", queue, int(force), limit)
        return Obliterated(text(word) == "done", int(active))

    async def unregister_queue(self, queue: str) -> None:
        """Forget that the queue existed; its next enqueue registers it again."""
        await self.link.call("HDEL", registry(), queue)
