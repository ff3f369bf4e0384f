"""Checkup: what is wrong with this server and this deployment, and how to mend it. Changes nothing unless it is asked to mend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ..declared import QueueSpec
from ..durations import format_duration
from ..errors import StoreDenied, StoreRefused
from ..job import State
from ..keys import registry, shown
from ..masking import mask_text
from ..store.rows import ConsumerRow, JobRow, QueueCounts, WorkerRow
from ..store.translate import is_passing
from .auditing import FOREIGN, Auditing, audit_findings, law_finding
from .checkup_server import server_findings
from .finding import LEVELS, Finding, Level, of_queue, of_server
from .footing import LEASE_MS
from .views import counted, instant

OVERDUE_MS = 30_000
"""A promoter looks at every due time; so late means that none does."""
STUCK = "the live workers' {} is stuck: look at their log, restart them one by one"
DAMAGED = "find it with TYPE among the keys of docs/keys.md, and rename it out of the way"
"""What mends a key that holds what the engine never wrote."""
LONG_GATE_MS = 3_600_000
"""Limits of a provider end within the hour, mostly; a gate that is closed for longer, somebody should look at."""
NEARLY_FULL = 0.9
"""Share of `max_waiting` from which a queue is told of: what comes next is refused, or the oldest are dropped."""
SAMPLE = 50
"""Waiting jobs whose names are looked up among the workers'."""


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How far a check-up goes."""

    full: bool = False
    """Every row of every queue, instead of the first thousands"""
    mend: bool = False
    """Put contradicting rows right"""
    write_off: bool = False
    """Count jobs that are missing as removed"""
    on_progress: Callable[[int], None] | None = None
    """Called with how many rows have been looked at so far, of all queues"""


class Checkup(Auditing):
    """The check-up; `engine doctor` and the health page show it."""

    async def checkup(self, depth: Depth | None = None) -> list[Finding]:
        """Everything that was found, the worst first. Errors: StoreUnreachable, StoreUnanswered, StoreRefused."""
        depth = depth or Depth()
        info = await self._ask(self.store.server_info)
        findings = server_findings(info, await self._ask(self.store.missing_rights))
        looked = 0

        def on_bite(rows: int) -> None:
            nonlocal looked
            looked += rows
            if depth.on_progress is not None:
                depth.on_progress(looked)

        try:
            names = await self.queue_names()
        except StoreRefused as error:
            if not _is_damage(error):
                raise
            what = f"which queues there are can't be read, only those declared here are looked at: {error}"
            findings.append(of_server("problem", what, f"rename the key {registry()} out of the way"))
            names = sorted(self.queues)
        for queue in names:
            foreign = await self._guarded(queue, self.foreign_findings(queue, full=depth.full))
            findings += foreign
            findings += await self._guarded(queue, self._audited(queue, depth, on_bite), told=foreign)
            findings += await self._guarded(queue, self._queue_findings(queue, depth, findings), told=findings)
        return sorted(findings, key=lambda finding: LEVELS.index(finding.level))

    async def _guarded(self, queue: str, look: Awaitable[list[Finding]], told: Sequence[Finding] = ()) -> list[Finding]:
        """One look at one queue: what of it can't be read is a finding, so that the rest and the other queues are told all the
        same. `told`: what needs no second telling."""
        try:
            return await look
        except StoreRefused as error:
            if not _is_damage(error):
                raise
            if error.code == "WRONGTYPE" and any(one.subject == f"queue {queue}" and FOREIGN in one.what for one in told):
                return []  # that key is named already
            kind = FOREIGN if error.code == "WRONGTYPE" else "its rows can't be read"
            found = of_queue("problem", queue, f"{kind}: {error}", DAMAGED)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # what the server answered is not what we write
            what = f"its rows can't be read: {type(error).__name__}: {mask_text(str(error))}"
            found = of_queue("problem", queue, what, DAMAGED)
        return [] if found in told else [found]

    async def _queue_findings(self, queue: str, depth: Depth, told: Sequence[Finding]) -> list[Finding]:
        audited = [one for one in told if one.subject == f"queue {queue}"]
        counts = await self.counts(queue)
        written_off = depth.write_off and (counts.difference != 0 or counts.unread != ()) and await self.write_off(queue)
        workers = await self._ask(self.store.workers, queue, counts.now_ms)
        consumers = await self._ask(self.store.consumers, queue)
        waiting = (await self._ask(self.store.page, queue, State.WAITING, limit=SAMPLE)).rows if counts.waiting else []
        timed: list[JobRow] = []
        for state, n in ((State.SCHEDULED, counts.scheduled), (State.RETRYING, counts.retrying)):
            timed += (await self._ask(self.store.page, queue, state, limit=1)).rows if n else []
        law = law_finding(counts, written_off=written_off)
        return law + queue_findings(counts, self.queues.get(queue), workers, consumers, waiting, timed, audited + law)

    async def _audited(self, queue: str, depth: Depth, on_bite: Callable[[int], None]) -> list[Finding]:
        return audit_findings(queue, await self.audit_rows(queue, full=depth.full, mend=depth.mend, on_bite=on_bite))


def _is_damage(error: StoreRefused) -> bool:
    """True when the data is at fault; False for a server that is not ready or a user without rights, which no queue can help."""
    return not isinstance(error, StoreDenied) and (error.code == "NOGROUP" or not is_passing(error))


def queue_findings(
    counts: QueueCounts,
    spec: QueueSpec | None,
    workers: Sequence[WorkerRow],
    consumers: Sequence[ConsumerRow],
    waiting: Sequence[JobRow],
    timed: Sequence[JobRow],
    before: Sequence[Finding] = (),
) -> list[Finding]:
    """What is wrong with one queue. `waiting` and `timed` are samples: the first ones in line and the next ones due;
    `before`: what its rows and its law gave away."""
    queue = counts.queue
    found: list[Finding] = []
    live = [worker for worker in workers if worker.is_alive]
    work = counts.pending
    if work and not live and not counts.paused:
        what = f"{counted(work, 'job')} and no live worker"
        found.append(of_queue("problem", queue, what, f"start one: engine run --queue {queue}"))
    found += _unknown_names(queue, live, waiting)
    found += _different_leases(queue, live)
    if counts.paused and work:
        reason = f" ({mask_text(counts.paused.reason)})" if counts.paused.reason else ""
        since = "an unknown time"  # somebody wrote it by hand
        if counts.paused.since_ms:
            since = format_duration(max(counts.now_ms - counts.paused.since_ms, 0) / 1000)
        found.append(
            of_queue(
                "warning", queue, f"paused for {since}{reason} with {counted(work, 'job')} pending", f"engine resume {queue}"
            )
        )
    found += _fullness(counts, spec)
    found += _silent_holders(counts, spec, workers, consumers)
    late = [row for row in timed if 0 < row.due_ms < counts.now_ms - OVERDUE_MS]  # 0: no time, told by its rows
    if late and live:
        age = format_duration((counts.now_ms - late[0].due_ms) / 1000)
        what = f"jobs are due since {age} and nobody moves them to their line"
        found.append(of_queue("problem", queue, what, STUCK.format("promoter")))
    found += _gate(counts)
    if counts.grace_until_ms:
        left = format_duration((counts.grace_until_ms - counts.now_ms) / 1000)
        found.append(of_queue("note", queue, f"leases are spared for {left} more, after an outage or a jump of the clock"))
    if counts.dead:
        found.append(of_queue("note", queue, counted(counts.dead, "dead job"), f"engine failures --queue {queue}"))
    if not [one for one in (*before, *found) if one.level in ("problem", "warning")]:
        found.append(
            of_queue("ok", queue, f"{counted(work, 'job')} pending, {counted(len(live), 'live worker')}, conservation exact")
        )
    return found


def _gate(counts: QueueCounts) -> list[Finding]:
    """A rate limit's gate: a note, since it opens by itself; a long one, or one that a clock set back made long, is a warning."""
    left_ms = counts.gate_until_ms - counts.now_ms
    if left_ms <= 0:
        return []
    until = instant(counts.gate_until_ms)
    what = (
        f"a rate limit's gate lets no job start for {format_duration(left_ms / 1000)} more{f', until {until}' if until else ''}"
    )
    level: Level = "warning" if left_ms > LONG_GATE_MS and counts.pending else "note"
    return [of_queue(level, counts.queue, what, f"engine resume {counts.queue} opens it, when the limit is over already")]


