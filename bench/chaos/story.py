"""Story: what producers and handlers wrote down beside what Redis keeps, put together job by job.

The heart is `_tell`: which start of a handler is *recorded* (Redis keeps its end), which was *lost* (Redis keeps that its
worker's lease ran out), which is still *open*, and which left no trace. Laws look at that and judge; nothing is judged here.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from .journal import Fault, Record, RunSettings
from .kept import Kept, Loss, QueueData, Tried, pid_of

ENDED = frozenset({"completed", "dead", "cancelled"})
NEVER = 1 << 62
"""Later than everything, in ns."""

Fate = Literal["recorded", "lost", "open", "traceless"]


class Evidence(msgspec.Struct, kw_only=True):
    """All that is known of a run."""

    settings: RunSettings
    records: list[Record]
    """In the order of the machine's monotonic clock."""
    faults: list[Fault]
    queues: dict[str, QueueData]
    clock_ahead_ms: float = 0.0
    """The server's clock against the machine's."""


class Run:
    """One start of a handler."""

    __slots__ = ("end", "fate", "loss", "record", "start", "told")

    def __init__(self, start: Record) -> None:
        self.start = start
        self.end: Record | None = None
        self.told: Record | None = None
        """The handler was told to stop."""
        self.record: Tried | None = None
        """What Redis keeps of its end."""
        self.loss: Loss | None = None
        """What Redis keeps of its lease's end."""
        self.fate: Fate = "traceless"

    def __repr__(self) -> str:
        return f"attempt {self.start.attempt} in process {self.start.pid}, {self.fate}"

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self.start.mono_ns

    @property
    def end_ns(self) -> int:
        """When its handler ended; NEVER when its process was gone before."""
        return self.end.mono_ns if self.end else NEVER


class JobStory:
    """One job."""

    __slots__ = ("acked", "ask", "cancel_asked", "cancels", "job", "kept", "queue", "runs", "unseen")

    def __init__(self, job: str) -> None:
        self.job = job
        self.queue = job.partition("/")[0]
        self.ask: Record | None = None
        """What was asked of it: by the number that its handler or its payload says."""
        self.acked: list[Record] = []
        self.runs: list[Run] = []
        """In the order of their starts."""
        self.kept: list[Kept] = []
        """Every place where Redis has it."""
        self.unseen: list[Tried] = []
        """Ends that Redis keeps and no start belongs to."""
        self.cancels: list[Record] = []
        """Answers to those who wanted it cancelled."""
        self.cancel_asked = False

    @property
    def numbers(self) -> set[int]:
        """The numbers that its payload bears, as handlers and Redis tell."""
        return {run.start.n for run in self.runs} | {kept.n for kept in self.kept if kept.n}

    @property
    def key(self) -> str:
        """Its ordering key, '' without."""
        return self.ask.key if self.ask else next((kept.key for kept in self.kept), "")

    @property
    def ended(self) -> Kept | None:
        """Its recorded end; None while it has none."""
        return next((kept for kept in self.kept if kept.state in ENDED), None)

    @property
    def recorded(self) -> list[Run]:
        """The runs whose end was recorded."""
        return [run for run in self.runs if run.fate == "recorded"]


