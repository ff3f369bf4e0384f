"""Operators in memory: promote, cancel, delete, pause, retention. With it the model of a queue is whole."""

from __future__ import annotations

from engine.job import State
from engine.store.acts import Bite, Obliterated, Removal
from engine.store.rows import entry_ms, id_order
from engine.store.work import Promoted

from .leases import LeasesModel


class QueueModel(LeasesModel):
    """One queue, and all who work at it."""

    def promoted(self, limit: int) -> Promoted:
        """Everything due, `limit` at most."""
        return Promoted(self.promote(limit), self.next_due(), self.now.ms)

    def remove(self, job_id: str, *, cancel: bool, notes_ms: int) -> Removal:
        """Cancel or delete."""
        job = self.jobs.get(job_id)
        if job is None:
            return Removal.UNKNOWN
        if job.state is State.ACTIVE:
            if not cancel:
                return Removal.ACTIVE
            self.cancel_asked.add(job_id)
            self.control.append(job_id)
            return Removal.REQUESTED
        if cancel and job.state is State.DEAD:
            return Removal.DEAD
        if cancel:
            self.cancelled(job, "why", notes_ms)
        else:
            self.take_out(job)
            del self.jobs[job_id]
            self.tell("removed", job_id)
            self.forget_notes(job_id)
            self.announce(job_id, "removed")
        self.hand_over(job)
        return Removal.DONE

    def pause(self, reason: str, for_ms: int) -> bool:
        """Without a reason, what stood of reason and end stays. Whether it changed anything."""
        was = self.paused if self.is_paused else None
        until = self.now.ms + for_ms if for_ms else 0
        new = until, self.now.ms, reason
        if was is not None and reason in ("", was[2]):
            new = (was[0] if reason == "" and for_ms == 0 else until), was[1], was[2]
        changed, self.paused = new != self.paused, new
        self.tell("paused", "")
        return changed

    def resume(self) -> bool:
        """Whether it was paused."""
        stood = self.is_paused or self.gate_ms > self.now.ms
        if self.paused is not None or self.gate_ms > self.now.ms:
            self.paused, self.gate_ms = None, 0
            self.must_ring = True
            self.tell("resumed", "")
        return stood

    def gate(self, for_ms: int) -> bool:
        """Never shortens."""
        longer = self.now.ms + for_ms > self.gate_ms
        self.gate_ms = max(self.gate_ms, self.now.ms + for_ms)
        return longer

    # --- retention -------------------------------------------------------------------------------------------------------

    def sweep_done(self, before_ms: int, keep: int, limit: int, kind: str, cursor: str) -> Bite:
        """Records of what ended before a time, or beyond the newest `keep`."""
        looked = [r for r in self.done if not cursor or id_order(r.entry) > id_order(cursor)][:limit]
        more, dropped = len(looked) == limit, 0
        for record in looked:
            if entry_ms(record.entry) >= before_ms and (keep < 0 or self.done_kept - dropped <= keep):
                more = False
                break
            cursor = record.entry
            if kind == "all" or (kind == "cancelled") == (record.why is not None):
                self.done.remove(record)
                dropped += len(record.ids)
        self.done_kept -= dropped
        return Bite(dropped, more, cursor)

    def sweep_dead(self, before_ms: int, keep: int, limit: int) -> Bite:
        """Jobs that died before a time, or beyond the newest `keep`."""
        old = sum(entry_ms(job.entry) < before_ms for job in self.dead)
        over = len(self.dead) - keep if keep >= 0 else 0
        gone = self.dead[: min(max(old, over), limit)]
        for job in gone:
            self.take_out(job)
            del self.jobs[job.id]
            self.forget_notes(job.id)
            self.counters["removed"] += 1
        return Bite(len(gone), len(gone) == limit)

    def sweep_rest(self, gone_ms: int, silent_ms: int) -> tuple[int, int, int]:
        """Notes past their time; workers and producers that are silent. One whole round."""
        notes = sum(self.forget_notes(i) for i, until in list(self.noted.items()) if until <= self.now.ms)
        silent = [w for w, seen in self.workers.items() if self.now.ms - seen > gone_ms and not self.pending(w)]
        for worker in silent:
            self._forget(worker)
        gone = [p for p, call in self.producers.items() if self.now.ms - call.at_ms > silent_ms]
        for producer in gone:
            del self.producers[producer]
        return notes, len(silent), len(gone)

    def refuses_obliterate(self, force: bool) -> Obliterated | None:
        """None: all of it goes."""
        active = len(self.in_state(State.ACTIVE))
        return Obliterated(False, active) if active and not force else None
