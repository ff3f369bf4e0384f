"""The users' targets, each tried and judged: python -m bench.targets [--quick] [--json FILE] [--html FILE]

Message processing within 5 s, campaigns at their pace, the server within 10 ms, five jobs at once, a quick
start. On the real application, with the worker as users run it, on the embedded server. Exits with 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from bench.meter import Meter
from bench.report import Report, Section
from bench.report_output import add_options, command_line, deliver_run, machine, now, versions
from bench.stage import Fsync, Stage
from engine import Clock

from . import campaign, latency, messages, rate, slots, startup
from .load import Player

PARTS = ("messages", "rate", "campaign", "latency", "startup", "slots")


async def measured(options: argparse.Namespace, clock: Clock) -> Report:
    """Run the parts that were asked for."""
    started_at, began, ran_on = now(), clock.mono(), machine()
    quick, fsync = options.quick, options.fsync
    most_at_once: dict[str, int] = {}
    sections: list[Section] = []
    async with Stage(fsync, clock=clock) as stage:
        player = Player(stage, clock, most_at_once)
        with Meter(stage.url, clock) as meter:
            server = meter.version()
        parts: dict[str, Callable[[], Coroutine[Any, Any, Section]]] = {
            "messages": lambda: messages.answered_in_time(player, messages.QUICK if quick else messages.Sizes()),
            "rate": lambda: rate.highest_rate(
                clock, rate.QUICK if quick else rate.Sizes(), (fsync,) if quick else ("always", "everysec"), most_at_once
            ),
            "campaign": lambda: campaign.campaigns(player, campaign.QUICK if quick else campaign.Sizes()),
            "latency": lambda: latency.server_latency(player, latency.QUICK if quick else latency.Sizes()),
            "startup": lambda: startup.starts(clock, startup.QUICK if quick else startup.Sizes(), fsync),
            "slots": lambda: slots.never_exceeded(player, 40 if quick else 200),
        }
        for name in options.part or PARTS:  # slots come last: they judge what all the others saw
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            sections.append(await parts[name]())
        about = stage.about
    return Report(
        title="The users' targets",
        about="Message processing, campaigns, the server's latency, starting and the slots of a queue, on the real application.",
        command=command_line("bench.targets"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(server=server),
        settings={**about, "worker": "engine run, one process, as users run it"},
        sections=sections,
    )


def main() -> int:
    """Parse, measure, deliver."""
    parser = argparse.ArgumentParser(prog="python -m bench.targets", description="The users' targets, each tried and judged.")
    add_options(parser)
    fsyncs: tuple[Fsync, ...] = ("always", "everysec")
    parser.add_argument(
        "--quick", action="store_true", help="shorter loads, about a minute in all: for a look, not for a verdict"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given several times")
    parser.add_argument(
        "--fsync", choices=fsyncs, default="everysec", help="how the append-only file is written (default: everysec)"
    )
    options = parser.parse_args()
    return deliver_run(lambda clock: measured(options, clock), options)


if __name__ == "__main__":
    sys.exit(main())