def _fullness(counts: QueueCounts, spec: QueueSpec | None) -> list[Finding]:
    if spec is None or not spec.limit.most or counts.kept < spec.limit.most * NEARLY_FULL:
        return []
    lost = ", ".join(f"{counted(n, 'job')} {word}" for n, word in ((counts.refused, "refused"), (counts.dropped, "dropped")) if n)
    what = f"{counts.kept:,} jobs wait of at most {spec.limit.most:,}" + (f" ({lost} so far)" if lost else "")
    mend = "more workers, fewer jobs, or a higher max_waiting; when it is full, " + (
        "enqueue is refused" if spec.limit.when_full == "refuse" else "the oldest jobs are dropped"
    )
    return [of_queue("warning", counts.queue, what, mend)]


def _unknown_names(queue: str, live: Sequence[WorkerRow], waiting: Sequence[JobRow]) -> list[Finding]:
    known = {name for worker in live for name in worker.names}
    if not live or not known:
        return []
    unknown = sorted({row.name for row in waiting if row.name} - known)
    if not unknown:
        return []
    what = f"jobs wait whose handler no live worker knows: {', '.join(shown(name) for name in unknown[:5])}"
    return [of_queue("problem", queue, what, "deploy workers that have these handlers, or cancel the jobs")]


def _different_leases(queue: str, live: Sequence[WorkerRow]) -> list[Finding]:
    """A note, since it is so during every deploy that changes the lease, and no job suffers from it."""
    leases = sorted({worker.lease_ms for worker in live if worker.lease_ms})
    if len(leases) < 2:
        return []
    told = ", ".join(format_duration(lease_ms / 1000) for lease_ms in leases)
    mend = "give all of them the same ENGINE_LEASE or queue(lease=), unless a deploy is just changing it"
    return [of_queue("note", queue, f"its live workers have different leases: {told}", mend)]


def _silent_holders(
    counts: QueueCounts, spec: QueueSpec | None, workers: Sequence[WorkerRow], consumers: Sequence[ConsumerRow]
) -> list[Finding]:
    """Jobs in the hands of workers that are gone, long after somebody should have taken them over."""
    patience_ms = 3 * max(spec.lease_ms if spec else LEASE_MS, *(worker.lease_ms for worker in workers), 0)
    alive = {worker.worker for worker in workers if worker.is_alive}
    gone = [one for one in consumers if one.pending and one.worker not in alive and one.idle_ms > patience_ms]
    if not gone or counts.grace_until_ms or not alive:  # without a live worker there is nobody to take over; said above
        return []
    jobs = sum(one.pending for one in gone)
    what = f"{counted(jobs, 'job')} still held by workers that are gone: {', '.join(sorted({one.worker for one in gone})[:5])}"
    return [of_queue("problem", counts.queue, what, STUCK.format("reclaimer"))]
