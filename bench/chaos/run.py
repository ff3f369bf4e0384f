"""Run: one run from beginning to end: warm-up, safety (load and faults), liveness (neither: everything must drain), check.

Says on standard error how far it is. What it leaves is the run's directory and the server, still up, for the checker.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import msgspec

from bench.report_output import versions
from bench.stage import Fsync
from engine import Clock, Engine, Settings, StoreError

from . import faults
from .crew import Crew
from .hands import Hands
from .journal import Journal, QueueFacts, RunSettings, acknowledged, told_so_far, write_settings
from .kinds import ATTEMPTS, QUEUES, table
from .lab import Book, Lab
from .network import Network
from .outcome import Outcome, SelfMade
from .producer import Order
from .schedule import Planned
from .servers import Server, version_of
from .watched import Straight, WatchedServer

READY_SECONDS = 60.0
"""All worker processes start at once, on a machine that may be busy."""
FINISH_SECONDS = 60.0
"""Producers ask for what they were not told until then."""
LONGEST, LONGER_SECONDS = 1.5, 60.0
"""The load may last so many times the plan's seconds, and so much longer, until there are as many jobs as were asked for."""
STALL_LIMIT = 3
GRACE = 1.5
"""Leases for which nothing is reclaimed after an outage."""
RESTART = 5.0
"""Seconds until a worker that a job ended is replaced and at work, on a busy machine."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is asked for."""

    seed: int
    command: str
    seconds: float
    """Of the safety phase."""
    per_second: float
    jobs: int | None = None
    """Producers go on until so many are acknowledged; None: until the time is up."""
    server: str
    fsync: Fsync
    lease: float
    workers: int
    producers: int
    concurrency: int
    only_jobs: tuple[str, ...] = ()
    topology: Literal["single", "sentinel"] = "single"
    enqueue_timeout: float = 3.0
    socket_timeout: float = 1.0
    connect_timeout: float = 3.0


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"chaos: {text}", file=sys.stderr, flush=True)


