"""Jobs in memory: where each is, from place to place, and its endings. What is counted, told and announced on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engine.job import State
from engine.store.rows import id_order
from tests.support.factory import Now

FRONTS = "ABCDEFGHI"
"""Tags of what was released: A is in front of priority 1, B of 2 ..."""
SUSPECTS = "s"
FOR_EVER = float("inf")


def rank(tag: str) -> tuple[int, int]:
    """What sorts tags in the order in which they are served."""
    if tag == SUSPECTS:
        return 10, 0
    return (FRONTS.index(tag) + 1, 0) if tag in FRONTS else (int(tag), 1)


@dataclass(slots=True, eq=False)
class ModelJob:
    """One job that has not ended, or is dead."""

    id: str
    priority: int
    key: str
    body: bytes
    state: State = State.WAITING
    attempt: int = 1
    stalls: int = 0
    losses: bytes = b""
    due_ms: int = 0
    is_snoozed: bool = False
    """Scheduled, and holds its key: it was started before."""
    tag: str = ""
    owner: str = ""
    entry: str = ""
    """As the server named it; '' until it was seen: then it must be one that this job never had."""
    last_entry: str = ""
    """The newest entry it ever had."""
    since_ms: int = 0
    """Since when it could run."""
    has_lapsed: bool = False
    epitaph: tuple[str, str, bytes] = ("", "", b"")
    """Of a dead job: reason, fingerprint, what its worker wrote down."""

    def learn(self, entry: str) -> None:
        """The server named its entry: the one it has, or one that it never had, for this is the fence."""
        if self.entry != entry:
            assert not self.entry, f"{self.id} was {self.entry} and is {entry} now"
            assert id_order(entry) > id_order(self.last_entry or "0-0"), f"{self.id} got entry {entry}, it had {self.last_entry}"
            self.entry = self.last_entry = entry

    @property
    def envelope(self) -> tuple[int, int, int, str, bytes, bytes]:
        """What goes with the job wherever it is."""
        return self.attempt, self.stalls, self.priority, self.key, self.losses, self.body


@dataclass(slots=True)
class Record:
    """One entry of `done`: what one call completed, or one cancelled job."""

    ids: list[str]
    why: str | None
    """None: completed"""
    entry: str = ""


class JobsModel:
    """Where every job of one queue is, and what was counted."""

    def __init__(self, now: Now) -> None:
        self.now = now
        self.top_ms = 0
        """The latest that the clock ever showed: it may be set back, and ids go on rising."""
        self.last_id = (0, 0)
        self.jobs: dict[str, ModelJob] = {}
        self.ready: dict[str, list[ModelJob]] = {}
        """Tag -> waiting and active ones as they lie in the stream; a tag once used stays."""
        self.lines: dict[str, list[ModelJob]] = {}
        """Ordering key -> who holds it, then who waits behind."""
        self.blocked: list[ModelJob] = []
        self.dead: list[ModelJob] = []
        self.done: list[Record] = []
        self.done_kept = 0
        self.counters: Counter[str] = Counter()
        self.cancel_asked: set[str] = set()
        self.awaited: set[str] = set()
        self.notes: dict[str, dict[str, bytes]] = {}
        self.noted: dict[str, float] = {}
        self.news: Counter[tuple[str, str]] = Counter()
        """What must be told of in `events` by the call under way: (kind, id)."""
        self.settled: list[tuple[str, str]] = []
        self.arrived: list[ModelJob] = []
        """Jobs that the call under way made runnable."""
        self.sooner_ms: list[int] = []
        """Due times that the call under way added."""

    def in_state(self, state: State) -> list[ModelJob]:
        """The jobs that are in a state now."""
        return [job for job in self.jobs.values() if job.state is state]

    def conserved(self) -> bool:
        """DESIGN's second promise: whoever was enqueued is somewhere, or counted as ended or removed."""
        ended = sum(self.counters[how] for how in ("completed", "cancelled", "removed"))
        return self.counters["enqueued"] == len(self.jobs) + ended

    # --- from place to place ---------------------------------------------------------------------------------------------

    def put(self, job: ModelJob, tag: str, since_ms: int = 0) -> None:
        """Runnable, at the end of a stream."""
        job.state, job.tag, job.owner, job.entry, job.has_lapsed = State.WAITING, tag, "", "", False
        job.due_ms, job.is_snoozed = 0, False
        job.since_ms = min(since_ms or self.now.ms, self.now.ms)
        self.ready.setdefault(tag, []).append(job)
        self.arrived.append(job)

    def admit(self, job: ModelJob) -> None:
        """Runnable for the first time since it has no key: it takes its key, or its place behind who has it."""
        if job.key:
            line = self.lines.setdefault(job.key, [])
            line.append(job)
            if len(line) > 1:
                job.state, job.entry, job.due_ms = State.BLOCKED, "", 0
                self.blocked.append(job)
                return
        self.put(job, str(job.priority))

    def postpone(self, job: ModelJob, state: State, due_ms: int, *, is_snoozed: bool = False) -> None:
        """Runnable at a time."""
        job.state, job.due_ms, job.is_snoozed, job.entry = state, due_ms, is_snoozed, ""
        self.sooner_ms.append(due_ms)

    def hand_over(self, job: ModelJob) -> None:
        """A job that leaves for good gives up its key, or its place in the line."""
        if not job.key or job not in self.lines.get(job.key, ()):
            return  # delayed: it has taken no place yet
        line = self.lines[job.key]
        held = line[0] is job
        line.remove(job)
        if not line:
            del self.lines[job.key]
        elif held:
            self.blocked.remove(line[0])
            self.put(line[0], str(line[0].priority))

    def timed(self, state: State) -> list[ModelJob]:
        """Scheduled or retrying jobs, soonest first; equal times in the order of enqueue."""
        return sorted((j for j in self.jobs.values() if j.state is state), key=lambda j: (j.due_ms, id_order(j.id)))

    def next_due(self) -> int:
        """When the next job is due, 0 when none is."""
        return min((j.due_ms for s in (State.SCHEDULED, State.RETRYING) for j in self.timed(s)), default=0)

    def make_runnable(self, job: ModelJob) -> None:
        """Its time has come. Retrying and snoozed jobs kept their key; a delayed one joins its line only now."""
        if job.state is State.SCHEDULED and not job.is_snoozed:
            self.admit(job)
        else:
            self.put(job, str(job.priority))

    def promote(self, limit: int) -> int:
        """Everything due, `limit` at most; how many."""
        due = [j for s in (State.RETRYING, State.SCHEDULED) for j in self.timed(s) if j.due_ms <= self.now.ms][:limit]
        for job in due:
            self.make_runnable(job)
        return len(due)

    def hasten(self, job_id: str) -> bool:
        """An operator makes a waiting-for-its-time job runnable."""
        job = self.jobs.get(job_id)
        if job is None or job.state not in (State.SCHEDULED, State.RETRYING):
            return False
        self.make_runnable(job)
        return True

    def requeue(self, job_ids: Sequence[str]) -> int:
        """Dead jobs get a fresh set of attempts and join the end of their line."""
        back = 0
        for job_id in job_ids:
            job = self.jobs.get(job_id)
            if job is not None and job.state is State.DEAD:
                self.dead.remove(job)
                job.attempt, job.stalls, job.losses, job.epitaph = 1, 0, b"", ("", "", b"")
                self.admit(job)
                self.tell("requeued", job_id)
                back += 1
        return back

    # --- endings ---------------------------------------------------------------------------------------------------------

    def tell(self, kind: str, job_id: str, *, counter: str = "") -> None:
        """Counted, and said to other processes."""
        self.news[kind, job_id] += 1
        if job_id:
            self.counters[counter or kind] += 1

    def take_out(self, job: ModelJob) -> None:
        """Out of wherever it is, its key apart."""
        if job.state in (State.WAITING, State.ACTIVE):
            self.ready[job.tag].remove(job)
        elif job.state is State.BLOCKED:
            self.blocked.remove(job)
        elif job.state is State.DEAD:
            self.dead.remove(job)
        job.tag, job.owner = "", ""
        self.cancel_asked.discard(job.id)

    def announce(self, job_id: str, outcome: str) -> None:
        """Somebody may wait for this ending."""
        if job_id in self.awaited:
            self.awaited.remove(job_id)
            self.settled.append((job_id, outcome))

    def bury(self, job: ModelJob, epitaph: tuple[str, str, bytes]) -> None:
        """Dead. The caller hands its key over."""
        self.take_out(job)
        job.state, job.epitaph, job.entry = State.DEAD, epitaph, ""
        self.dead.append(job)
        self.tell("died", job.id)
        self.announce(job.id, "dead")

    def cancelled(self, job: ModelJob, why: str, notes_ms: int) -> None:
        """Ended as cancelled. The caller hands its key over."""
        self.take_out(job)
        del self.jobs[job.id]
        self.done.append(Record([job.id], why))
        self.done_kept += 1
        self.tell("cancelled", job.id)
        if why == "expired":
            self.counters["expired"] += 1
        self.let_notes_go(job.id, notes_ms)
        self.announce(job.id, "cancelled")

    def let_notes_go(self, job_id: str, notes_ms: int) -> None:
        """Notes of an ended job stay for a while."""
        if job_id in self.noted:
            self.noted[job_id] = self.now.ms + notes_ms
            self.notes[job_id]["ended"] = str(self.now.ms).encode()

    def forget_notes(self, job_id: str) -> int:
        """Without a trace; how many there were."""
        self.notes.pop(job_id, None)
        return int(self.noted.pop(job_id, None) is not None)
