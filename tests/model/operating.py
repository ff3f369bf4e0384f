"""Operating: the rules of operators, promoters and sweepers, of time, and of a server that forgets its scripts."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from engine.job import State
from engine.store.rows import entry_ms

from .base import Base, picks
from .memory.workers import LEASE_MS

ages = st.sampled_from((0, 100, 60_000, LEASE_MS))
Kind = Literal["all", "completed", "cancelled"]


class Operating(Base):
    """Cancel, delete, hasten, promote, requeue, pause, sweep, obliterate."""

    # --- jobs --------------------------------------------------------------------------------------------------------------

    @precondition(Base.has_jobs)
    @rule(pick=picks, cancel=st.booleans(), notes_ms=st.sampled_from((0, 50)), active=st.booleans())
    def remove(self, pick: int, cancel: bool, notes_ms: int, active: bool) -> None:
        """Cancel or delete, one that runs or any."""
        job_id = self.in_state(State.ACTIVE, pick).id if active and self.model.in_state(State.ACTIVE) else self.pick_id(pick)
        if cancel:
            removal = self.run(self.store.cancel(self.queue, job_id, "why", notes_ms=notes_ms))
        else:
            removal = self.run(self.store.delete(self.queue, job_id, "why"))
        expected = self.model.remove(job_id, cancel=cancel, notes_ms=notes_ms)
        assert removal is expected, f"{job_id}: {removal}, not {expected}"

    @precondition(Base.has_jobs)
    @rule(pick=picks, waits=st.booleans())
    def hasten(self, pick: int, waits: bool) -> None:
        """One that waits for its time, or any."""
        state = next((s for s in (State.RETRYING, State.SCHEDULED) if self.model.in_state(s)), None)
        job_id = self.in_state(state, pick).id if waits and state else self.pick_id(pick)
        assert self.run(self.store.hasten(self.queue, job_id)) == self.model.hasten(job_id)

    @precondition(lambda self: self.model.next_due())
    @rule(limit=st.sampled_from((50, 50, 1, 2)), wait=st.booleans())
    def promote(self, limit: int, wait: bool) -> None:
        """As its promoter does: at the time when the next one is due. Or too early."""
        if wait:
            self.now.ms = max(self.now.ms, self.model.next_due())
        got = self.run(self.store.promote(self.queue, limit))
        assert got == (expected := self.model.promoted(limit)), f"promoted {got}, not {expected}"

    @precondition(lambda self: self.model.dead)
    @rule(chosen=st.lists(picks, min_size=1, max_size=3))
    def requeue(self, chosen: list[int]) -> None:
        ids = [self.model.dead[p % len(self.model.dead)].id if p % 4 else self.pick_id(p) for p in chosen]
        assert self.run(self.store.requeue(self.queue, ids)) == self.model.requeue(ids)

    @precondition(Base.has_jobs)
    @rule(pick=picks)
    def await_end(self, pick: int) -> None:
        """Somebody waits for a job's end."""
        job_id = self.pick_id(pick)
        state, _, result = self.run(self.store.await_end(self.queue, job_id))
        assert (state, result) == self.model.await_end(job_id), f"{job_id}: {state} {result!r}"

    # --- the queue ---------------------------------------------------------------------------------------------------------

    @precondition(Base.has_jobs)
    @rule(
        act=st.sampled_from(("pause", "pause", "resume", "gate")),
        reason=st.sampled_from(("", "token")),
        for_ms=st.sampled_from((0, 100)),
    )
    def stop_or_go(self, act: str, reason: str, for_ms: int) -> None:
        match act:
            case "pause":
                assert self.run(self.store.pause(self.queue, reason, for_ms)) == self.model.pause(reason, for_ms)
            case "resume":
                assert self.run(self.store.resume(self.queue)) == self.model.resume()
            case _:
                assert self.run(self.store.gate(self.queue, for_ms)) == self.model.gate(for_ms)

    @rule(ms=st.sampled_from((1, 10, 50, 1_000, 2_001, 60_000, LEASE_MS // 3, LEASE_MS, -10, -60_000, -LEASE_MS)))
    def pass_time(self, ms: int) -> None:
        """The server's clock goes on, or is set back; not to where a dedup window that has ended was open, for either answer is
        right there."""
        reopened = any(self.now.ms + ms < end_ms <= self.now.ms for end_ms in self.model.window_ends)
        self.now.forward(ms if not reopened else 0)

    @precondition(Base.has_jobs)
    @rule(
        what=st.sampled_from(("done", "dead", "rest")), pick=picks, keep=st.sampled_from((-1, 0, 2)), limit=st.sampled_from((200, 1, 2)),
        kind=st.sampled_from(("all", "completed", "cancelled")), gone_ms=ages, silent_ms=ages,
    )  # fmt: skip
    def tidy(self, what: str, pick: int, keep: int, limit: int, kind: Kind, gone_ms: int, silent_ms: int) -> None:
        """Retention. The age is that of some record, or a millisecond more."""
        if what == "done" and self.model.done:
            records = self.model.done
            before_ms = entry_ms(records[pick % len(records)].entry) + pick % 2
            self._sweep_done(before_ms, keep, limit, kind, records[0].entry if pick % 3 == 0 else "")
        elif what == "dead" and self.model.dead:
            self._sweep_dead(entry_ms(self.model.dead[pick % len(self.model.dead)].entry) + pick % 2, keep, limit)
        else:
            self._sweep_rest(gone_ms, silent_ms)

    def _sweep_done(self, before_ms: int, keep: int, limit: int, kind: Kind, cursor: str) -> None:
        call = self.store.sweep_done(self.queue, before_ms, keep=keep, limit=limit, kind=kind, cursor=cursor)
        got = self.run(call)
        assert got == (expected := self.model.sweep_done(before_ms, keep, limit, kind, cursor)), f"swept {got}, not {expected}"

    def _sweep_dead(self, before_ms: int, keep: int, limit: int) -> None:
        got = self.run(self.store.sweep_dead(self.queue, before_ms, keep=keep, limit=limit))
        assert got == (expected := self.model.sweep_dead(before_ms, keep, limit)), f"swept {got}, not {expected}"

    def _sweep_rest(self, gone_ms: int, silent_ms: int) -> None:
        """One whole round."""
        total, cursor = (0, 0, 0), ""
        while cursor != "0":
            rest = self.run(self.store.sweep_rest(self.queue, gone_ms, silent_ms, cursor=cursor or "0"))
            total, cursor = (total[0] + rest.notes, total[1] + rest.workers, total[2] + rest.producers), rest.cursor
        assert total == (expected := self.model.sweep_rest(gone_ms, silent_ms)), f"swept {total}, not {expected}"

    @precondition(Base.has_jobs)
    @rule(act=st.sampled_from(("forget scripts", "forget scripts", "obliterate", "force")), really=picks)
    def shake(self, act: str, really: int) -> None:
        """The server lost its scripts; or somebody removes the queue, rarely, or little else would be seen."""
        if act == "forget scripts":
            self.run(self.ground.base.link.call("SCRIPT", "FLUSH"))
        elif really == 0:
            got = self.ground.obliterate(self.queue, force=act == "force")
            refused = self.model.refuses_obliterate(act == "force")
            assert refused is None or got == refused, f"obliterated {got}, not {refused}"
            if refused is None:
                self.begin_anew()
