"""Site: one server with something on it, and what is tried there: a drain, urgent jobs, delayed jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bench.feed import Feed, options_of
from bench.meter import Cost, Meter, between
from bench.noop import Notes, queue_names
from bench.stage import Fsync, Stage, Workers, cpu_seconds, run_child
from engine import Clock
from engine.store.redis_store import RedisStore

APP = "bench.noop:engine"
WARM_UP = 100
SETTLE = 0.3
"""Seconds, and 4 ms a queue: the first pass of all its services belongs to a worker's start."""
HOLD = 0.03
"""Seconds a job lasts while single ones come past it: a worker that only waits has time for them, as in life. Longer than the
20 ms of work that a pool claims ahead, so that a single job waits for a slot and not behind what was claimed before it."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain cost, a job."""

    rate: float
    """Jobs a second, between the first and the last tenth."""
    commands: float
    """Of the server, those inside scripts included."""
    steps: float
    """Script calls."""
    server_us: float
    """Microseconds of the server's main thread, all it does."""
    script_us: float
    """Microseconds inside scripts."""
    worker_us: float
    """Microseconds of processor time of the worker processes."""
    server_busy: float
    """Share of the time in which the server's main thread worked."""
    by_command: Mapping[str, float] = field(default_factory=dict)
    """Command -> microseconds; `evalsha` has those of the commands that scripts call in it."""


@dataclass(frozen=True, slots=True)
class Waited:
    """How single jobs fared, in milliseconds."""

    waits_ms: list[float]
    """From the planned instant to the handler's start."""
    enqueues_ms: list[float]


NewSite = Callable[[], "Site"]
"""Makes a fresh one, on the server the whole measurement is of."""


