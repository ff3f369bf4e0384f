"""Looking: what the reading verbs say must be what the model says: counts, one job, pages."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from engine.job import State
from engine.store.audit import Row, Verdict
from engine.store.rows import Place

from .base import Base, picks
from .memory.jobs import ModelJob, rank
from .memory.workers import SILENT_MS

PAGE = 3
_PLACES = {
    State.WAITING: Place.READY,
    State.ACTIVE: Place.READY,
    State.RETRYING: Place.RETRYING,
    State.BLOCKED: Place.BLOCKED,
    State.DEAD: Place.DEAD,
}


class Looking(Base):
    """The rules that only look."""

    @rule(pick=picks, state=st.sampled_from(State), what=st.sampled_from(("count", "inspect", "list", "audit")))
    def look(self, pick: int, state: State, what: str) -> None:
        match what:
            case "audit":
                self._audit(mend=bool(pick % 2))
            case "count":
                self._count()
            case "inspect":
                self._inspect(self.pick_id(pick))
            case _:
                self._list(state)

    def _audit(self, *, mend: bool) -> None:
        """`engine doctor`: no row contradicts another, so there is nothing to mend."""

        async def wrong() -> list[Row]:
            found = []
            async for rows in self.store.rows(self.queue, most=5_000, mend=mend):
                verdicts = await self.store.examine(self.queue, rows, mend=mend)
                found += [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is not Verdict.SOUND]
            return found

        assert (rows := self.run(wrong())) == [], f"the doctor finds fault with {rows}"

    def _count(self) -> None:
        """`engine stats`: every count, from one call."""
        model, now_ms = self.model, self.model.now.ms
        counts = self.ground.run(self.ground.store.counts(self.queue))
        assert counts.difference == 0, counts
        for state in (State.WAITING, State.ACTIVE, State.SCHEDULED, State.RETRYING, State.BLOCKED, State.DEAD):
            assert getattr(counts, state.value) == len(model.in_state(state)), f"{state}: {counts}"
        for flow in (
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
            "refused",
            "dropped",
        ):
            assert getattr(counts, flow) == model.counters[flow], f"{flow}: {counts}"
        paused = (counts.paused.until_ms, counts.paused.since_ms, counts.paused.reason) if counts.paused else None
        assert paused == (model.paused if model.is_paused else None)
        assert counts.gate_until_ms == (model.gate_ms if model.gate_ms > now_ms else 0)
        assert counts.workers == sum(1 for seen in model.workers.values() if abs(now_ms - seen) < SILENT_MS)
        oldest = min((job.since_ms for job in self._looked_at()), default=0)
        assert counts.oldest_waiting_ms == oldest, f"waits since {counts.oldest_waiting_ms}, not {oldest}"

    def _looked_at(self) -> list[ModelJob]:
        """Those that wait whose age is told: of a line only the next, unless it seems to have come after now."""
        found = []
        for tag, jobs in self.model.ready.items():
            waiting = [job for job in jobs if not job.owner]
            is_one_enough = tag.isdigit() and waiting and waiting[0].since_ms <= self.model.now.ms
            found += waiting[:1] if is_one_enough else waiting[:100]
        return found

    def _inspect(self, job_id: str) -> None:
        """`engine job ID`: where it is, and why it waits."""
        model = self.model
        found = self.ground.run(self.ground.store.inspect(self.queue, job_id))
        job = model.jobs.get(job_id)
        shown = {name: b"" if name.startswith("step:") else value for name, value in model.notes.get(job_id, {}).items()}
        assert found.notes == shown, f"notes {found.notes}, not {shown}"
        assert found.is_cancel_asked == (job_id in model.cancel_asked)
        if job is None:
            assert found.place is Place.UNKNOWN, f"{job_id} is {found.place!r}"
            return
        timed = Place.SNOOZED if job.is_snoozed else Place.SCHEDULED
        assert found.place is _PLACES.get(job.state, timed), f"{job_id} is {found.place!r}, not {job.state}"
        assert found.row is not None
        assert (found.row.state, found.row.attempt) == (job.state, job.attempt)
        assert (found.row.tag, found.row.worker, found.row.due_ms) == (job.tag, job.owner, job.due_ms)
        line = model.lines[job.key] if job.state is State.BLOCKED else [job]
        assert found.holder == (line[0].id if job.state is State.BLOCKED else "")
        assert found.line == line.index(job)
        before = [j for j in self._in_turn() if rank(j.tag) <= rank(job.tag)] if job.state is State.WAITING else [job]
        assert found.front == before.index(job), f"{found.front} in front of {job_id}, not {before.index(job)}"

    def _in_turn(self) -> list[ModelJob]:
        return [job for tag in sorted(self.model.ready, key=rank) for job in self.model.waiting(tag)]

    def _list(self, state: State) -> None:
        """`engine jobs --state`: page by page, each once and in its order."""
        ids: list[str] = []
        cursor, is_first = "", True
        while cursor or is_first:
            page = self.ground.run(self.ground.store.page(self.queue, state, cursor=cursor, limit=PAGE))
            ids, cursor, is_first = [*ids, *(row.id for row in page.rows)], page.cursor, False
        model = self.model
        match state:
            case State.WAITING:
                expected = [job.id for job in self._in_turn()]
            case State.ACTIVE:
                expected = [j.id for tag in sorted(model.ready, key=rank) for j in model.ready[tag] if j.owner]
            case State.SCHEDULED | State.RETRYING:
                expected = sorted((j.id for j in model.timed(state)), key=lambda i: (model.jobs[i].due_ms, i))
            case State.BLOCKED:
                expected = [job.id for job in model.blocked]
            case State.DEAD:
                expected = [job.id for job in reversed(model.dead)]
            case State.COMPLETED | State.CANCELLED:
                is_cancelled = state is State.CANCELLED
                expected = [i for r in reversed(model.done) if (r.why is not None) == is_cancelled for i in reversed(r.ids)]
        assert ids == expected, f"listed {ids}, not {expected}"
