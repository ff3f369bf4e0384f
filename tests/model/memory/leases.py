"""Leases in memory: renewed, lost and reclaimed; and what an attempt may write down while its lease holds."""

from __future__ import annotations

from collections.abc import Sequence

from engine.store.claim import Claim
from engine.store.rows import id_order
from engine.store.work import Reclaimed

from .jobs import FOR_EVER, SUSPECTS, ModelJob, rank
from .workers import DAY_MS, LEASE_MS, WorkersModel


class LeasesModel(WorkersModel):
    """One queue, and the leases of its jobs."""

    def renew(self, worker: str, claims: Sequence[Claim]) -> tuple[set[str], set[str]]:
        """Lost entries, and those of the ids whose cancel was asked."""
        lost = set()
        for claim in claims:
            job = self.holder(claim)
            if job is None or job.owner != worker:
                lost.add(claim.entry)
            else:
                job.has_lapsed = False
        return lost, {claim.id for claim in claims} & self.cancel_asked

    def renew_all(self, worker: str) -> None:
        """Whatever is pending for it, whether it knows of it or not."""
        for jobs in self.ready.values():
            for job in jobs:
                job.has_lapsed = job.has_lapsed and job.owner != worker

    def reclaim(self, worker: str, stall_limit: int, cursors: dict[str, str], limit: int, grace: bool, got: Reclaimed) -> None:
        """Somebody looked for leases that ran out, and was answered so."""
        if grace and self._must_wait():
            assert got == Reclaimed({}, 0, 0, True), f"in grace: {got}"
            return
        after: dict[str, str] = {}
        moved = buried = 0
        for tag in sorted((t for t in self.ready if any(j.owner for j in self.ready[t])), key=rank):
            pending = [j for j in self.ready[tag] if j.owner and id_order(j.entry) >= id_order(cursors.get(tag, "0-0"))]
            looked, taken = 0, list[ModelJob]()
            for job in pending[: limit * 10]:
                if len(taken) == limit:
                    break
                looked += 1
                taken += [job] if job.has_lapsed else []
            after[tag] = pending[looked].entry if looked < len(pending) else "0-0"
            self.consumers.add(worker)
            for job in taken:
                fate = self._stalled(job, stall_limit)
                moved, buried = moved + (fate == "moved"), buried + (fate == "buried")
        expected = Reclaimed(after, moved, buried, False)
        assert got == expected, f"reclaimed {got}, not {expected}"

    def _must_wait(self) -> bool:
        """Whether nothing may be taken, because nobody came for half a lease, or the clock was set back. The beat is written at
        most every twentieth of a lease, and with it for how long nobody had come."""
        now, silent_ms = self.now.ms, self.now.ms - self.beat_ms
        is_back = silent_ms < -1000
        if silent_ms > LEASE_MS / 20 or silent_ms < 0:
            new_ms = (DAY_MS if is_back else max(silent_ms, 0)) if self.beat_ms else 0
            kept = [(ms, ended_ms) for ms, ended_ms in self.silences if ms > new_ms and ended_ms + 3 * ms > now]
            self.silences = [*kept, (new_ms, now)] if new_ms else kept
            self.beat_ms = now
        until_ms = max((ended_ms + LEASE_MS * 3 // 2 for ms, ended_ms in self.silences if ms > LEASE_MS / 2), default=0)
        if until_ms > now:
            self.grace_ms = until_ms if is_back else max(self.grace_ms, until_ms)
        return until_ms > now

    def _stalled(self, job: ModelJob, stall_limit: int) -> str:
        self.counters["stalled"] += 1
        job.losses += f"{self.now.ms},{job.owner};".encode()
        job.stalls += 1
        if job.id in self.cancel_asked:
            self.cancelled(job, "asked while active", 3_600_000)
            self.hand_over(job)
            return "cancelled"
        if job.stalls > stall_limit:
            self.bury(job, ("stall limit", "stalled", b""))
            self.hand_over(job)
            return "buried"
        self.ready[job.tag].remove(job)
        self.put(job, SUSPECTS)
        self.news["stalled", job.id] += 1
        return "moved"

    def note(self, worker: str, claim: Claim, field: str, value: bytes, log_lines: int) -> bool:
        """Kept, unless the lease is lost."""
        job = self.holder(claim)
        if job is None or job.owner != worker:
            return False
        notes = self.notes.setdefault(job.id, {})
        self.noted.setdefault(job.id, FOR_EVER)
        if field == "log":
            n = int(notes.get("lines", b"0")) + 1
            notes["lines"] = str(n).encode()
            notes[f"log:{n}"] = b"%d;%s" % (self.now.ms, value)
            notes.pop(f"log:{n - log_lines}", None)
        else:
            if field.startswith("step:") and field not in notes:
                notes["steps"] = str(int(notes.get("steps", b"0")) + 1).encode()
            notes[field] = value
        return True