class Story:
    """A run, job by job."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.settings = evidence.settings
        self.faults = [fault for fault in evidence.faults if fault.injected]
        self.asks: dict[int, Record] = {}
        self.answers: dict[int, list[Record]] = defaultdict(list)
        """Number -> acked, unknown, refused, in that order of time."""
        self.jobs: dict[str, JobStory] = {}
        self.live: dict[int, Record] = {}
        self.gone: dict[int, Record] = {}
        """Worker process -> its start, its end."""
        self.stray_ends: list[Record] = []
        self.unplaced: list[Record] = []
        """Acknowledged without an id, and no job bears the number."""
        self._counted: list[Record] = []
        self._shift_ms = _shift_ms(evidence.records) + evidence.clock_ahead_ms
        self._hear(evidence.records)
        self._with_a_lease = [live for live in self.live.values() if live.lease_ms]
        for kept in (kept for data in evidence.queues.values() for kept in data.jobs):
            self._story(kept.job).kept.append(kept)
        self._place_counted()
        for story in self.jobs.values():
            story.ask = self._ask_of(story)
            _tell(story)

    def __repr__(self) -> str:
        return f"<Story of {len(self.asks)} asks, {len(self.jobs)} jobs, {len(self.faults)} faults>"

    def ns(self, server_ms: float) -> int:
        """An instant of the server's clock as one of the journal's."""
        return int((server_ms - self._shift_ms) * 1e6)

    def wall_ms(self, server_ms: float) -> float:
        """An instant of the server's clock as one of the machine's."""
        return server_ms - self.evidence.clock_ahead_ms

    def declared_lease_ns(self, queue: str) -> int:
        """How long a lease of the queue is, as the run declared it."""
        return self.settings.queues[queue].lease_ms * 1_000_000 if queue in self.settings.queues else 0

    def lease_ns(self, queue: str, pid: int, at_ns: int) -> int:
        """How old what a process holds may become before somebody who is there at that instant takes it: the longest of the
        declared lease, the process's own, and theirs."""
        longer = (live for live in self._with_a_lease if live.pid == pid or self._is_there(live, at_ns))
        return max([self.declared_lease_ns(queue), *(live.lease_ms * 1_000_000 for live in longer)])

    def _is_there(self, live: Record, at_ns: int) -> bool:
        gone = self.gone.get(live.pid)
        return live.mono_ns <= at_ns and (gone is None or gone.mono_ns >= at_ns)

    def runs(self) -> Iterator[tuple[JobStory, Run]]:
        """Every start of every job."""
        for story in self.jobs.values():
            for run in story.runs:
                yield story, run

    def by_key(self) -> dict[tuple[str, str], list[JobStory]]:
        """(queue, ordering key) -> its jobs."""
        found: dict[tuple[str, str], list[JobStory]] = defaultdict(list)
        for story in self.jobs.values():
            if key := story.key:
                found[story.queue, key].append(story)
        return found

    def _story(self, job: str) -> JobStory:
        found = self.jobs.get(job)
        if found is None:
            found = self.jobs[job] = JobStory(job)
        return found

    def _hear(self, records: Iterable[Record]) -> None:
        open_runs: dict[tuple[int, str, int], list[Run]] = defaultdict(list)
        for record in records:
            match record.what:
                case "ask":
                    self.asks[record.n] = record
                case "acked":
                    self.answers[record.n].append(record)
                    if record.job:
                        self._story(record.job).acked.append(record)
                    else:
                        self._counted.append(record)
                case "unknown" | "refused":
                    self.answers[record.n].append(record)
                case "start":
                    run = Run(record)
                    self._story(record.job).runs.append(run)
                    open_runs[record.pid, record.job, record.attempt].append(run)
                case "end":
                    # one that would not stop may still be at it when its process starts the job anew: the oldest ends first
                    waiting = open_runs.get((record.pid, record.job, record.attempt))
                    if waiting:
                        waiting.pop(0).end = record
                    else:
                        self.stray_ends.append(record)
                case "told":
                    waiting = open_runs.get((record.pid, record.job, record.attempt))
                    if waiting:
                        waiting[-1].told = record
                case "cancel_asked":
                    self._story(record.job).cancel_asked = True
                case "cancel_answer":
                    self._story(record.job).cancels.append(record)
                case "live":
                    self.live[record.pid] = record
                case "gone":
                    self.gone[record.pid] = record

    def _place_counted(self) -> None:
        """Those that were told a number of jobs only: the payload, or its handler, says which is whose."""
        by_number = {n: job for job in self.jobs.values() for n in job.numbers} if self._counted else {}
        for record in self._counted:
            if record.n in by_number:
                by_number[record.n].acked.insert(0, record)  # an id may have come later, on repeating
            else:
                self.unplaced.append(record)

    def _ask_of(self, story: JobStory) -> Record | None:
        numbers = story.numbers or {ack.n for ack in story.acked if ack.how == "new"} or {ack.n for ack in story.acked}
        return self.asks.get(min(numbers)) if numbers else None


def _shift_ms(records: list[Record]) -> float:
    """Wall clock less monotonic clock. The median, since a process may be interrupted between its looks at the two."""
    sample = records[:: max(len(records) // 2000, 1)]
    return statistics.median(record.ms - record.mono_ns / 1e6 for record in sample) if sample else 0.0


def _tell(story: JobStory) -> None:
    """Find the start that belongs to each end and to each lost lease that Redis keeps."""
    for tried in (tried for kept in story.kept for tried in kept.history):
        _match(story, tried)
    rest = [run for run in story.runs if run.fate == "traceless"]
    for kept in story.kept:
        for loss in sorted(kept.losses, key=lambda loss: loss.at_ms):
            pid = pid_of(loss.worker)
            run = next((run for run in rest if run.start.pid == pid), None)
            if run is not None:
                rest.remove(run)
                run.loss, run.fate = loss, "lost"
        if kept.state == "active":
            mine = [run for run in rest if run.start.pid == pid_of(kept.worker)]
            if mine:
                rest.remove(mine[-1])
                mine[-1].fate = "open"
        elif kept.state == "cancelled" and kept.reason == "asked while active":
            # the one end of which Redis keeps no worker: what is left after all that is recorded, and was told or ended
            since = max((run.start_ns for run in story.runs if run.fate == "recorded"), default=0)
            told = [run for run in rest if (run.told or run.end) and run.start_ns > since]
            if told:
                run = told[-1]
                rest.remove(run)
                end_ms = run.end.ms if run.end else kept.ended_ms
                run.record, run.fate = Tried(run.start.attempt, run.start.ms, end_ms, "cancelled"), "recorded"


def _match(story: JobStory, tried: Tried) -> None:
    """The nearest start of that attempt in that process: a process may have started it before, and lost that lease."""
    pid = pid_of(tried.worker)
    fit = [run for run in story.runs if run.record is None and run.start.attempt == tried.attempt and run.start.pid == pid]
    if not fit:
        story.unseen.append(tried)
        return
    run = min(fit, key=lambda run: abs(run.start.ms - tried.started_ms)) if len(fit) > 1 else fit[0]
    run.record, run.fate = tried, "recorded"
