"""Workers in memory: numbered calls, endings, who may claim what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from engine.job import State
from engine.store.claim import Claim
from engine.store.work import StepReply
from tests.support.factory import Now

from .jobs import FRONTS, SUSPECTS, ModelJob, Record, rank
from .producers import Call, ProducersModel

Verb = Literal["complete", "result", "retry", "snooze", "release", "bury", "cancel", "expire"]
LEASE_MS = 3_600_000
"""No lease ends by itself while a test runs: leases are aged on purpose."""
DAY_MS = 86_400_000
"""A silence of which nobody knows how long it was counts as so long."""
TURN_MS = 2_000
"""How long one worker has the turn to run dry for a suspect."""
SILENT_MS = 15_000
"""A worker that left while something was pending for it counts as silent for so long."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a worker says of one claim."""

    verb: Verb
    claim: Claim
    delay_ms: int = 0
    result: bytes = b""
    frees_notes: bool = False


@dataclass(slots=True)
class Ear:
    """What a worker knows since its last claim; a ring makes it look again."""

    sleeps: bool
    due_ms: int


class WorkersModel(ProducersModel):
    """One queue, with the workers at it."""

    def __init__(self, now: Now, notes_ms: int) -> None:
        super().__init__(now)
        self.notes_ms = notes_ms
        self.calls: dict[str, Call] = {}
        self.workers: dict[str, int] = {}
        """Worker -> when it was last seen."""
        self.consumers: set[str] = set()
        """Names that the server may know: whoever claimed or reclaimed and was not forgotten."""
        self.ears: dict[str, Ear] = {}
        """Worker -> what it waits for, while nobody has rung since."""
        self.paused: tuple[int, int, str] | None = None
        """Until (0: for ever), since, reason."""
        self.gate_ms = 0
        self.beat_ms = 0
        self.grace_ms = 0
        self.silences: list[tuple[int, int]] = []
        """How long nobody came to reclaim, and until when; the longest first."""
        self.solo: tuple[str, int] | None = None
        """Whose turn it is to run dry for a suspect, and until when."""
        self.metrics: Counter[str] = Counter()
        self.control: list[str] = []
        """Ids of active jobs whose cancel was asked."""
        self.must_ring = False

    @property
    def is_paused(self) -> bool:
        """Whether a pause stands: a timed one ends by itself."""
        return self.paused is not None and not 0 < self.paused[0] <= self.now.ms

    @property
    def pause_row(self) -> str:
        """`until;since;reason`, '' when there is none."""
        return "{};{};{}".format(*self.paused) if self.paused is not None else ""

    # --- step ------------------------------------------------------------------------------------------------------------

    def step(self, worker: str, number: int, want: int, held: int, endings: Sequence[Ending], reply: StepReply) -> None:
        """A worker's call was answered so."""
        if self.paused is not None and not self.is_paused:
            self.paused = None
            self.tell("resumed", "")
        last = self.calls.get(worker)
        if last is not None and number <= last.number:
            self._repeated(worker, number, last, reply)
            return
        lost = self._settle(worker, endings)
        self.calls[worker] = Call(number, self.now.ms, lost)
        assert reply.status == "ok", f"the first sending of call {number} was answered {reply.status!r}"
        assert sorted(reply.lost) == sorted(lost), f"refused {reply.lost}, not {lost}"
        self._claim(worker, number, want, held, reply)
        assert reply.next_due_ms == self.next_due(), f"next due {reply.next_due_ms}, not {self.next_due()}"
        is_open = self.paused is None and self.gate_ms <= self.now.ms
        until = self.paused[0] if self.paused is not None else self.gate_ms if self.gate_ms > self.now.ms else -1
        assert (reply.paused_until_ms, reply.pause) == (until, self.pause_row), f"paused {reply.paused_until_ms} {reply.pause!r}"
        alone = any(tag == SUSPECTS for tag, _, _ in reply.rows)
        sleeps = want > len(reply.rows) and not alone and not reply.drain and (is_open or self.paused is not None)
        self.ears[worker] = Ear(sleeps, reply.next_due_ms)

    def _repeated(self, worker: str, number: int, last: Call, reply: StepReply) -> None:
        if number < last.number:
            assert (reply.status, reply.lost, reply.rows) == ("stale", [], []), f"an older copy was answered {reply}"
            return
        mine = {j.entry for jobs in self.ready.values() for j in jobs if j.owner == worker}
        assert reply.status == "again", f"sent again, answered {reply.status!r}"
        assert set(reply.lost) == last.lost, f"sent again, refused {reply.lost}, not {last.lost}"
        assert {entry for _, entry, _ in reply.rows} == mine, f"sent again, held {reply.rows}, not {mine}"

    def holder(self, claim: Claim) -> ModelJob | None:
        """The job of a claim, when the claim is still good: a job that was taken away has another entry."""
        job = self.jobs.get(claim.id)
        return job if job and job.state is State.ACTIVE and (job.tag, job.entry) == (claim.tag, claim.entry) else None

    def _settle(self, worker: str, endings: Sequence[Ending]) -> set[str]:
        lost: set[str] = set()
        completed: list[str] = []
        gone: list[ModelJob] = []
        tags = list(dict.fromkeys(e.claim.tag for e in endings if _is_plain(e)))
        for ending in sorted(endings, key=lambda e: tags.index(e.claim.tag) if _is_plain(e) else len(tags)):
            job = self.holder(ending.claim)
            if job is None:
                lost.add(ending.claim.entry)
            elif ending.verb in ("complete", "result"):
                completed.append(job.id)
                gone.append(job)
                self._complete(job, ending)
            elif job.id in self.cancel_asked and ending.verb in ("retry", "snooze", "release"):
                gone.append(job)
                self.cancelled(job, "asked while active", self.notes_ms)
            else:
                gone += self._end(job, ending)
        for job in gone:
            self.hand_over(job)
        if completed:
            said = [ending.claim.id for ending in endings]
            self.done.append(Record(sorted(completed, key=said.index), None))
            self.done_kept += len(completed)
        self.metrics["n"] += len(endings)
        return lost

    def _complete(self, job: ModelJob, ending: Ending) -> None:
        self.take_out(job)
        del self.jobs[job.id]
        self.counters["completed"] += 1
        if ending.result:
            self.notes.setdefault(job.id, {})["result"] = ending.result
            self.noted[job.id] = self.now.ms
        if ending.frees_notes:
            self.let_notes_go(job.id, self.notes_ms)
        self.announce(job.id, "completed")

    def _end(self, job: ModelJob, ending: Ending) -> list[ModelJob]:
        """Any other ending; the job when it has left for good."""
        due_ms = self.now.ms + ending.delay_ms
        self.cancel_asked.discard(job.id)
        match ending.verb:
            case "retry":
                self.take_out(job)
                job.attempt += 1
                self.postpone(job, State.RETRYING, due_ms)
                self.tell("retried", job.id)
            case "snooze":
                self.take_out(job)
                self.postpone(job, State.SCHEDULED, due_ms, is_snoozed=True)
                self.counters["snoozed"] += 1
            case "release":
                since_ms, suspect = job.since_ms, job.stalls > 0
                self.take_out(job)
                self.put(job, SUSPECTS if suspect else FRONTS[job.priority - 1], since_ms)
                self.counters["released"] += 1
            case "bury":
                self.bury(job, ("attempts used up", "f00d", b"info"))
                return [job]
            case "cancel" | "expire":
                self.cancelled(job, "asked" if ending.verb == "cancel" else "expired", self.notes_ms)
                return [job]
            case _:
                raise AssertionError(ending)
        return []

    # --- claim -----------------------------------------------------------------------------------------------------------

    def waiting(self, tag: str) -> list[ModelJob]:
        """Those of a stream that nobody has claimed, in turn."""
        return [j for j in self.ready.get(tag, ()) if not j.owner]

    def _claim(self, worker: str, number: int, want: int, held: int, reply: StepReply) -> None:
        got = [self.jobs[Claim.read("", tag, entry, value, 0.0).id] for tag, entry, value in reply.rows]
        allowed, drain = self._allowed(worker, number, want, held)
        ids = [j.id for j in got]
        assert ids in allowed, f"claimed {ids}, allowed {allowed}"
        assert reply.drain == drain, f"drain {reply.drain}"
        for job, (tag, entry, _) in zip(got, reply.rows, strict=True):
            job.learn(entry)
            assert job.tag == tag, f"{job.id} claimed at {tag}:{entry}, it waits at {job.tag}"
            job.state, job.owner = State.ACTIVE, worker
        if want:
            self.consumers.add(worker)

    def _allowed(self, worker: str, number: int, want: int, held: int) -> tuple[list[list[str]], bool]:
        """What may be claimed, in order, and whether it is this worker's turn to run dry. Ageing leaves a choice: one place in
        ten goes to some lower priority."""
        if want == 0 or self.paused is not None or self.gate_ms > self.now.ms:
            return [[]], False
        if suspects := self.waiting(SUSPECTS):
            if held == 0:
                self.solo = None
                return [[suspects[0].id]], False
            left_ms = self.solo[1] - self.now.ms if self.solo else 0
            if self.solo is None or self.solo[0] == worker or not 0 <= left_ms <= TURN_MS:
                self.solo = (worker, self.now.ms + TURN_MS)
                return [[]], True
        tags = sorted((t for t in self.ready if t != SUSPECTS), key=rank)
        in_order = [j for t in tags for j in self.waiting(t)]
        share = want // 10 or int(number % 10 == 0)
        lower = [list(ones) for _, ones in groupby(tags, key=lambda t: rank(t)[0])][1:]
        allowed = []
        for priority in lower if share else []:
            if aged := [j for t in priority for j in self.waiting(t)][:share]:
                allowed.append([*aged, *(j for j in in_order if j not in aged)][:want])
        return [[j.id for j in one] for one in allowed or [in_order[:want]]], False

    def pending(self, worker: str) -> bool:
        """Whether the worker owns anything."""
        return any(j.owner == worker for jobs in self.ready.values() for j in jobs)

    def _forget(self, worker: str) -> None:
        self.workers.pop(worker, None)
        self.calls.pop(worker, None)
        self.ears.pop(worker, None)
        self.consumers.discard(worker)

    def leave(self, worker: str) -> None:
        """A worker stops. With something pending it is only silent from now on."""
        self.ears.pop(worker, None)
        if self.pending(worker):
            self.workers[worker] = self.now.ms - SILENT_MS
        else:
            self._forget(worker)


def _is_plain(ending: Ending) -> bool:
    return ending.verb == "complete" and not ending.frees_notes
