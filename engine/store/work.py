"""Work: what a worker asks of the store. One method a script; each says what the caller does with each answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..errors import BadPayload
from ..keys import prefix
from .base import Verbs, number, text
from .claim import Claim
from .settles import Settles
from .wire import Wire

MOST_STEPS = 1_000
"""Steps that are kept of one job: they live as long as the job, and each may have 64 KiB."""

RENEWALS = 200
"""Entries a call of `renew`: more would take the script over 2 ms."""


class StepReply(msgspec.Struct):
    """What one step answered."""

    status: str
    """ok; again: this call's first reply was lost, adopt the unknown rows; stale: a later call was answered already."""
    lost: list[str]
    rows: list[tuple[str, str, bytes]]
    """tag, entry, value of each claimed entry"""
    now_ms: int
    paused_until_ms: int
    """-1 not paused, 0 until somebody resumes"""
    next_due_ms: int
    drain: bool
    """True: a suspect waits and it is this worker's turn to run it; claim again once the process holds nothing."""
    pause: str
    """Why nobody may claim: "until;since;reason" in ms; '' when nobody paused the queue (a rate limit's gate is no pause)."""
    epoch: str
    """Identity of this queue's data; another one means that it was flushed or lost."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one reclaim did. `cursors` go into the next call, or a dead worker's entries may never be reached."""

    cursors: dict[str, str]
    moved: int
    buried: int
    in_grace: bool
    soonest_ms: int = field(default=-1, compare=False)
    """Until the next lease that was looked at runs out, unless it is renewed; -1 when none was looked at."""


class Promoted(msgspec.Struct, frozen=True):
    """What one promotion did."""

    moved: int
    next_due_ms: int
    now_ms: int


