"""Growth: the same work beside more and more of something, and the verdict: is its cost within 10 % of that beside the least?

Sizes take turns (round by round, not size by size), so that a busy minute of the machine falls on all of them; every size is
judged, by the median of the rounds' ratios. A drain lasts some seconds: how many jobs go with a call swings within one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from bench.feed import Feed
from bench.report import Bars, Cell, Figure, Line, Plot, Section, Table, middle, number, percentile

from .site import HOLD, Drained, NewSite, Waited

CLOSE = 0.10
PAST = 5 / HOLD
"""Jobs that last `HOLD` which a pool of 5 gets through in a second."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each thing; how many jobs a drain runs, how many single jobs are sent, how often all is done."""

    waiting: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    scheduled: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    keys: tuple[int, ...] = (1_000, 10_000, 100_000)
    queues: tuple[int, ...] = (1, 10, 100, 1_000)
    jobs: int = 100_000
    singles: int = 500
    seconds: float = 5.0
    rounds: int = 4
    single_rounds: int = 3


QUICK = Sizes(
    waiting=(1_000, 20_000),
    scheduled=(1_000, 20_000),
    keys=(100, 2_000),
    queues=(1, 50),
    jobs=5_000,
    singles=50,
    seconds=0.5,
    rounds=1,
    single_rounds=1,
)


@dataclass(slots=True)
class Seen:
    """What was measured beside one size."""

    bytes_each: float = 0.0
    drains: list[Drained] = field(default_factory=list)
    singles: list[Waited] = field(default_factory=list)

    def of(self, name: str) -> list[float]:
        """One field of every drain."""
        return [float(getattr(drain, name)) for drain in self.drains]

    def wait(self, share: float) -> list[float]:
        """A percentile of the single jobs' waits, of every round."""
        return [percentile(one.waits_ms, share) for one in self.singles]

    def enqueue(self, share: float) -> list[float]:
        """The same of the enqueue calls."""
        return [percentile(one.enqueues_ms, share) for one in self.singles]


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that there may be more and more of."""

    title: str
    of: str
    """What is counted, on an axis: `waiting jobs`."""
    text: str
    single: str = "urgent"
    """Which kind of single jobs are sent past it."""


async def grown(kind: Kind, beside: Mapping[int, Feed], more: Mapping[int, Feed], sizes: Sizes, new_site: NewSite) -> Section:
    """Put `beside` on a site of its own for each size, then round by round feed `more`, drain as many, and send single jobs."""
    seen = {size: Seen() for size in beside}
    async with AsyncExitStack() as stack:
        sites = {size: await stack.enter_async_context(new_site()) for size in beside}
        for size, site in sites.items():
            seen[size].bytes_each = await site.weigh(beside[size])
        progress(f"{', '.join(f'{size:,}' for size in sites)} {kind.of} are there")
        for number in range(sizes.rounds):
            progress(f"drains, round {number + 1} of {sizes.rounds}")
            for size, site in sites.items():
                await site.fill(more[size])
                seen[size].drains.append(await site.drain(sizes.jobs))
        for number in range(sizes.single_rounds):
            progress(f"single jobs, round {number + 1} of {sizes.single_rounds}")
            for size, site in sites.items():
                if kind.single == "urgent":  # so that the 30 ms jobs they come past don't run out
                    await site.fill(replace(more[size], jobs=round(PAST * (sizes.seconds + 3))))
                seen[size].singles.append(await site.send(kind.single, sizes.singles, sizes.seconds))
    return section(kind, seen, sizes)


def progress(what: str) -> None:
    """Tell whoever waits for a quarter of an hour."""
    print(f"  {what}", file=sys.stderr, flush=True)


async def waiting(sizes: Sizes, new_site: NewSite) -> Section:
    """Jobs that wait in the queue."""
    kind = Kind(
        "Waiting jobs",
        "waiting jobs",
        "So many jobs wait in the queue while the others are drained and while urgent ones (priority 1) come past them.",
    )
    beside = {size: Feed(jobs=size) for size in sizes.waiting}
    return await grown(kind, beside, dict.fromkeys(beside, Feed(jobs=sizes.jobs)), sizes, new_site)


async def scheduled(sizes: Sizes, new_site: NewSite) -> Section:
    """Jobs that are due in an hour or two."""
    kind = Kind(
        "Scheduled jobs",
        "scheduled jobs",
        "So many jobs are due in one to two hours while others are drained. The single jobs are delayed ones, due one after the "
        "other; their wait is how late they started.",
        single="delayed",
    )
    beside = {size: Feed(jobs=size, delay=3600.0) for size in sizes.scheduled}
    return await grown(kind, beside, dict.fromkeys(beside, Feed(jobs=sizes.jobs)), sizes, new_site)


async def keys(sizes: Sizes, new_site: NewSite) -> Section:
    """Ordering keys that are in use, one job of each at the front and the others blocked behind it."""
    kind = Kind(
        "Ordering keys",
        "ordering keys",
        "So many keys are in use, each with a job that may run and at least one that is blocked behind it. The jobs that are "
        "drained go around the same keys, so each hands its key over when it ends. The urgent jobs have no key.",
    )
    beside = {size: Feed(jobs=2 * size, keys=size) for size in sizes.keys}
    return await grown(kind, beside, {size: Feed(jobs=sizes.jobs, keys=size) for size in sizes.keys}, sizes, new_site)


# --- saying it -------------------------------------------------------------------------------------------------------


def section(kind: Kind, seen: Mapping[int, Seen], sizes: Sizes) -> Section:
    """Figures with their verdicts, the table of all sizes, and the plots."""
    return Section(
        kind.title,
        text=kind.text,
        settings={
            "drain": f"{sizes.jobs:,} no-op jobs of 300 bytes, pool of 5, one worker; {sizes.rounds} rounds, sizes in turn",
            "single jobs": f"{sizes.singles:,} over {sizes.seconds:g} s, past jobs that last 30 ms",
        },
        figures=verdicts(kind.of, seen),
        tables=[table(kind.of, seen), command_table(kind.of, seen)],
        plots=plots(kind.of, seen),
    )


def verdicts(of: str, seen: Mapping[int, Seen]) -> list[Figure]:
    """Rate, cost and latency beside each size, as shares of those beside the least; within 10 %, says the target."""
    least = min(seen)
    return [figure for size in seen if size != least for figure in _beside(of, size, least, seen)]


def _beside(of: str, size: int, least: int, seen: Mapping[int, Seen]) -> list[Figure]:
    here, there = seen[least], seen[size]
    where = f"at {size:,} {of} against {least:,}"
    # a call costs some commands however many jobs it brings: without these two a reader could not tell growth from smaller calls
    calls = f"; script calls a job {number(middle(there.of('steps')))} against {number(middle(here.of('steps')))}"
    found = [
        _ratio(f"drain rate {where}", here.of("rate"), there.of("rate"), at_least=1 - CLOSE),
        _ratio(f"server time a job {where}", here.of("server_us"), there.of("server_us"), at_most=1 + CLOSE),
        _ratio(f"commands a job {where}", here.of("commands"), there.of("commands"), calls, at_most=1 + CLOSE),
    ]
    if there.singles:
        found.append(_ratio(f"wait of single jobs, p50, {where}", here.wait(0.5), there.wait(0.5), at_most=1 + CLOSE))
        # not judged: of some hundred jobs a round it is the fifth slowest, and says as much of the machine
        found.append(_ratio(f"wait of single jobs, p99, {where}", here.wait(0.99), there.wait(0.99)))
    return found


def _ratio(name: str, least: Sequence[float], most: Sequence[float], besides: str = "", **target: float) -> Figure:
    """The median of the rounds' ratios: both sides of a round were measured within seconds, beside the same neighbours."""
    each = [there / here for here, there in zip(least, most, strict=True)]
    note = f"medians {number(middle(most))} against {number(middle(least))}{besides}"
    return Figure.of_runs(name, each, "x", note=note, **target)


