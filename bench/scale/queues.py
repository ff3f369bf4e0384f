"""Queues: one worker that serves one queue, ten, a thousand. Its start, what it costs while nothing happens, and its work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.feed import Feed
from bench.meter import between
from bench.report import Cell, Figure, Line, Plot, Section, Table, middle
from bench.stage import cpu_seconds

from .growth import Seen, Sizes, command_table, plots, progress, table, verdicts
from .site import SETTLE, Drained, NewSite, Site, middle_of

IDLE_COMMANDS = 2.0
"""A second and queue, at most."""
ROUNDS = 3
EACH = 100
"""Jobs of each queue where there are the most queues; fewer queues share as many in all."""
SPREAD = ("queues", "jobs/s", "commands a job", "script calls a job", "server us a job", "worker us a job")
TEXT = """
One worker process with a pool of 5 for each queue. Idle: nothing waits anywhere; requests are what the worker sends (by MONITOR),
commands have those inside scripts in them. Drain of one queue: the others have nothing to do. Drain of all: the same number
of jobs, spread over all queues; each claims for itself, so a call brings a few jobs instead of a hundred, and no verdict is
on that. Single jobs go to a queue drawn at random.
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Idle:
    """A worker that has nothing to do."""

    ready_s: float
    requests: float
    """A second, of all queues together."""
    commands: float
    server_share: float
    worker_share: float
    """Of one core."""
    worker_mb: float
    server_bytes: float
    """Of memory, a queue."""


async def queues(sizes: Sizes, new_site: NewSite) -> Section:
    """All sizes in turn; the idle worker is looked at once, its cost being steady."""
    idle: dict[int, Idle] = {}
    seen = {count: Seen() for count in sizes.queues}
    spread: dict[int, list[Drained]] = {count: [] for count in sizes.queues}
    for number in range(min(sizes.rounds, ROUNDS)):
        progress(f"round {number + 1} of {min(sizes.rounds, ROUNDS)}")
        for count in sizes.queues:
            async with new_site() as site:
                if number == 0:
                    idle[count] = await _idle(site, count, max(sizes.seconds * 2, 3.0))
                jobs = max(sizes.jobs, EACH * max(sizes.queues))
                await site.fill(Feed(jobs=sizes.jobs))
                seen[count].drains.append(await site.drain(sizes.jobs, queues=count, busy=1))
                await site.fill(Feed(jobs=jobs, queues=count))
                spread[count].append(await site.drain(jobs, queues=count))
                if number < sizes.single_rounds:
                    seen[count].singles.append(await site.send("urgent", sizes.singles, sizes.seconds, queues=count, hold=0.0))
    return _section(sizes, idle, seen, spread)


async def _idle(site: Site, count: int, seconds: float) -> Idle:
    empty, began = site.meter.read(), site.clock.mono()
    async with site.workers(notes=site.stage.file("notes"), queues=count) as workers:
        ready = site.clock.mono() - began
        (pid,) = workers.pids
        await site.clock.sleep(1.0 + SETTLE + count / 250)
        before, cpu = site.meter.read(), cpu_seconds(pid)
        await site.clock.sleep(seconds)
        cost = between(before, site.meter.read())
        worker_share = (cpu_seconds(pid) - cpu) / cost.seconds
        return Idle(
            ready_s=ready,
            requests=await asyncio.to_thread(site.meter.requests, seconds) / seconds,
            commands=cost.commands / cost.seconds,
            server_share=cost.busy,
            worker_share=worker_share,
            worker_mb=_resident_mb(pid),
            server_bytes=(site.meter.read().memory - empty.memory) / count,
        )


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


def _section(
    sizes: Sizes, idle: Mapping[int, Idle], seen: Mapping[int, Seen], spread: Mapping[int, Sequence[Drained]]
) -> Section:
    most = max(idle)
    figures = [
        Figure(
            f"requests a second and queue of an idle worker with {most:,} queues",
            idle[most].requests / most,
            "",
            at_most=IDLE_COMMANDS,
            note=f"{idle[most].requests:,.0f} a second in all",
        ),
        *verdicts("queues", seen),
    ]
    costs = ("ready after, s", "requests/s", "commands/s", "server, % of a core", "worker, % of a core")
    columns = ("queues", *costs, "worker's memory, MB", "server's memory, bytes a queue")
    rows: list[tuple[Cell, ...]] = [
        (
            f"{count:,}",
            round(one.ready_s, 2),
            round(one.requests, 1),
            round(one.commands, 1),
            round(one.server_share * 100, 2),
            round(one.worker_share * 100, 2),
            round(one.worker_mb),
            round(one.server_bytes),
        )
        for count, one in idle.items()
    ]
    shares = Plot(
        "An idle worker",
        "queues",
        "% of a core",
        [
            Line("worker", [(float(count), one.worker_share * 100) for count, one in idle.items()]),
            Line("server", [(float(count), one.server_share * 100) for count, one in idle.items()]),
        ],
        log_x=True,
    )
    return Section(
        "Queues in one worker",
        text=TEXT,
        settings={
            "drain of one queue": f"{sizes.jobs:,} jobs",
            "drain of all": f"{max(sizes.jobs, EACH * most):,} jobs over all queues",
            "single jobs": f"{sizes.singles:,} over {sizes.seconds:g} s",
        },
        figures=figures,
        tables=[
            Table("An idle worker", columns, rows),
            table("queues", seen),
            Table("Drain of all queues", SPREAD, [_spread(count, drains) for count, drains in spread.items()]),
            command_table("queues", seen),
        ],
        plots=[shares, *plots("queues", seen)],
    )


def _spread(count: int, drains: Sequence[Drained]) -> tuple[Cell, ...]:
    costs = [round(middle(middle_of(drains, name)), 3) for name in ("commands", "steps", "server_us", "worker_us")]
    return (f"{count:,}", Figure.of_runs("", middle_of(drains, "rate")), *costs)
