"""What each durability setting loses: python -m bench.losses [--server PROGRAM] [--part NAME] [--quick] [--json F] [--html F]

Power loss of one server, failover and split brain under Sentinel, with the engine's own producers and workers; every acknowledged
job is looked for afterwards. Exits with 1 when a promise was not kept. docs/reliability.md has the answers.
"""

from __future__ import annotations

import argparse
import sys

from bench.chaos.node import Node, find_program
from bench.report import Report, Section
from bench.report_output import add_options, command_line, deliver_run, machine, now, versions
from engine import Clock

from . import cost, failover, power, split

PARTS = ("power", "failover", "split", "cost")
SPLIT_ROUNDS = 3


async def measured(options: argparse.Namespace, clock: Clock) -> Report:
    """Run the parts that were asked for."""
    started_at, began, ran_on = now(), clock.mono(), machine()
    kind, quick = options.server or "valkey", options.quick
    sizes = failover.QUICK if quick else failover.Sizes()
    sections: list[Section] = []
    for name in options.part or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        match name:
            case "power":
                sections.append(await power.power(kind, power.QUICK if quick else power.Sizes(), clock))
            case "failover":
                sections.append(await failover.failover(kind, sizes, clock))
            case "split":
                seconds, rounds = (split.QUICK_SECONDS, 1) if quick else (split.PARTED_SECONDS, SPLIT_ROUNDS)
                sections.append(await split.split(kind, sizes, seconds, rounds, clock))
            case _:
                sections.append(await cost.cost(kind, cost.QUICK if quick else cost.Sizes(), clock))
    return Report(
        title="Losses",
        about="What each durability setting loses when the power goes, the primary dies or freezes, or the network parts.",
        command=command_line("bench.losses"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(server=Node.version(find_program(kind))),
        settings={
            "server": options.server or "embedded",
            "engine": "settings as they are unless a row says otherwise; lease 2 s",
        },
        sections=sections,
    )


def main() -> int:
    """Parse, measure, deliver."""
    parser = argparse.ArgumentParser(prog="python -m bench.losses", description="What each durability setting loses.")
    add_options(parser)
    parser.add_argument("--quick", action="store_true", help="shorter loads and fewer rounds: for a look, not for a verdict")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given several times")
    parser.add_argument("--server", metavar="PROGRAM", help="an installed server, redis-server say, instead of the embedded one")
    options = parser.parse_args()
    return deliver_run(lambda clock: measured(options, clock), options)


if __name__ == "__main__":
    sys.exit(main())