class WorkVerbs(Verbs):
    """The verbs of pool, lease keeper, reclaimer, promoter and heartbeat."""

    async def step(
        self,
        wire: Wire,
        queue: str,
        worker: str,
        number: int,
        want: int,
        held: int,
        settles: Settles,
        done_record: bytes,
        notes_ttl_ms: int,
    ) -> StepReply:
        """Settle and claim in one call; `number` makes a repeat harmless. One call in flight per worker and queue.

        Errors as `Wire.call`; on any of them send the very same call again.
        Redis: lua/step.lua, one round trip.
        """
        reply = await wire.run(
            "step", prefix(queue), *self._common(), worker, number, want, held, notes_ttl_ms, *settles.args(done_record)
        )
        return _step_reply(reply)

    async def renew(self, queue: str, worker: str, claims: Iterable[Claim]) -> tuple[list[str], list[str]]:
        """Make the leases of these young again. Returns the entries that are lost (stop their handlers, write nothing more) and
        the ids whose cancel was asked (tell their handlers). Redis: lua/renew.lua."""
        ordered = sorted(((c.tag, c.entry, c.id) for c in claims), key=lambda one: (one[0], *map(int, one[1].split("-"))))
        lost: list[str] = []
        asked: list[str] = []
        for start in range(0, len(ordered), RENEWALS):
            flat = [part for one in ordered[start : start + RENEWALS] for part in one]
            reply = await self._run("renew", queue, worker, "", *flat)
            lost += map(text, reply[0])
            asked += map(text, reply[1])
        return lost, asked

    async def renew_all(self, queue: str, worker: str) -> None:
        """Make the leases young of all that is pending for the worker, whether it knows of it or not. Redis: lua/renew.lua."""
        await self._run("renew", queue, worker, "*")

    async def reclaim(
        self,
        queue: str,
        worker: str,
        lease_ms: int,
        stall_limit: int,
        cursors: dict[str, str],
        *,
        limit: int = 40,
        grace: bool = True,
    ) -> Reclaimed:
        """Take entries whose lease ran out away from their worker. Redis: lua/reclaim.lua."""
        flat = [part for pair in cursors.items() for part in pair]
        reply = await self._run("reclaim", queue, worker, lease_ms, limit, stall_limit, int(grace), *flat)
        pairs = [text(x) for x in reply[0]]
        cursors = dict(zip(pairs[::2], pairs[1::2], strict=True))
        return Reclaimed(cursors, int(reply[1]), int(reply[2]), bool(reply[3]), int(reply[4]))

    async def promote(self, queue: str, limit: int = 50) -> Promoted:
        """Move due jobs to where they can run. Redis: lua/promote.lua."""
        moved, due, now = await self._run("promote", queue, limit)
        return Promoted(int(moved), int(due), int(now))

    async def heartbeat(self, queue: str, worker: str, description: bytes) -> int:
        """Say that the worker lives; returns the server's now_ms. Redis: lua/heartbeat.lua."""
        return int(await self._run("heartbeat", queue, worker, description))

    async def leave(self, queue: str, worker: str) -> None:
        """Forget the worker: its row, its call number, and its consumer when nothing is pending for it."""
        await self._run("heartbeat", queue, worker, b"")

    async def note(
        self, queue: str, worker: str, tag: str, entry: str, job_id: str, field: str, value: bytes, log_lines: int = 100
    ) -> bool:
        """Keep progress, a log line or a step's result of an active job. False: the lease is lost, write nothing more.

        Raises:
            BadPayload: the job keeps MOST_STEPS steps already.
        Redis: lua/note.lua.
        """
        written = int(await self._run("note", queue, worker, tag, entry, job_id, field, value, log_lines, MOST_STEPS))
        if written < 0:
            raise _too_many_steps(queue, job_id, field)
        return written == 1

    async def recall(self, queue: str, worker: str, tag: str, entry: str, job_id: str, field: str) -> tuple[bool, bytes | None]:
        """What `note` kept under a field, None when nothing. First False: the lease is lost, do nothing more.

        Raises:
            BadPayload: the job keeps MOST_STEPS steps already, and none of that name.
        Redis: lua/recall.lua.
        """
        reply = await self._run("recall", queue, worker, tag, entry, job_id, field, MOST_STEPS)
        if reply[0] < 0:
            raise _too_many_steps(queue, job_id, field)
        return reply[0] == 1, reply[1] if len(reply) > 1 else None

    async def last_ids(self, queue: str) -> dict[str, str]:
        """The newest ids of `bell` and `control`, from which to listen on; '0-0' when there is none yet."""
        found = {}
        for name in ("bell", "control"):
            rows: Any = await self.link.call("XREVRANGE", prefix(queue) + name, "+", "-", "COUNT", 1, queue=queue)
            found[name] = text(rows[0][0]) if rows else "0-0"
        return found

    async def may_have_work(self, queue: str) -> bool:
        """False when every idle worker may sleep on: nothing became runnable since the last one looked (`rung`), and no suspect
        waits for its turn. Reads only; cheaper than a step that finds nothing."""
        rung, tags = await self.link.call("HMGET", prefix(queue) + "meta", "rung", "tags", queue=queue)
        if rung == b"1" or tags is None:
            return True
        return b"s" in tags and int(await self.link.call("XLEN", prefix(queue) + "ready:s", queue=queue)) > 0

    async def last_call(self, queue: str, worker: str) -> int:
        """Number of the last step of this worker that took effect, 0 when none is known."""
        row = await self.link.call("HGET", prefix(queue) + "meta", "w:" + worker, queue=queue)
        return number(row)

    async def server_epoch(self, queue: str = "") -> str:
        """Which server process answers for the queue: another one after a restart or a failover."""
        info = text(await self.link.call("INFO", "server", queue=queue))
        return next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("run_id:")), "")

    async def now_ms(self, queue: str = "") -> int:
        """The server's clock, epoch milliseconds; the clock that decides when a job is due."""
        if self._test_now_ms is not None:
            return self._test_now_ms()
        seconds, micros = await self.link.call("TIME", queue=queue)
        return int(seconds) * 1000 + int(micros) // 1000


def _too_many_steps(queue: str, job_id: str, field: str) -> BadPayload:
    return BadPayload(
        f"{queue}/{job_id} keeps {MOST_STEPS:,} steps, the most a job may: {field.removeprefix('step:')!r} was not kept. "
        "Take several things in one step, or enqueue jobs of their own"
    )


def _step_reply(reply: Any) -> StepReply:
    status, lost, rows, now, paused, due, drain, epoch, pause = reply
    claimed = []
    for i in range(0, len(rows), 2):
        tag = rows[i].decode()
        for entry, fields in rows[i + 1]:
            claimed.append((tag, entry.decode(), fields[1] if len(fields) > 1 else b""))
    return StepReply(
        status.decode(),
        [e.decode() for e in lost],
        claimed,
        int(now),
        int(paused),
        int(due),
        bool(drain),
        text(pause),
        text(epoch),
    )