def table(of: str, seen: Mapping[int, Seen]) -> Table:
    """Everything, a row a size."""
    costs = ("jobs/s", "commands a job", "script calls a job", "server us a job", "in scripts, us a job", "worker us a job")
    columns = (of, *costs, "wait p50, ms", "wait p99, ms", "enqueue p50, ms", "memory, bytes each")
    rows: list[tuple[Cell, ...]] = []
    for size, one in seen.items():
        drains: list[Cell] = [Figure.of_runs("", one.of("rate"))]
        drains += [round(middle(one.of(name)), 3) for name in ("commands", "steps", "server_us", "script_us", "worker_us")]
        waits: list[Cell] = [None] * 3
        if one.singles:
            waits = [round(middle(one.wait(0.5)), 2), round(middle(one.wait(0.99)), 2), round(middle(one.enqueue(0.5)), 2)]
        rows.append((f"{size:,}", *drains, *waits, round(one.bytes_each) if one.bytes_each else None))
    return Table(f"Beside so many {of}", columns, rows)


def command_table(of: str, seen: Mapping[int, Seen]) -> Table:
    """The server's dearest commands beside each size: what grows, if something does."""
    best = {size: min(one.drains, key=lambda drain: drain.script_us).by_command for size, one in seen.items()}
    dearest = sorted(best[max(seen)], key=lambda name: -best[max(seen)][name])[:9]
    rows: list[tuple[Cell, ...]] = [(name, *(round(found.get(name, 0.0), 3) for found in best.values())) for name in dearest]
    columns = ("us a job, in the best round", *(f"{size:,}" for size in seen))
    return Table(f"The server's commands beside so many {of}", columns, rows, note="evalsha has all that its scripts call in it")


def plots(of: str, seen: Mapping[int, Seen]) -> list[Plot | Bars]:
    """Cost against size."""
    sizes = list(seen)

    def line(name: str, values: Mapping[int, list[float]]) -> Line:
        points = [(float(size), middle(values[size])) for size in sizes]
        return Line(name, points, [(min(values[size]), max(values[size])) for size in sizes])

    found: list[Plot | Bars] = [
        Plot("Drain rate", of, "jobs/s", [line("", {size: seen[size].of("rate") for size in sizes})], log_x=True),
        Plot(
            "Processor time a job",
            of,
            "us a job",
            [
                line("server", {size: seen[size].of("server_us") for size in sizes}),
                line("worker", {size: seen[size].of("worker_us") for size in sizes}),
            ],
            log_x=True,
        ),
    ]
    if all(one.singles for one in seen.values()):
        waits = [
            line("p50", {size: seen[size].wait(0.5) for size in sizes}),
            line("p99", {size: seen[size].wait(0.99) for size in sizes}),
        ]
        found.append(Plot("Wait of single jobs", of, "ms", waits, log_x=True))
    return found
