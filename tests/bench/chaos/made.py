"""Made: a run written by hand, for what no clean run has: frozen workers, kills, deploys, poison. Times are ms from its
beginning."""

from __future__ import annotations

from typing import Any

from bench.chaos.journal import Fault, QueueFacts, Record, RunSettings
from bench.chaos.kept import Kept, Loss, QueueData, Tried
from bench.chaos.laws import judge
from bench.chaos.story import Evidence, Story

QUEUE, WALL, LEASE_MS, STALL_LIMIT = "q", 1_700_000_000_000, 2_000, 3
Try = tuple[int, int, int, int, str]
"""attempt, process, from, until, outcome"""


class Made:
    """Jobs by number; `at` 0 is the beginning."""

    def __init__(self, clock_ahead_ms: int = 0) -> None:
        self.records: list[Record] = []
        self.faults: list[Fault] = []
        self.kept: list[Kept] = []
        self.ahead = clock_ahead_ms

    # --- what was written down -----------------------------------------------------------------------------------------

    def note(self, what: Any, at: int, **facts: Any) -> None:
        """One record."""
        self.records.append(Record(what=what, mono_ns=at * 1_000_000, ms=WALL + at, queue=QUEUE, **facts))

    def ask(self, n: int, at: int = 0, *, key: str = "", told: str = "new", want: str = "completed", **facts: Any) -> None:
        """An enqueue and its answer ('' none)."""
        self.note("ask", at, n=n, key=key, want=want, pid=100, **facts)
        if told:
            self.note("acked", at + 1, n=n, key=key, how=told, job=self.job(n), took_ms=1, dedup=facts.get("dedup", ""))

    def run(
        self,
        n: int,
        at: int,
        until: int | None = None,
        how: str = "ok",
        *,
        pid: int = 1,
        attempt: int = 1,
        told: int | None = None,
    ) -> None:
        """A start of its handler, its end if it came to one, and when it was told to stop."""
        facts = {"n": n, "job": self.job(n), "pid": pid, "attempt": attempt}
        self.note("start", at, **facts)
        if told is not None:
            self.note("told", told, **facts)
        if until is not None:
            self.note("end", until, how=how, **facts)

    def fault(self, kind: str, begin: int, end: int = 0, *pids: int, entitles: int = 1, **facts: Any) -> None:
        """A fault; `end` 0: still on."""
        facts.setdefault("loses_lease", True)
        fault = Fault(
            i=len(self.faults), kind=kind, begin_mono_ns=begin * 1_000_000, end_mono_ns=end * 1_000_000, pids=pids,
            entitles=entitles, **facts,
        )  # fmt: skip
        self.faults.append(fault)

    # --- what Redis keeps ------------------------------------------------------------------------------------------------

    def ended(
        self, n: int, *tries: Try, state: str = "completed", at: int = 0, losses: tuple[tuple[int, int], ...] = (), **facts: Any
    ) -> None:
        """Its end; `losses`: (process, at)."""
        at = at or tries[-1][3] + 1
        self.kept.append(
            Kept(
                queue=QUEUE, id=f"{WALL}-{n}", state=state, n=n, entry=f"{WALL + at}-{n}", ended_ms=self._server(at),
                stalls=len(losses), losses=tuple(Loss(self._server(when), worker(pid)) for pid, when in losses),
                history=tuple(
                    Tried(attempt, self._server(begin), self._server(end), outcome.partition(":")[0], outcome.partition(":")[2], worker(pid))
                    for attempt, pid, begin, end, outcome in tries
                ),
                payload_bytes=9, **facts,
            )
        )  # fmt: skip

    def usual(self, n: int, at: int, until: int, *, pid: int = 1) -> None:
        """It ran once and is completed."""
        self.run(n, at, until, pid=pid)
        self.ended(n, (1, pid, at, until, "completed"))

    def _server(self, at: int) -> int:
        return WALL + at + self.ahead

    # --- and the verdict -------------------------------------------------------------------------------------------------

    def story(self) -> Story:
        """All of it."""
        counts = {state: sum(kept.state == state for kept in self.kept) for state in ("completed", "cancelled", "dead")}
        meta = {"enqueued": len({kept.id for kept in self.kept}), "completed": counts["completed"], "died": counts["dead"]}
        meta |= {"cancelled": counts["cancelled"], "done_kept": counts["completed"] + counts["cancelled"]}
        where = {kept.id: kept.place for kept in self.kept if kept.place}
        data = QueueData(
            name=QUEUE,
            meta={field: str(n) for field, n in meta.items()},
            jobs=self.kept,
            where=where,
            counted=counts["completed"],
        )
        facts = QueueFacts(concurrency=5, attempts=3, lease_ms=LEASE_MS, stall_limit=STALL_LIMIT)
        settings = RunSettings(
            seed=1, command="", versions={}, server=[], workers=2, queues={QUEUE: facts}, producers=1, enqueue_timeout_ms=5000,
            liveness_mono_ns=1, drained_mono_ns=2, bound_ms=1,
        )  # fmt: skip
        records = sorted(self.records, key=lambda record: record.mono_ns)
        return Story(
            Evidence(settings=settings, records=records, faults=self.faults, queues={QUEUE: data}, clock_ahead_ms=self.ahead)
        )

    def broken(self) -> dict[str, str]:
        """The laws that are broken, each with its first violation."""
        return {judged.law: judged.violations[0].what for judged in judge(self.story()) if not judged.held}

    @staticmethod
    def job(n: int) -> str:
        """Its full id."""
        return f"{QUEUE}/{WALL}-{n}"


def worker(pid: int) -> str:
    """The name of the worker in a process."""
    return f"w.{pid}:{pid}:abcdef"