class Site:
    """A stage with its meter and a connection to look through."""

    def __init__(self, clock: Clock, fsync: Fsync = "everysec", program: str | None = None) -> None:
        self.clock = clock
        self._fsync = fsync
        self._program = program
        self._stack = AsyncExitStack()
        self.stage: Stage
        self.meter: Meter
        self.store: RedisStore

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.stage = await stack.enter_async_context(Stage(self._fsync, clock=self.clock, program=self._program))
            self.meter = stack.enter_context(Meter(self.stage.url, self.clock))
            engine = await stack.enter_async_context(self.stage.engine())
            self.store = engine.connection.store
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def fill(self, feed: Feed) -> None:
        """Enqueue."""
        await run_child(self.stage, "bench.feed", *options_of(feed), clock=self.clock)

    async def weigh(self, feed: Feed) -> float:
        """Enqueue; bytes of the server's memory for each job. A few are put in before, so that what is there once is there."""
        await self.fill(replace(feed, jobs=WARM_UP, keys=min(feed.keys, WARM_UP)))
        before = self.meter.read().memory
        await self.fill(feed)
        return (self.meter.read().memory - before) / feed.jobs

    def workers(self, *arguments: str, notes: Path, queues: int = 1, processes: int = 1, **more: float) -> Workers:
        """Workers of the application that does nothing. `more`: `jobs`, `waits`, `hold`, as `bench.noop` has them."""
        asked = {f"BENCH_{name.upper()}": str(value) for name, value in more.items()}
        environment = {"BENCH_NOTES": str(notes), "BENCH_QUEUES": str(queues), **asked}
        return self.stage.workers(APP, *arguments, "--drain-timeout", "2s", environment=environment, processes=processes)

    # --- drains ------------------------------------------------------------------------------------------------------

    async def drain(self, jobs: int, *, queues: int = 1, busy: int = 0, processes: int = 1, patience: float = 120.0) -> Drained:
        """Let workers run so many of the jobs that wait, and stop them then. What they do besides is in the cost.

        They serve so many queues, of which the first `busy` (0: all) have jobs. Several of those, or several processes, must have
        just these jobs: then all that waits is run.
        """
        names = queue_names(busy or queues)
        counted = names if len(names) == 1 else []  # to ask a thousand queues would be most of what is measured
        notes = self.stage.file("notes")
        alone = processes == 1
        await self._gate(names, closed=True)
        async with self.workers(notes=notes, jobs=jobs if alone else 0, queues=queues, processes=processes) as workers:
            pids = workers.pids
            if queues > 1:
                await self.clock.sleep(SETTLE + queues / 250)
            completed, cpu, before = await self._completed(counted), sum(map(cpu_seconds, pids)), self.meter.read()
            await self._gate(names, closed=False)
            if alone:
                await self._noted(notes, patience)
            else:
                await self._counted(jobs + completed, names, patience)
            cost, worker = between(before, self.meter.read()), sum(map(cpu_seconds, pids)) - cpu
            done = await self._completed(counted) - completed if counted else jobs
        return _drained(rate_of(self._notes(notes), jobs), cost, done, worker)

    async def _gate(self, queues: Sequence[str], *, closed: bool) -> None:
        """Hold the queues back while the worker starts, so that its start is in no figure."""
        for queue in queues:
            await (self.store.pause(queue, "held for the start") if closed else self.store.resume(queue))

    async def _completed(self, queues: Sequence[str]) -> int:
        return sum([(await self.store.counts(queue)).completed for queue in queues])

    async def _noted(self, notes: Path, patience: float) -> None:
        """Until the one worker has written its notes, which costs the server nothing."""
        deadline = self.clock.mono() + patience
        while not _written(notes):
            if self.clock.mono() > deadline:
                raise TimeoutError(f"the jobs have not run within {patience:g} s")
            await self.clock.sleep(0.01)

    async def _counted(self, completed: int, queues: Sequence[str], patience: float) -> None:
        """Until the server has counted so many: seldom asked, since asking costs it."""
        deadline = self.clock.mono() + patience
        while await self._completed(queues) < completed:
            if self.clock.mono() > deadline:
                raise TimeoutError(f"the jobs have not run within {patience:g} s")
            await self.clock.sleep(0.2)

    def _notes(self, place: Path) -> list[Notes]:
        """Of every worker process."""
        return [msgspec.msgpack.decode(path.read_bytes(), type=Notes) for path in _written(place)]

    # --- single jobs -------------------------------------------------------------------------------------------------

    async def send(self, kind: str, count: int, seconds: float, *, queues: int = 1, hold: float = HOLD) -> Waited:
        """Send single jobs past what is there, to a worker whose other jobs last `hold` seconds."""
        notes, took = self.stage.file("notes"), self.stage.file("took")
        async with self.workers(notes=notes, queues=queues, hold=hold, waits=count):
            await self.clock.sleep(SETTLE + queues / 250)
            arguments = (kind, str(count), str(seconds), str(queues), str(took))
            await run_child(self.stage, "bench.scale.sender", *arguments, clock=self.clock)
            await self._noted(notes, 2 * seconds + 20)
        waits = [wait * 1000 for one in self._notes(notes) for wait in one.waits]
        enqueues = msgspec.msgpack.decode(took.read_bytes(), type=list[float])
        return Waited(waits, [one * 1000 for one in enqueues])


def _written(notes: Path) -> list[Path]:
    """The files of every worker process; the process's id ends their names."""
    return sorted(notes.parent.glob(f"{notes.name}.*[0-9]"))


def rate_of(notes: Sequence[Notes], jobs: int) -> float:
    """Jobs a second of all processes together, between the first and the last tenth of `jobs`: neither start nor end is in it."""
    steps: list[tuple[float, int]] = []
    for one in notes:
        before = 0
        for instant, done in one.timeline:
            steps.append((instant, done - before))
            before = done
    steps.sort()
    done, inside = 0, []
    for instant, more in steps:
        done += more
        if jobs * 0.1 <= done <= jobs * 0.9:
            inside.append((instant, done))
    if len(inside) < 2:
        raise ValueError(f"{jobs} jobs are too few to tell a rate")
    (first, begun), (last, ended) = inside[0], inside[-1]
    return (ended - begun) / (last - first)


def _drained(rate: float, cost: Cost, jobs: int, worker_seconds: float) -> Drained:
    return Drained(
        rate=rate,
        commands=cost.commands / jobs,
        steps=cost.steps / jobs,
        server_us=cost.cpu_seconds * 1e6 / jobs,
        script_us=cost.usec.get("evalsha", 0) / jobs,
        worker_us=worker_seconds * 1e6 / jobs,
        server_busy=cost.busy,
        by_command={name: usec / jobs for name, usec in cost.usec.items()},
    )


def middle_of(runs: Sequence[Drained], of: str) -> list[float]:
    """One field of every run."""
    return [float(getattr(run, of)) for run in runs]
