"""Chaos: real workers, a real server, every fault we know from a seeded schedule, and a proof that nothing was lost.

    python -m bench.chaos --minutes 5 --seed 7 [--jobs N] [--faults N] [--server redis] [--lease S] [--only KIND] [--keep DIR]

Exit code 0: every law held. 1: one was violated (the run's directory is kept). 2: a mistake in the command.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.report import Report, Section
from bench.report_output import add_options, command_line, deliver, machine, now
from engine import Clock, ConfigError
from engine.fleet import run

from . import report
from .check import check
from .journal import faults, records
from .kinds import COMMON, RARE
from .run import Plan, Run, say
from .schedule import KINDS, WATCHED, Planned, Span, draw, matching, shown
from .verdict import sections

SECONDS_A_FAULT = 2.0
"""Between two faults, when only their number is given."""
FAULTS_A_SECOND = 0.4
LAST_SECONDS = 3.0
"""Before the end no fault begins any more."""
JOBS_A_SECOND = 100.0
"""What two cores carry with all these faults and still drain."""


SERVERS = {"single": "one", "sentinel": "a primary, a replica and three sentinels"}


def parsed() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description="Faults on purpose, and a proof that nothing was lost."
    )
    add_options(parser)
    parser.add_argument("--minutes", type=float, help="of load and faults (default: 5, or what --jobs and --faults need)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed, the same faults and jobs (default: 7)")
    parser.add_argument("--jobs", type=int, help="so many at least, however long it takes (default: 100 a second)")
    parser.add_argument("--faults", type=int, help="so many; one that can't be done is replaced (default: 0.4 a second)")
    parser.add_argument("--server", default="valkey", help="valkey: the embedded one (default); redis: Debian's; or a program")
    parser.add_argument(
        "--topology", choices=("single", "sentinel"), default="single",
        help="sentinel: a primary, a replica and three sentinels instead of one server behind a proxy; failovers are its faults",
    )  # fmt: skip
    parser.add_argument("--fsync", choices=("everysec", "always"), default="everysec", help="of the append-only file")
    parser.add_argument("--lease", type=float, default=2.0, metavar="S", help="seconds; short, so that faults fit (default: 2)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default: 4)")
    parser.add_argument("--concurrency", type=int, default=5, help="slots of each of three queues (default: 5)")
    parser.add_argument("--producers", type=int, default=2, help="producer processes (default: 2)")
    parser.add_argument("--only", metavar="KIND,...", help="only these faults, such as kill,server-kill,freeze@claim")
    parser.add_argument("--only-jobs", metavar="KIND,...", help="only these kinds of jobs, such as plain,keyed")
    parser.add_argument("--schedule", action="store_true", help="print the schedule of faults and do nothing")
    parser.add_argument("--keep", metavar="DIR", help="keep the run's directory there (it must not exist)")
    options = parser.parse_args()
    try:
        options.only = tuple(options.only.split(",")) if options.only else ()
        matching(options.only, among(options))
        options.only_jobs = tuple(options.only_jobs.split(",")) if options.only_jobs else ()
        if unknown := set(options.only_jobs) - {*COMMON, *RARE}:
            raise ValueError(f"--only-jobs {', '.join(unknown)}: there are {', '.join((*COMMON, *RARE))}")
        if options.keep and Path(options.keep).exists():
            raise ValueError(f"--keep {options.keep}: it exists already; name a new directory")
    except ValueError as error:
        parser.error(str(error))
    return options


def among(options: argparse.Namespace) -> Mapping[str, Span]:
    """The kinds of faults that this topology has."""
    return WATCHED if options.topology == "sentinel" else KINDS


def scheduled(options: argparse.Namespace) -> list[Planned]:
    """The schedule that these options ask for."""
    seconds, count, _ = sized(options)
    until = max(seconds - LAST_SECONDS, 1.0)
    return draw(options.seed, count=count, seconds=until, lease=options.lease, only=options.only, among=among(options))


def sized(options: argparse.Namespace) -> tuple[float, int, float]:
    """Seconds of load, faults, and jobs a second."""
    if options.minutes is not None:
        seconds = options.minutes * 60
    elif options.jobs is None and options.faults is None:
        seconds = 300.0
    else:
        seconds = max((options.jobs or 0) / JOBS_A_SECOND, (options.faults or 0) * SECONDS_A_FAULT, 10.0)
    count = round(seconds * FAULTS_A_SECOND) if options.faults is None else options.faults
    per_second = JOBS_A_SECOND if options.jobs is None else options.jobs * 1.02 / seconds  # some are refused
    return seconds, count, per_second


async def played(options: argparse.Namespace, directory: Path, clock: Clock) -> Report:
    """One run and its report."""
    seconds, count, per_second = sized(options)
    schedule = scheduled(options)
    plan = Plan(
        seed=options.seed, command=command_line("bench.chaos"), seconds=seconds, per_second=per_second, server=options.server,
        fsync=options.fsync, lease=options.lease, workers=options.workers, producers=options.producers,
        jobs=options.jobs, concurrency=options.concurrency, only_jobs=options.only_jobs, topology=options.topology,
    )  # fmt: skip
    started_at, ran_on, began = now(), machine(), clock.mono()
    say(f"seed {plan.seed}, {seconds:.0f} s, about {per_second:.0f} jobs a second, {count} faults; directory {directory}")
    async with Run(plan, directory, clock) as it:
        await it.play(schedule, matching(options.only, among(options)) or list(among(options)))
        made = finished(plan, schedule, it, started_at, ran_on, clock.mono() - began)
        it.server.keep = bool(options.keep or made.missed)
    return made


def finished(plan: Plan, schedule: list[Planned], it: Run, started_at: str, ran_on: dict[str, str], seconds: float) -> Report:
    """The report of a run that has ended, its server still up."""
    outcome = it.outcome
    say("judging")
    verdict = check(outcome.directory, it.server.primary_url)
    told, struck = records(outcome.directory), faults(outcome.directory)
    tables = [report.faults_table(schedule, struck), report.jobs_faults_table(told), report.jobs_table(told)]
    return Report(
        title="Chaos",
        about="Real workers and a real server under faults from a seeded schedule; judged by journals outside Redis.",
        command=plan.command,
        started_at=started_at,
        seconds=seconds,
        machine=ran_on,
        versions=outcome.versions,
        settings={
            "seed": str(plan.seed),
            "server": f"{plan.server}, {SERVERS[plan.topology]}, append-only file on, fsync {plan.fsync}",
            "workers": f"{plan.workers} processes, 3 queues, {plan.concurrency} slots each, lease {plan.lease:g} s",
            "load": f"{plan.producers} producers, {plan.per_second:.0f} jobs a second for {plan.seconds:.0f} s",
        },
        sections=[
            *sections(verdict),
            report.liveness(outcome),
            report.asked_for(plan.jobs, schedule, struck, told),
            Section("What happened", tables=tables),
        ],
    )


def main() -> int:
    """Parse, play, check, deliver."""
    options = parsed()
    if options.schedule:
        print(shown(scheduled(options)))
        return 0
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    made: list[Report] = []

    async def inner() -> bool:
        made.append(await played(options, directory, Clock()))
        return True

    try:
        run(inner())
    except ConfigError as error:
        shutil.rmtree(directory, ignore_errors=True)
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    code = deliver(made[0], options)
    if options.keep:
        shutil.copytree(directory, options.keep, ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(directory, ignore_errors=True)
        say(f"the run's journals, faults and server data: {options.keep}")
    elif code:
        say(f"the run's journals, faults and server data are kept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
