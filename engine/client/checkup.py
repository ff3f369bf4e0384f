"""Checkup: what is wrong with this server and this deployment, and how to mend it. Looks, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ..declared import QueueSpec
from ..durations import format_duration
from ..job import State
from ..keys import shown
from ..masking import mask_text
from ..store.rows import ConsumerRow, JobRow, QueueCounts, WorkerRow
from ..store.server import ServerInfo
from .footing import LEASE_MS
from .looking import Looking
from .views import counted

Level = Literal["ok", "note", "warning", "problem"]

SLOW_PING_MS = 10.0
"""What the whole design counts on is a server within 10 ms."""
SKEW_MS, BAD_SKEW_MS = 1_000, 60_000
"""Between the server's clock and ours: `at=` is judged by ours, due times by the server's; a minute makes `at=` refuse."""
OVERDUE_MS = 30_000
"""A promoter looks at every due time; so late means that none does."""
SAMPLE = 50
"""Waiting jobs whose names are looked up among the workers'."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `mend` says what to do, '' when there is nothing to."""

    level: Level
    subject: str
    """`server`, `queue messages`, ..."""
    what: str
    mend: str = ""


class Checkup(Looking):
    """The check-up; `engine doctor` and the health page show it."""

    async def checkup(self) -> list[Finding]:
        """Everything that was found, the worst first. Errors: StoreUnreachable, StoreUnanswered, StoreRefused."""
        info = await self._ask(self.store.server_info)
        findings = server_findings(info)
        for queue in await self.queue_names():
            findings += await self._queue_findings(queue)
        order: tuple[Level, ...] = ("problem", "warning", "note", "ok")
        return sorted(findings, key=lambda finding: order.index(finding.level))

    async def _queue_findings(self, queue: str) -> list[Finding]:
        counts = await self.counts(queue)
        workers = await self._ask(self.store.workers, queue, counts.now_ms)
        consumers = await self._ask(self.store.consumers, queue)
        waiting = (await self._ask(self.store.page, queue, State.WAITING, limit=SAMPLE)).rows if counts.waiting else []
        timed: list[JobRow] = []
        for state, n in ((State.SCHEDULED, counts.scheduled), (State.RETRYING, counts.retrying)):
            timed += (await self._ask(self.store.page, queue, state, limit=1)).rows if n else []
        return queue_findings(counts, self.queues.get(queue), workers, consumers, waiting, timed)


def server_findings(info: ServerInfo) -> list[Finding]:
    """What the server's own description gives away."""
    found = [_durability(info)]
    if info.is_aof_on and not info.last_write_ok:
        found.append(_server("problem", "it can't write its append-only file", "free disk space; it goes on by itself then"))
    if info.policy and info.policy != "noeviction":
        what = f"maxmemory-policy is {info.policy}: at its memory limit it deletes jobs without a word"
        level: Level = "problem" if info.maxmemory else "warning"
        found.append(_server(level, what, "CONFIG SET maxmemory-policy noeviction, and in its configuration file"))
    found += _memory(info)
    skew = abs(info.clock_ahead_ms)
    if skew > SKEW_MS:
        side = "ahead of" if info.clock_ahead_ms > 0 else "behind"
        what = f"its clock is {format_duration(skew / 1000)} {side} this machine's"
        found.append(_server("problem" if skew > BAD_SKEW_MS else "warning", what, "run a time service (NTP) on both machines"))
    if info.ping_ms > SLOW_PING_MS:
        what = f"a PING takes {info.ping_ms:.1f} ms, over {SLOW_PING_MS:.0f} ms"
        found.append(_server("warning", what, "move the workers closer to it, or look for slow commands with SLOWLOG GET"))
    version = f"{info.flavour} {info.version}, {info.mode}, {info.role}"
    found.append(_server("ok", f"{version}, answers in {info.ping_ms:.2f} ms"))
    return found


def _durability(info: ServerInfo) -> Finding:
    if info.durability == "memory":
        what = "durability class memory: when it stops, every job is lost"
        if info.is_aof_on:
            what = "durability class memory: appendfsync is no, so a crash of the machine may lose half a minute of jobs"
        mend = "CONFIG SET appendonly yes, then appendfsync everysec or always, and in its configuration file"
        return _server("problem", what, mend)
    survives = {
        "process": "survives kill -9, a power loss costs up to 2 s",
        "disk": "survives a power loss",
        "replicated": f"survives the loss of the machine, but for the last {info.lag_seconds + 1} s of acknowledgements "
        "(none with ENGINE_DURABILITY=replicated, which waits for a replica)",
    }[info.durability]
    guess = " (it would not say its appendfsync, everysec is assumed)" if info.is_aof_on and info.appendfsync is None else ""
    return _server("ok", f"durability class {info.durability}: {survives}{guess}")


