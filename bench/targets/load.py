"""Load: one load on a stage, with its worker and its producer, until all of it has run; what came of each job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.report import percentile
from bench.stage import Stage, run_child
from engine import Clock
from engine.store.redis_store import RedisStore
from handlers.whatsapp.local import LocalProvider, Rule

from .notes import Outcome, ProducerNotes, Ran, WorkerNotes, joined, read
from .plans import Kind, Plan
from .prober import INTERVAL, with_the_unsent

APP = "bench.targets.watched:engine"
QUEUES = ("messages", "automations", "campaigns")


class NeverDrained(Exception):
    """Jobs were left when the time for them was up."""


@dataclass(frozen=True, slots=True)
class Played:
    """What one load came to."""

    plan: Plan
    outcomes: list[Outcome]
    """Of the jobs that the producer sent itself; the jobs that jobs enqueued are in `ran` alone."""
    ran: list[Ran]
    most_at_once: dict[str, int]
    worker_scripts: dict[str, list[float]]
    producer_scripts: dict[str, list[float]]
    pings: list[float]
    """Seconds of each PING beside the load, when it was asked for."""

    @property
    def latencies_ms(self) -> list[float]:
        """From the planned instant to the recorded end, of each job."""
        return [(one.settled - one.planned) * 1000 for one in self.outcomes]

    @property
    def waits_ms(self) -> list[float]:
        """From the planned instant to the handler's start."""
        return [(one.started - one.planned) * 1000 for one in self.outcomes]

    @property
    def p95_ms(self) -> float:
        """Of the latencies."""
        return percentile(self.latencies_ms, 0.95)


@dataclass(slots=True)
class Player:
    """Plays loads on one stage, each with a fresh worker."""

    stage: Stage
    clock: Clock
    most_at_once: dict[str, int] = field(default_factory=dict)
    """Queue -> the most handlers that ran at the same time in any load; several players may share one."""
    _number: int = 0

    async def play(
        self,
        kind: Kind,
        count: int,
        seconds: float = 0.0,
        *,
        rules: Sequence[Rule] = (),
        patience: float = 60.0,
        pinged: bool = False,
    ) -> Played:
        """Run one load to its end.

        Args:
            rules: how the provider misbehaves.
            patience: seconds after the load in which all must be done.
            pinged: ask the server PING all the while, from a process of its own.

        Raises:
            NeverDrained: patience ran out.
            LostJobs: a job that was sent has not run.
        """
        self._number += 1
        notes, ran, pings = (self.stage.file(name) for name in ("producer.notes", "worker.notes", "pings"))
        plan = Plan(kind=kind, count=count, seconds=seconds, seed=self._number, run=f"run{self._number}", notes=str(notes))
        await self._provider().misbehave(*rules)
        async with (
            self.stage.workers(APP, "--drain-timeout", "2s", environment={"BENCH_NOTES": str(ran)}),
            self.stage.engine() as looker,
        ):
            told = msgspec.json.encode(plan).decode()
            async with asyncio.TaskGroup() as group:
                group.create_task(run_child(self.stage, "bench.targets.producer", told, clock=self.clock))
                if pinged:
                    arguments = (str(pings), str(seconds + 1.0))
                    group.create_task(run_child(self.stage, "bench.targets.prober", *arguments, clock=self.clock))
            await self._drained(looker.connection.store, patience)
        return self._joined(plan, notes, ran, with_the_unsent(read(pings, list[float]), INTERVAL) if pinged else [])

    def _provider(self) -> LocalProvider:
        data = self.stage.directory / "data"
        return LocalProvider(data / "outbox.ndjson", rules=data / "provider-rules.json", clock=self.clock)

    async def _drained(self, store: RedisStore, patience: float) -> None:
        deadline = self.clock.mono() + patience
        while True:
            counts = [await store.counts(queue) for queue in QUEUES]
            left = sum(c.waiting + c.active + c.scheduled + c.retrying + c.blocked for c in counts)
            if not left:
                return
            if self.clock.mono() > deadline:
                raise NeverDrained(f"{left} jobs were left {patience:g} s after the load: {counts}")
            await self.clock.sleep(0.1)

    def _joined(self, plan: Plan, notes: Path, ran: Path, pings: list[float]) -> Played:
        sent, worked = read(notes, ProducerNotes), read(ran, WorkerNotes)
        for queue, most in worked.most_at_once.items():
            self.most_at_once[queue] = max(self.most_at_once.get(queue, 0), most)
        return Played(
            plan=plan,
            outcomes=joined(sent.sent, worked.ran),
            ran=worked.ran,
            most_at_once=worked.most_at_once,
            worker_scripts=worked.scripts,
            producer_scripts=sent.scripts,
            pings=pings,
        )
