"""A small clean run: every kind of job that needs no process of its own to kill, through the real engine, with the journal
that the laboratory's producers and workers would have written. What the laws are tried on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.chaos.journal import Journal, QueueFacts, RunSettings, read_settings, records, write_settings
from bench.chaos.reading import read
from bench.chaos.story import Evidence
from engine import Engine, Fixed, Handle, Job, JobNotFound, Queue, Settings, Snooze, WrongState
from tests.support.factory import Hand, lone_store, reclaim
from tests.support.running import running, until

ATTEMPTS, LEASE_MS, CONCURRENCY = 3, 10_000, 5


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A payload: what its handler does."""

    n: int
    kind: str = "plain"
    key: str = ""
    seconds: float = 0.0
    fails: int = 0


@dataclass
class SmallRun:
    """The application, its producer and its journal, in one process."""

    url: str
    directory: Path
    name: str
    n: int = 0
    handles: dict[int, str] = field(default_factory=dict)
    snoozed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.journal = Journal(self.directory, "all")
        self.engine = Engine(settings=Settings(redis_url=self.url, lease=LEASE_MS / 1000))
        worked = self.engine.queue(
            self.name, concurrency=CONCURRENCY, attempts=ATTEMPTS, backoff=Fixed(0.02), keep_completed=1_000_000
        )
        worked.handler("do")(self._do)
        self.sender = Engine(settings=Settings(redis_url=self.url))
        self.queue: Queue = self.sender.queue(self.name)
        """Without handlers, as a service that only enqueues has it: so what does not fit can be sent."""

    async def _do(self, script: Script, job: Job) -> None:
        facts: dict[str, Any] = {"n": script.n, "job": job.id, "queue": job.queue, "key": script.key, "attempt": job.attempt}
        self.journal.note("start", **facts)
        try:
            await self.engine.clock.sleep(script.seconds)
        except asyncio.CancelledError:
            self.journal.note("told", **facts)
            self.journal.note("end", how="cancelled", **facts)
            raise
        if script.kind == "snoozes" and script.n not in self.snoozed:
            self.snoozed.add(script.n)
            self.journal.note("end", how="snoozed", **facts)
            raise Snooze(0.02)
        if job.attempt <= script.fails:
            self.journal.note("end", how="failed", **facts)
            raise RuntimeError("as told")
        self.journal.note("end", how="ok", **facts)

    async def ask(
        self, kind: str = "plain", *, key: str = "", dedup: str = "", delay: float = 0.0, want: str = "completed", **facts: Any
    ) -> str:
        """Enqueue one job; its full id."""
        self.n += 1
        script = Script(n=self.n, kind=kind, key=key, **facts)
        about: dict[str, Any] = {"n": self.n, "kind": kind, "queue": self.name, "key": key, "dedup": dedup}
        due_ms = time.time_ns() // 1_000_000 + int(delay * 1000) if delay else 0
        self.journal.note("ask", want=want, fails=script.fails, due_ms=due_ms, **about)
        payload: Any = script if want != "undecodable" else {"n": "no number", "number": self.n}
        handle: Handle[Any] = await self.queue.enqueue(
            "do", payload, delay=delay, ordering_key=key or None, dedup_key=dedup or None
        )
        self.journal.note("acked", job=handle.id, how="duplicate" if handle.duplicate else "new", took_ms=1, **about)
        return handle.id

    async def cancel(self, job: str) -> None:
        """Cancel it, and write down the answer."""
        self.journal.note("cancel_asked", job=job)
        try:
            how = str((await self.engine.client.cancel(job)).outcome)
        except (WrongState, JobNotFound):
            how = "late"
        self.journal.note("cancel_answer", job=job, how=how)

    async def enqueue_all(self) -> str:
        """One of every kind, and some more; the id of the one that is to be cancelled while it runs."""
        for _ in range(20):
            await self.ask()
        for key in ("a", "b"):
            for _ in range(12):
                await self.ask("keyed", key=key, seconds=0.002)
            await self.ask("keyed", key=key, fails=1)
            await self.ask("snoozes", key=key)
            await self.ask("keyed", key=key)
        for delay in (0.02, 0.05):
            await self.ask("delayed", delay=delay)
        for _ in range(3):
            await self.ask("dedup", dedup="once")
        await self.ask("flaky", fails=2)
        await self.ask("doomed", fails=ATTEMPTS, want="dead")
        await self.ask("snoozes")
        await self.ask("undecodable", want="undecodable")
        await self.cancel(await self.ask("cancelled", delay=60.0, want="cancelled"))
        return await self.ask("cancelled", seconds=30.0, want="cancelled")

    async def run_after_a_loss(self, pid: int) -> None:
        """Another worker, process `pid`, starts two jobs, one of them with a key, and is seen no more: its leases run out."""
        async with self.engine, self.sender:
            store = self.engine.connection.store
            for key in ("", "k", "k"):
                await self.ask("keyed" if key else "plain", key=key, fails=int(bool(key)))
            hand = Hand(store, self.name, f"gone:{pid}:abcdef")
            for claim in await hand.claim(2):
                n = msgspec.msgpack.decode(claim.body.payload)["n"]
                self.journal.note("start", n=n, job=claim.full_id, queue=self.name, key=claim.envelope.key, attempt=1, pid=pid)
                await hand.lapse(claim)
            await reclaim(store, self.name)
            liveness_ns = time.monotonic_ns()
            async with running(self.engine):
                await until(lambda: store.counts(self.name), lambda c: not c.pending)
            self._finish(liveness_ns)

    def _finish(self, liveness_ns: int) -> None:
        self.journal.close()
        settings = msgspec.structs.replace(
            self.settings(), liveness_mono_ns=liveness_ns, drained_mono_ns=time.monotonic_ns(), bound_ms=20_000
        )
        write_settings(self.directory, settings)

    async def run(self) -> None:
        """Enqueue, work, drain."""
        async with self.engine, self.sender:
            running_one = await self.enqueue_all()
            store = self.engine.connection.store
            async with running(self.engine):
                await until(lambda: store.counts(self.name), lambda c: c.pending == c.active == 1)
                await self.cancel(running_one)
                liveness_ns = time.monotonic_ns()
                await until(lambda: store.counts(self.name), lambda c: not c.pending)
                self._finish(liveness_ns)

    def settings(self) -> RunSettings:
        """What the run is set to."""
        facts = QueueFacts(concurrency=CONCURRENCY, attempts=ATTEMPTS, lease_ms=LEASE_MS, stall_limit=3)
        return RunSettings(
            seed=7, command="none", versions={}, server=[], workers=1, queues={self.name: facts}, producers=1,
            enqueue_timeout_ms=5000,
        )  # fmt: skip


def made_small_run(url: str, directory: Path, name: str, *, lost_pid: int = 0) -> Iterator[Evidence]:
    """Run it on a queue of that name; what the checker would read of it. Afterwards nothing is left of the queue."""
    run = SmallRun(url, directory, name)
    asyncio.run(run.run_after_a_loss(lost_pid) if lost_pid else run.run())
    settings = read_settings(directory)
    yield Evidence(settings=settings, records=records(directory), faults=[], queues=read(url, [name]).queues)
    asyncio.run(_forget(url, name))


async def _forget(url: str, name: str) -> None:
    async with lone_store(url) as store:
        while not (await store.obliterate(name, force=True)).is_done:
            continue