class Run:
    """One run; `async with Run(plan, directory) as run: await run.play(schedule)`, then the checker, then leave."""

    def __init__(self, plan: Plan, directory: Path, clock: Clock) -> None:
        self._plan = plan
        self._directory = directory
        self._clock = clock
        self._stack = AsyncExitStack()
        self.server: Server | WatchedServer
        if plan.topology == "sentinel":
            self.server = WatchedServer(plan.server, clock)
        else:
            self.server = Server(directory, program=plan.server, fsync=plan.fsync, clock=clock)
        self.outcome = Outcome(directory=directory, versions={}, slots=plan.concurrency * len(QUEUES))
        self._settings: RunSettings
        self._lab: Lab
        self._engine: Engine
        self._last = ""
        """The fault that was injected last."""

    async def __aenter__(self) -> Run:
        """Warm-up: server, proxy, workers at work, a connection of our own."""
        try:
            await self._set_up()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _set_up(self) -> None:
        plan, directory, clock = self._plan, self._directory, self._clock
        await self._stack.enter_async_context(self.server)
        self.outcome.versions = versions(server=await version_of(self.server.node))
        facts = QueueFacts(
            concurrency=plan.concurrency, attempts=ATTEMPTS, lease_ms=int(plan.lease * 1000), stall_limit=STALL_LIMIT
        )
        self._keep_settings(
            RunSettings(
                seed=plan.seed,
                command=plan.command,
                versions=self.outcome.versions,
                server=self.server.node.command,
                workers=plan.workers,
                queues=dict.fromkeys(QUEUES, facts),
                producers=plan.producers,
                jobs_asked=plan.jobs or 0,
                enqueue_timeout_ms=int(plan.enqueue_timeout * 1000),
            )
        )
        proxy = None
        if plan.topology == "single":
            proxy = await self._stack.enter_async_context(Network(directory, self.server.node.port, clock))
        ways = proxy or Straight(self.server.url)
        journal, book = Journal(directory, "lab"), Book(directory)
        self._stack.callback(journal.close)
        self._stack.callback(book.close)
        timeouts = {"ENGINE_SOCKET_TIMEOUT": f"{plan.socket_timeout}", "ENGINE_CONNECT_TIMEOUT": f"{plan.connect_timeout}"}
        crew = Crew(directory, ways, journal, places=plan.workers, slots=self.outcome.slots, clock=clock, settings=timeouts)
        await self._stack.enter_async_context(crew)
        template = Order(
            directory=str(directory), url="", name="", seed=plan.seed, first=0, most=0,
            per_second=plan.per_second / plan.producers, begin_mono=0.0, until_mono=0.0, lease=plan.lease,
            enqueue_timeout=plan.enqueue_timeout, socket_timeout=plan.socket_timeout, only=plan.only_jobs,
            durability="replicated" if plan.topology == "sentinel" else None,
        )  # fmt: skip
        hands = Hands(directory, ways, clock, template, plan.producers)
        self._lab = Lab(clock, self.server, proxy, crew, hands, book, plan.lease)
        await crew.ready(READY_SECONDS)
        self._engine = Engine(settings=Settings(redis_url=self.server.url), clock=clock)
        await self._stack.enter_async_context(self._engine)

    def _keep_settings(self, settings: RunSettings) -> None:
        self._settings = settings
        write_settings(self._directory, settings)

    # --- phases ------------------------------------------------------------------------------------------------------

    async def play(self, schedule: Sequence[Planned], kinds: Sequence[str]) -> Outcome:
        """Safety and liveness; afterwards the workers are gone and the server is up. `kinds`: of faults, for those that stand in
        for one that can't be done."""
        own = SelfMade(self._directory, self._lab, self.outcome)
        watching = asyncio.ensure_future(own.watch())
        try:
            await self._safety(schedule, kinds)
            await self._liveness()
            await self._lab.crew.stop(15.0)
        finally:
            watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await own.note_crashes()
        return self.outcome

    async def _safety(self, schedule: Sequence[Planned], kinds: Sequence[str]) -> None:
        plan, lab, clock = self._plan, self._lab, self._clock
        began = clock.mono()
        until = began + plan.seconds * LONGEST + LONGER_SECONDS  # they are told to stop before
        lab.hands.template = msgspec.structs.replace(lab.hands.template, begin_mono=began, until_mono=until)
        self._keep_settings(msgspec.structs.replace(self._settings, safety_mono_ns=time.monotonic_ns()))
        await lab.hands.start()
        telling = asyncio.ensure_future(self._tell("safety", began, plan.seconds))

        def noted(planned: Planned) -> None:
            self._last = planned.kind

        try:
            await faults.drive(lab, schedule, kinds, noted)
            await clock.sleep(max(began + plan.seconds - clock.mono(), 0.0))
            await self._enough(until)
            await lab.hands.finish(FINISH_SECONDS)
        finally:
            telling.cancel()

    async def _enough(self, until: float) -> None:
        """Producers go on until as many jobs are acknowledged as were asked for."""
        while (missing := (self._plan.jobs or 0) - acknowledged(told_so_far(self._directory))) > 0:
            if self._clock.mono() > until - LONGER_SECONDS / 2:
                return  # the report says how many there are
            say(f"safety: {missing:,} jobs to go")
            await self._clock.sleep(max(missing / self._plan.per_second, 1.0))

    async def _liveness(self) -> None:
        clock, outcome = self._clock, self.outcome
        began = clock.mono()
        outcome.bound_s, outcome.bound_why = await self._bound()
        self._keep_settings(
            msgspec.structs.replace(
                self._settings,
                liveness_mono_ns=time.monotonic_ns(),
                bound_ms=int(outcome.bound_s * 1000),
                bound_why=outcome.bound_why,
            )
        )
        say(f"liveness: no more faults and jobs; all must be settled within {outcome.bound_s:.1f} s ({outcome.bound_why})")
        while left := await self._left():
            if clock.mono() - began > 2 * outcome.bound_s + 30:
                outcome.left = left
                return
            await clock.sleep(0.1)
        outcome.drained_s = clock.mono() - began
        self._keep_settings(msgspec.structs.replace(self._settings, drained_mono_ns=time.monotonic_ns()))
        say(f"drained after {outcome.drained_s:.1f} s")

    async def _left(self) -> dict[str, int]:
        """Queue -> jobs that are not settled; queues without any left out."""
        left = {}
        for queue in QUEUES:
            c = await self._engine.client.counts(queue)
            left[queue] = c.waiting + c.active + c.scheduled + c.retrying + c.blocked
        return {queue: count for queue, count in left.items() if count}

    async def _bound(self) -> tuple[float, str]:
        plan = self._plan
        jobs = sum((await self._left()).values())
        suspects = 0
        for queue in QUEUES:
            suspects += int(await self.server.node.ask("XLEN", f"engine:{{{queue}}}:ready:s"))
        kinds = table(plan.per_second, plan.only_jobs)
        mean = sum(share * _SECONDS.get(kind, 0.01) * (plan.lease if kind in _IN_LEASES else 1) for kind, share in kinds.items())
        work = jobs * max(mean, 0.02) / (plan.workers * self.outcome.slots) + suspects * 2.0 / plan.workers
        lease = max(plan.lease, self._lab.crew.longest_lease)
        lost = lease * (GRACE + 1 + 1 / 8)
        parts = [
            f"lease ({lease:g} s), reclaim period and grace {lost:.1f} s",
            f"{jobs} jobs, {suspects} of them suspects, {work:.1f} s",
            "5 s",
        ]
        own = 3.0
        if "poison" in kinds or "exits" in kinds:
            own = (STALL_LIMIT + 1) * (lease * (1 + 1 / 8) + RESTART)
            parts.append(f"a poison job's own life {own:.1f} s")
        else:
            parts.append(f"the longest delay {own:.1f} s")
        return lost + work + own + 5.0, ", ".join(parts)

    # --- beside the phases -------------------------------------------------------------------------------------------

    async def _tell(self, phase: str, began: float, seconds: float) -> None:
        while True:
            await self._clock.sleep(5.0)
            try:
                counts = Counter[str]()
                for queue in QUEUES:
                    one = await self._engine.client.counts(queue)
                    counts += Counter(enqueued=one.enqueued, ended=one.completed + one.dead + one.cancelled)
                jobs = f"{counts['enqueued']:,} jobs, {counts['enqueued'] - counts['ended']:,} not settled"
            except StoreError:
                jobs = "the server is away"
            now = self._clock.mono() - began
            faults_so_far = f"{self._lab.book.injected} faults, the last one {self._last or 'none'}"
            say(f"{phase} {now:.0f} of {seconds:.0f} s: {jobs}, {faults_so_far}")


_SECONDS = {"slow": 0.75, "blocks": 1.3, "deaf": 0.6, "cancelled": 0.15, "hangs": 0.3}
_IN_LEASES = ("slow", "blocks")
"""How long a job of a kind keeps its slot, as `kinds.py` draws it: seconds, or leases."""
