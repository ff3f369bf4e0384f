"""Machine: the same work by one worker process, two, four: how far it goes, what the limit is, how many one server feeds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bench.feed import Feed
from bench.meter import Reading
from bench.report import Bar, Bars, Cell, Figure, Line, Plot, Section, Table, middle, number

from .site import Drained, NewSite

TEXT = """
`engine run --processes N` drains no-op jobs, the dearest case for the server: real handlers do something between two calls.
The server's main thread is one; its limit is a million microseconds a second, divided by those it needs for a job. Where the
machine has fewer cores than there are busy processes, they share them and the rate stays below that limit: then the limit is
the machine.
""".replace("\n", " ").strip()
SHARES_TEXT = """
No-op jobs enqueued in calls of 100 and drained by one worker; microseconds by the server's own clock, taken while it notes
every call, which costs it some itself. What the commands leave of a script's time is Lua. The worker's side is shown by
`python -m bench.scale.profile`.
""".replace("\n", " ").strip()
OUTSIDE = {
    "evalsha",
    "slowlog|get",
    "slowlog|reset",
    "info",
    "config|set",
    "script|load",
    "hello",
    "client|setname",
    "client|setinfo",
}
"""Commands that no script calls; all others of this load are called by scripts."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Worker processes to try, jobs of a drain, how often."""

    processes: tuple[int, ...] = (1, 2, 4)
    jobs: int = 200_000
    rounds: int = 3


QUICK = Sizes(processes=(1, 2), jobs=20_000, rounds=1)


# --- several processes -----------------------------------------------------------------------------------------------


async def processes(sizes: Sizes, new_site: NewSite) -> Section:
    """All numbers of processes in turn, on one server."""
    runs: dict[int, list[Drained]] = {count: [] for count in sizes.processes}
    async with new_site() as site:
        for _ in range(sizes.rounds):
            for count in sizes.processes:
                await site.fill(Feed(jobs=sizes.jobs))
                runs[count].append(await site.drain(sizes.jobs, processes=count))
    one = runs[min(runs)]
    server_us, worker_us = (middle([getattr(run, field) for run in one]) for field in ("server_us", "worker_us"))
    limit = 1e6 / server_us
    line = Line("", [(float(count), middle([run.rate for run in found])) for count, found in runs.items()])
    return Section(
        "Worker processes",
        text=TEXT,
        settings={"jobs": f"{sizes.jobs:,} no-op jobs, pool of 5 in each process, {sizes.rounds} rounds"},
        figures=_process_figures(runs, limit, server_us, worker_us),
        tables=[_process_table(runs)],
        plots=[Plot("Drain rate", "worker processes", "jobs/s", [line], target=limit, target_name="server's limit")],
    )


def _process_figures(runs: Mapping[int, list[Drained]], limit: float, server_us: float, worker_us: float) -> list[Figure]:
    found = [
        Figure("server's limit", limit, "jobs/s", note=f"a million microseconds by {number(server_us)} a job"),
        Figure(
            "workers of no-op jobs that one server feeds",
            worker_us / server_us,
            note=f"{number(worker_us)} us of a worker for each job, {number(server_us)} us of the server",
        ),
    ]
    one = middle([run.rate for run in runs[min(runs)]])
    for count, each in runs.items():
        if count > 1:
            rate = middle([run.rate for run in each])
            note = f"on {os.cpu_count()} cores, server included"
            found.append(Figure(f"rate of {count} processes against one", rate / one, "x", note=note))
    return found


def _process_table(runs: Mapping[int, list[Drained]]) -> Table:
    columns = ("processes", "jobs/s", "commands a job", "script calls a job", "server us a job", "worker us a job", "server busy")
    rows: list[tuple[Cell, ...]] = []
    for count, found in runs.items():
        fields = ("commands", "steps", "server_us", "worker_us")
        costs = [round(middle([getattr(run, field) for run in found]), 3) for field in fields]
        busy = middle([run.server_busy for run in found])
        rows.append((str(count), Figure.of_runs("", [run.rate for run in found]), *costs, f"{busy:.0%}"))
    return Table("Drain by so many processes", columns, rows)


# --- where the server's time goes ------------------------------------------------------------------------------------


async def shares(sizes: Sizes, new_site: NewSite) -> Section:
    """What the server spends its time on, by script and by command inside them."""
    async with new_site() as site:
        site.meter.watch_scripts()
        await site.fill(Feed(jobs=sizes.jobs))
        await site.drain(sizes.jobs)
        reading = site.meter.read()
        scripts = site.meter.watched_scripts()
    each = {name: sum(took) / sizes.jobs for name, took in scripts.items()}
    order = sorted(each, key=lambda name: -each[name])
    total = sum(each.values())
    rows: list[tuple[Cell, ...]] = [
        (name, len(scripts[name]), round(each[name], 3), f"{each[name] / total:.1%}") for name in order
    ]
    in_commands = sum(usec for name, usec in reading.usec.items() if name not in OUTSIDE) / sizes.jobs
    return Section(
        "What the server spends its time on",
        text=SHARES_TEXT,
        settings={"jobs": f"{sizes.jobs:,}"},
        figures=[
            Figure("the server's main thread, in all", reading.cpu_seconds * 1e6 / sizes.jobs, "us a job"),
            Figure("of it in scripts", total, "us a job"),
            Figure("of that in commands the scripts call", in_commands, "us a job"),
        ],
        tables=[Table("Scripts", ("script", "calls", "us a job", "share"), rows), _inner_table(reading, sizes.jobs)],
        plots=[Bars("Server time by script", "us a job", [Bar(name, each[name]) for name in order[:8]])],
    )


def _inner_table(reading: Reading, jobs: int) -> Table:
    inside = [name for name in reading.usec if name not in OUTSIDE]
    dearest = sorted(inside, key=lambda name: -reading.usec[name])[:12]
    rows: list[tuple[Cell, ...]] = [
        (name, round(reading.calls[name] / jobs, 3), round(reading.usec[name] / jobs, 3)) for name in dearest
    ]
    return Table("Commands inside scripts, the dearest", ("command", "calls a job", "us a job"), rows)
