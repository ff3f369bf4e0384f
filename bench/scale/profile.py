"""Where a job's time goes in the worker: python -m bench.scale.profile [--jobs N] [--keys N] [--flame FILE.svg] [--html FILE]

Drains no-op jobs under py-spy and adds its samples up by function and by file. py-spy looks at the process from outside, so the
worker runs as it always does; it starts the worker itself, which needs no rights. `--flame` draws a graph of one more drain.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.feed import Feed
from bench.report import Bar, Bars, Cell, Report, Section, Table
from bench.report_output import add_options, command_line, deliver, machine, now, versions
from engine import Clock
from engine.fleet import run

from .site import APP, Site

RATE = 500
"""Samples a second."""
SHOWN = 30
EVERYWHERE = 0.99
"""What stands in so many of all stacks is the way to the loop, and tells nothing."""
TEXT = """
Samples of the worker's main thread, taken from outside {rate} times a second while it drained. Self: the function itself was
running (what C code does counts for the Python function that called it). Total: it or something it called was. Waiting for the
server is not in it.
""".replace("\n", " ").strip()


def read_stacks(text: str) -> Counter[tuple[str, ...]]:
    """py-spy's raw format, `frame;frame;frame count` a line, outermost first.

    >>> read_stacks("main (a.py:1);work (b.py:2) 3\\n")
    Counter({('main (a.py:1)', 'work (b.py:2)'): 3})
    """
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(count)
    return found


def function_of(frame: str) -> str:
    """A frame without its line, so that a function's lines are added up.

    >>> function_of("run (engine/services/runner.py:60)")
    'run (engine/services/runner.py)'
    """
    name, bracket, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0]
    return f"{name}{bracket}{path})" if path else frame


def room_of(frame: str) -> str:
    """What a frame's file is of: `engine/services/pool.py`, `asyncio`, a library's name.

    >>> room_of("run (engine/services/pool.py:3)"), room_of("_run (asyncio/events.py:80)"), room_of("x (<string>:1)")
    ('engine/services/pool.py', 'asyncio', '<string>')
    """
    path = frame.partition(" (")[2].rstrip(")").rpartition(":")[0]
    return path if path.startswith(("engine/", "bench/")) else path.partition("/")[0]


def add_up(stacks: Counter[tuple[str, ...]]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Samples by function itself, by function with what it calls, by room itself."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    rooms: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[function_of(stack[-1])] += count
        rooms[room_of(stack[-1])] += count
        for function in {function_of(frame) for frame in stack}:
            whole[function] += count
    return own, whole, rooms


async def sampled(clock: Clock, jobs: int, keys: int, *arguments: str) -> None:
    """Drain under py-spy, which gets these arguments more."""
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        sys.exit("py-spy is not installed: pip install py-spy (it is among the project's dev dependencies)")
    async with Site(clock) as site:
        await site.fill(Feed(jobs=jobs, keys=keys))
        under = (py_spy, "record", "--rate", str(RATE), *arguments, "--")
        async with site.stage.workers(APP, "--burst", under=under) as worker:
            await worker.ended(120.0)


def section(stacks: Counter[tuple[str, ...]], jobs: int, keys: int) -> Section:
    """The samples as a report has them."""
    total = sum(stacks.values())
    own, whole, rooms = add_up(stacks)
    columns, order = ("function", "self", "total"), [name for name, _ in whole.most_common()]

    def rows(names: Iterable[str]) -> list[tuple[Cell, ...]]:
        return [(name, f"{own[name] / total:.1%}", f"{whole[name] / total:.1%}") for name in names]

    bars = [Bar(room, 100 * count / total) for room, count in rooms.most_common(14)]
    return Section(
        "Where a job's time goes in the worker",
        text=TEXT.format(rate=RATE),
        settings={"jobs": f"{jobs:,} no-op jobs, {keys or 'no'} ordering keys, pool of 5", "samples": f"{total:,}"},
        tables=[
            Table("By what itself runs", columns, rows(name for name, _ in own.most_common(SHOWN))),
            Table("By what is at work", columns, rows([name for name in order if whole[name] < EVERYWHERE * total][:SHOWN])),
        ],
        plots=[Bars("Own time by file or library", "% of samples", bars)],
    )


def of_jobs(stacks: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """The stacks of the main thread while it works: without its start (imports), and without other threads."""
    return Counter(
        {
            stack: count
            for stack, count in stacks.items()
            if any("fleet.py" in frame for frame in stack) and not any("importlib" in frame for frame in stack)
        }
    )


def main() -> int:
    """Parse, sample, deliver."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.profile", description="Where a job's time goes in the worker.")
    add_options(parser)
    parser.add_argument("--jobs", type=int, default=150_000)
    parser.add_argument("--keys", type=int, default=0, help="ordering keys over which the jobs spread; 0 for none")
    parser.add_argument("--flame", metavar="FILE", help="draw a flame graph of one more drain")
    options = parser.parse_args()
    clock = Clock()
    started_at, began, ran_on = now(), clock.mono(), machine()
    raw: list[str] = []

    async def inner() -> bool:
        async with Site(clock) as site:
            place = site.stage.file("stacks")
            await sampled(clock, options.jobs, options.keys, "--format", "raw", "--output", str(place))
            raw.append(place.read_text())
        if options.flame:
            await sampled(clock, options.jobs, options.keys, "--format", "flamegraph", "--output", options.flame)
        return True

    run(inner())
    report = Report(
        title="Profile of a worker",
        about="A drain of no-op jobs, sampled from outside.",
        command=command_line("bench.scale.profile"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(),
        sections=[section(of_jobs(read_stacks(raw[0])), options.jobs, options.keys)],
    )
    return deliver(report, options)


if __name__ == "__main__":
    sys.exit(main())
