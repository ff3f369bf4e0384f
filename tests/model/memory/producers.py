"""Producers in memory: numbered enqueue calls, duplicates, a queue's limit, and who waits for ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from engine.declared import Limit
from engine.job import State
from engine.store.producing import Enqueued, Entry
from engine.store.rows import entry_ms, id_order
from tests.support.factory import Now

from .jobs import JobsModel, ModelJob


@dataclass(slots=True)
class Call:
    """A producer's or a worker's last numbered call, and what it was answered."""

    number: int
    at_ms: int
    lost: set[str] = field(default_factory=set)
    answer: list[Enqueued] = field(default_factory=list)


class ProducersModel(JobsModel):
    """One queue, and who enqueues to it."""

    def __init__(self, now: Now) -> None:
        super().__init__(now)
        self.dedup: dict[str, tuple[str, int]] = {}
        """Key -> the first job's id, and the end of its window."""
        self.window_ends: set[int] = set()
        """Of all windows there ever were."""
        self.producers: dict[str, Call] = {}

    def enqueue(
        self, producer: str, number: int, entries: Sequence[Entry], limit: Limit, answer: Sequence[Enqueued] | None
    ) -> None:
        """A producer's call was answered so; None: refused as stale."""
        last = self.producers.get(producer)
        if last is not None and number < last.number:
            assert answer is None, f"an older call of {producer} was answered {answer}"
            return
        assert answer is not None, "a new call was refused as stale"
        if last is not None and number == last.number:
            assert list(answer) == last.answer, f"sent again, {producer} was answered {answer}, not {last.answer}"
            return
        assert len(answer) == len(entries), f"{len(entries)} jobs, {len(answer)} answers"
        expected: list[Enqueued] = []
        pushed_out: list[ModelJob] = []
        for entry, got in zip(entries, answer, strict=True):
            older = self.dedup.get(entry.dedup_key)
            fate = self._fits(limit, pushed_out, any(not one.id for one in expected))
            if entry.dedup_key and older is not None and older[1] > self.now.ms:
                expected.append(Enqueued(older[0], True))
            elif fate == "refused":
                self.counters["refused"] += 1
                expected.append(Enqueued("", False))
            else:
                if fate == "makes room":
                    self._push_out(pushed_out)
                expected.append(Enqueued(got.id, False, made_room=fate == "makes room"))
                self._add(got.id, entry)
        waiting = self._waiting() if limit.most else 0
        expected = [one if one.id else msgspec.structs.replace(one, waiting=waiting) for one in expected]
        assert list(answer) == expected, f"answered {answer}, not {expected}"
        for job in pushed_out:
            self.hand_over(job)
        self.producers[producer] = Call(number, self.now.ms, answer=expected)

    def _waiting(self) -> int:
        """How many jobs count against a limit: all that wait for anything."""
        waiting = (State.WAITING, State.BLOCKED, State.SCHEDULED, State.RETRYING)
        return sum(1 for job in self.jobs.values() if job.state in waiting)

    def _fits(self, limit: Limit, pushed_out: list[ModelJob], is_cut: bool) -> str:
        if not limit.most or self._waiting() < limit.most:
            return "fits"
        return "makes room" if limit.drops and not is_cut and self._next_in_line() else "refused"

    def _next_in_line(self) -> list[ModelJob]:
        """Who may go to make room: the next of each stream, and of the blocked."""
        heads = [next((j for j in jobs if not j.owner), None) for jobs in self.ready.values()]
        return [job for job in (*heads, *self.blocked[:1]) if job is not None]

    def _push_out(self, pushed_out: list[ModelJob]) -> None:
        """The oldest of those goes. If it holds a key, that is handed over when the call ends."""
        job = min(self._next_in_line(), key=lambda j: id_order(j.id))
        waits_for_key = job.state is State.BLOCKED
        self.take_out(job)
        del self.jobs[job.id]
        self.forget_notes(job.id)
        self.counters["removed"] += 1
        self.tell("dropped", job.id)
        self.announce(job.id, "removed")
        if waits_for_key:
            self.hand_over(job)
        else:
            pushed_out.append(job)

    def _add(self, job_id: str, entry: Entry) -> None:
        assert id_order(job_id) > self.last_id, f"id {job_id} after {self.last_id}"
        latest = max(self.now.ms, self.top_ms, self.last_id[0] + 1)  # the next when its numbers are used
        assert self.now.ms <= entry_ms(job_id) <= latest, f"id {job_id} at {self.now.ms}"
        self.last_id = id_order(job_id)
        if entry.dedup_key:
            self.dedup[entry.dedup_key] = (job_id, self.now.ms + entry.dedup_window_ms)
            self.window_ends.add(self.now.ms + entry.dedup_window_ms)
        job = ModelJob(job_id, entry.priority, entry.ordering_key, entry.body)
        self.jobs[job.id] = job
        self.counters["enqueued"] += 1
        due_ms = entry.at_ms or (self.now.ms + entry.delay_ms if entry.delay_ms else 0)
        if due_ms > self.now.ms:
            self.postpone(job, State.SCHEDULED, due_ms)
        else:
            self.admit(job)
            job.learn(job.id)  # a fresh job is one entry of that id, and nothing else

    def await_end(self, job_id: str) -> tuple[str, bytes]:
        """Somebody wants to hear of a job's end: what is known of it now."""
        result = self.notes.get(job_id, {}).get("result")
        job = self.jobs.get(job_id)
        if result is not None or job is None:
            return "ended", result or b""
        if job.state is State.DEAD:
            return "dead", b""
        self.awaited.add(job_id)
        return "waiting", b""