def _memory(info: ServerInfo) -> list[Finding]:
    if not info.maxmemory:
        return []
    share = info.used_memory / info.maxmemory
    level: Level = "problem" if share > 0.9 else "warning" if share > 0.75 else "ok"
    what = f"{share:.0%} of its maxmemory is used ({info.used_memory:,} of {info.maxmemory:,} bytes)"
    mend = "raise maxmemory, clean what is finished (engine clean), or find who fills it; at the limit, enqueue is refused"
    return [_server(level, what, mend if level != "ok" else "")]


def queue_findings(
    counts: QueueCounts,
    spec: QueueSpec | None,
    workers: Sequence[WorkerRow],
    consumers: Sequence[ConsumerRow],
    waiting: Sequence[JobRow],
    timed: Sequence[JobRow],
) -> list[Finding]:
    """What is wrong with one queue. `waiting` and `timed` are samples: the first ones in line and the next ones due."""
    queue = counts.queue
    found = []
    if counts.difference:
        off = counted(abs(counts.difference), "job")
        missing = f"{off} missing" if counts.difference > 0 else f"{off} too many"
        what = f"the conservation law is broken: {missing} (enqueued: {counts.enqueued:,})"
        mend = "data was lost or written from outside: keep a copy, look in the server's log for a restart without its data"
        found.append(_queue("problem", queue, what, mend))
    live = [worker for worker in workers if worker.is_alive]
    work = counts.pending
    if work and not live and not counts.paused:
        what = f"{counted(work, 'job')} and no live worker"
        found.append(_queue("problem", queue, what, f"start one: engine run --queue {queue}"))
    found += _unknown_names(queue, live, waiting)
    if counts.paused and work:
        reason = f" ({mask_text(counts.paused.reason)})" if counts.paused.reason else ""
        since = format_duration(max(counts.now_ms - counts.paused.since_ms, 0) / 1000)
        found.append(
            _queue("warning", queue, f"paused for {since}{reason} with {counted(work, 'job')} pending", f"engine resume {queue}")
        )
    found += _silent_holders(counts, spec, live, consumers)
    late = [row for row in timed if row.due_ms < counts.now_ms - OVERDUE_MS]
    if late and live:
        age = format_duration((counts.now_ms - late[0].due_ms) / 1000)
        what = f"jobs are due since {age} and nobody moves them to their line"
        found.append(_queue("problem", queue, what, "the workers' promoter is stuck: look at their log, restart them one by one"))
    if counts.grace_until_ms:
        left = format_duration((counts.grace_until_ms - counts.now_ms) / 1000)
        found.append(_queue("note", queue, f"leases are spared for {left} more, after an outage or a jump of the clock"))
    if counts.dead:
        found.append(_queue("note", queue, counted(counts.dead, "dead job"), f"engine failures --queue {queue}"))
    if not [one for one in found if one.level in ("problem", "warning")]:
        found.append(
            _queue("ok", queue, f"{counted(work, 'job')} pending, {counted(len(live), 'live worker')}, conservation exact")
        )
    return found


def _unknown_names(queue: str, live: Sequence[WorkerRow], waiting: Sequence[JobRow]) -> list[Finding]:
    known = {name for worker in live for name in worker.names}
    if not live or not known:
        return []
    unknown = sorted({row.name for row in waiting if row.name} - known)
    if not unknown:
        return []
    what = f"jobs wait whose handler no live worker knows: {', '.join(shown(name) for name in unknown[:5])}"
    return [_queue("problem", queue, what, "deploy workers that have these handlers, or cancel the jobs")]


def _silent_holders(
    counts: QueueCounts, spec: QueueSpec | None, live: Sequence[WorkerRow], consumers: Sequence[ConsumerRow]
) -> list[Finding]:
    """Jobs in the hands of workers that are gone, long after somebody should have taken them over."""
    patience_ms = 3 * (spec.lease_ms if spec else LEASE_MS)
    alive = {worker.worker for worker in live}
    gone = [one for one in consumers if one.pending and one.worker not in alive and one.idle_ms > patience_ms]
    if not gone or counts.grace_until_ms or not live:  # without a live worker there is nobody to take over; said above
        return []
    jobs = sum(one.pending for one in gone)
    what = f"{counted(jobs, 'job')} still held by workers that are gone: {', '.join(sorted({one.worker for one in gone})[:5])}"
    return [
        _queue("problem", counts.queue, what, "the live workers' reclaimer is stuck: look at their log, restart them one by one")
    ]


def _server(level: Level, what: str, mend: str = "") -> Finding:
    return Finding(level=level, subject="server", what=what, mend=mend)


def _queue(level: Level, queue: str, what: str, mend: str = "") -> Finding:
    return Finding(level=level, subject=f"queue {queue}", what=what, mend=mend)
