"""Does the cost of a job grow? python -m bench.scale [--quick] [--part NAME]... [--json FILE] [--html FILE]

The same drain and the same single jobs beside more and more waiting jobs, scheduled jobs, ordering keys and queues, and by more
worker processes. Rates, the server's own commands and microseconds a job, bytes an item. Exits with 1 when something grew by
more than 10 %.
"""

from __future__ import annotations

import argparse
import sys

from bench.report import Report, Section
from bench.report_output import add_options, command_line, deliver_run, machine, now, versions
from engine import Clock

from . import ahead, growth, memory, queues
from . import machine as cores
from .site import Site

QUICK_PARTS = ("waiting", "keys", "queues", "shares")
PARTS = ("waiting", "scheduled", "keys", "queues", "ahead", "memory", "processes", "shares")


async def measured(options: argparse.Namespace, clock: Clock) -> Report:
    """Run the parts that were asked for."""
    started_at, began, ran_on = now(), clock.mono(), machine()
    sizes = growth.QUICK if options.quick else growth.Sizes()
    drains = cores.QUICK if options.quick else cores.Sizes()

    def new_site() -> Site:
        return Site(clock, program=options.server)

    async with new_site() as site:
        server, about = site.meter.version(), site.stage.about
    sections: list[Section] = []
    for name in options.part or (QUICK_PARTS if options.quick else PARTS):
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        match name:
            case "waiting":
                sections.append(await growth.waiting(sizes, new_site))
            case "scheduled":
                sections.append(await growth.scheduled(sizes, new_site))
            case "keys":
                sections.append(await growth.keys(sizes, new_site))
            case "queues":
                sections.append(await queues.queues(sizes, new_site))
            case "ahead":
                sections.append(await ahead.ahead(sizes, new_site))
            case "memory":
                sections.append(await memory.memory(10_000 if options.quick else 100_000, new_site))
            case "processes":
                sections.append(await cores.processes(drains, new_site))
            case _:
                sections.append(await cores.shares(drains, new_site))
    return Report(
        title="Scale",
        about="What a job costs beside a thousand others and beside a million, in one process and in several.",
        command=command_line("bench.scale"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(server=server),
        settings={**about, "worker": "engine run, as users run it"},
        sections=sections,
    )


def main() -> int:
    """Parse, measure, deliver."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Does the cost of a job grow?")
    add_options(parser)
    parser.add_argument("--quick", action="store_true", help="some parts, small sizes, once: for a look, not for a verdict")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given several times")
    parser.add_argument("--server", metavar="PROGRAM", help="an installed server, redis-server say, instead of the embedded one")
    options = parser.parse_args()
    return deliver_run(lambda clock: measured(options, clock), options)


if __name__ == "__main__":
    sys.exit(main())
