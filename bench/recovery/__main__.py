"""A worker is killed: when do its jobs run again? python -m bench.recovery [--lease S] [--run S] [--kills N] ... [--calm SECONDS]

Real workers and a real server. With --calm nobody is killed: the workers are held up (--block, --hold, --hogs), and a lease that
is lost then was too short. Exits with 1 when the 99th percentile is above lease + 2 s, or a lease was lost in a calm run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.report import Figure, Report, Section, percentile
from bench.report_output import add_options, command_line, deliver_run, machine, now, versions
from engine import Clock

from .play import Play, Sizes, Struck

SLACK = 2.0
"""Seconds over the lease."""
EVERY = 3.5
"""Seconds between two kills, on top of a lease and a quarter: a new worker is at work by then."""


def parsed() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.recovery", description="A worker is killed: when do its jobs run again?"
    )
    add_options(parser)
    parser.add_argument("--lease", type=float, default=10.0, metavar="S", help="of the queues (default: 10, as the engine's)")
    parser.add_argument(
        "--run", type=float, default=0.3, metavar="S", help="a job waits so long, half more or less (default: 0.3)"
    )
    parser.add_argument("--workers", type=int, default=4, help="processes (default: 4)")
    parser.add_argument("--queues", type=int, default=3, help="that each of them serves (default: 3)")
    parser.add_argument("--concurrency", type=int, default=5, help="slots of each queue in each process (default: 5)")
    parser.add_argument("--busy", type=float, default=0.6, help="share of the slots that are taken (default: 0.6)")
    parser.add_argument("--kills", type=int, default=20, help="how many workers are killed, one after the other (default: 20)")
    parser.add_argument("--every", type=float, metavar="S", help="between two kills (default: 1.25 leases + 3.5 s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--calm", type=float, metavar="S", help="no kills for so long: are leases lost all the same?")
    parser.add_argument("--block", type=float, default=0.0, metavar="S", help="calm: jobs that block their event loop")
    parser.add_argument("--hold", type=float, default=0.0, metavar="S", help="calm: jobs that hold the interpreter lock")
    parser.add_argument("--hogs", type=int, default=0, metavar="N", help="calm: processes beside that only compute")
    return parser.parse_args()


async def measured(options: argparse.Namespace, clock: Clock) -> Report:
    """One run and its report."""
    started_at, began, ran_on = now(), clock.mono(), machine()
    sizes = Sizes(
        lease=options.lease, run=options.run, workers=options.workers, queues=options.queues,
        concurrency=options.concurrency, busy=options.busy,
    )  # fmt: skip
    async with Play(sizes, clock, options.seed) as play:
        if options.calm is None:
            every = options.every or sizes.lease * 1.25 + EVERY
            section = recovery(await play.kill(options.kills, every), options.lease, options.kills)
        else:
            lost = await play.hold_up(options.calm, options.block, options.hold, options.hogs)
            section = Section("Nobody is killed", figures=[Figure(f"leases lost in {options.calm:g} s", lost, at_most=0)])
    return Report(
        title="Recovery",
        about="When the jobs of a killed worker run again, or whether a lease is too short for workers that are held up.",
        command=command_line("bench.recovery"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(),
        settings={
            "lease": f"{sizes.lease:g} s",
            "jobs": f"wait {sizes.run / 2:g} to {sizes.run * 1.5:g} s, so many that {sizes.busy:.0%} of the slots are taken",
            "workers": f"{sizes.workers} processes, {sizes.queues} queues, {sizes.concurrency} slots each",
            "held up": f"block {options.block:g} s, hold {options.hold:g} s, each worker every 2 s; {options.hogs} hogs",
        },
        sections=[section],
    )


def recovery(struck: Struck, lease: float, kills: int) -> Section:
    """From the kill to the next start, and where that time went."""
    whole = [one.seconds for one in struck.restarts]
    alone = [seconds - found for seconds, found in zip(whole, struck.found, strict=True)]
    parts: list[tuple[str, Sequence[float], float | None]] = [
        ("from kill -9 to a job's next start", whole, lease + SLACK),
        ("of which: until its lease was found lost", struck.found, None),
        ("of which: until it had a process to itself", alone, None),
    ]
    figures = [Figure("jobs that were struck", len(whole), note=f"of {struck.jobs:,}, by {kills} kills")]
    for name, seconds, most in parts:
        figures.append(Figure(f"{name}, p50", percentile(seconds, 0.5) if seconds else None, "s"))
        figures.append(Figure(f"{name}, p99", percentile(seconds, 0.99) if seconds else None, "s", at_most=most))
    figures.append(Figure("drained after the last kill's wait", struck.drained, "s"))
    return Section("A worker is killed", figures=figures)


def main() -> int:
    """Parse, measure, deliver."""
    options = parsed()
    return deliver_run(lambda clock: measured(options, clock), options)


if __name__ == "__main__":
    sys.exit(main())
