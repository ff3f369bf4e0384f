"""The peers' command: `python -m bench.peers` measures all contenders side by side and prints the tables.

python -m bench.peers                                       everything, three runs: some 45 minutes
python -m bench.peers --quick                               a look: one small run of everything, some 6 minutes
python -m bench.peers --peers engine,bullmq --workloads drain-5,enqueue --runs 5 --html page.html
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.report import Report, Section
from bench.report_output import add_options, command_line, deliver, machine, now, versions

from .contender import Contender
from .environments import CannotRun, pins, prepare
from .ground import Ground
from .results import Readings, Results, failure
from .scale import QUICK, Scale
from .servers import SETTINGS, binary
from .summary import summary
from .tables import section, settings_section
from .workloads import ALL, raw
from .workloads.base import Workload

WAITING_AT_ONCE = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for. 0 whatever the figures are: this compares, it does not judge."""
    options = _parser().parse_args(arguments)
    scale = _scale(options)
    program = binary(options.server)
    started, began = now(), time.monotonic()
    before = machine()
    contenders, absent = _contenders(_chosen(options.peers, list(pins())))
    asked = _chosen(options.workloads, [workload.name for workload in ALL] + [raw.NAME])
    results = Results()
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        ground = Ground(scale, program, Path(directory))
        with ground.server() as (server, _):
            server_version = server.version()
        chosen = [workload for workload in ALL if workload.name in asked]
        for workload in chosen:
            if not workload.is_waiting:
                _measure(workload, contenders, ground, results, beside=raw.beside(workload.name, asked))
        for run in range(scale.runs):
            _measure_raw(raw.alone(asked), run + 1, ground, results)
        with ThreadPoolExecutor() as pool:
            waiting = [one for one in chosen if one.is_waiting]
            list(pool.map(lambda one: _measure(one, contenders, ground, results), waiting))
    report = Report(
        title="Job engines side by side",
        about="The same workloads, payload and server for each engine, each as a careful production user would run it.",
        command=command_line("bench.peers"),
        started_at=started,
        seconds=time.monotonic() - began,
        machine=before,
        versions=versions(server=server_version),
        settings={
            "server": "fresh for every measurement, TCP on 127.0.0.1, "
            + ", ".join(f"{k} {v or 'off'}" for k, v in SETTINGS.items()),
            "runs": f"{scale.runs}; medians, lowest..highest",
            "load meanwhile": f"{min(results.loads, default=0):.1f} to {max(results.loads, default=0):.1f}, contenders included",
            "counts": ", ".join(f"{field} {getattr(scale, field)}" for field in Scale.__dataclass_fields__),
        },
        sections=_sections(chosen, contenders, results, absent),
    )
    if options.readings:
        Path(options.readings).write_text(json.dumps(_plain(results), indent=1))
    return deliver(report, options, judge=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="The same workloads for every job engine we know.")
    parser.add_argument("--peers", help=f"some of: {','.join(pins())}")
    parser.add_argument("--workloads", help=f"some of: {','.join(w.name for w in ALL)},{raw.NAME}")
    parser.add_argument("--runs", type=int, help="of each measurement; the table has their median (default 3)")
    parser.add_argument("--quick", action="store_true", help="one small run of everything, to see that it works")
    parser.add_argument("--kill-limit", type=float, metavar="SECONDS", help="how long to wait for a killed worker's job")
    parser.add_argument("--server", default="valkey", help="valkey (the embedded one), redis, or a program's path")
    parser.add_argument("--readings", metavar="FILE", help="also write every single run's readings as JSON")
    add_options(parser)
    return parser


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else Scale()
    if options.runs:
        scale = replace(scale, runs=options.runs)
    return replace(scale, kill_limit=options.kill_limit) if options.kill_limit else scale


def _chosen(asked: str | None, known: list[str]) -> list[str]:
    """The names asked for, in our order."""
    names = asked.split(",") if asked else known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"there is no {', '.join(unknown)} here; there are {', '.join(known)}")
    return [name for name in known if name in names]


def _contenders(names: Sequence[str]) -> tuple[list[Contender], dict[str, str]]:
    """Those that can run, and why the others can't."""
    found, absent = [], {}
    for name in names:
        pin = pins()[name]
        try:
            found.append(Contender(pin, prepare(pin)))
        except CannotRun as error:
            absent[pin.title] = str(error)
            _say(f"{pin.title} can't run: {error}")
    return found, absent


def _measure(
    workload: Workload, contenders: Sequence[Contender], ground: Ground, results: Results, *, beside: Sequence[raw.Row] = ()
) -> None:
    """All runs of all contenders: one after the other, or side by side where they mostly wait. `beside`: RAW in each round."""
    runs = range(1, ground.scale.runs + 1)
    rounds = [[(run, contender) for contender in contenders] for run in runs]
    if workload.has_runs_at_once:
        rounds = [[one for together in rounds for one in together]]
    for run, together in enumerate(rounds, 1):
        _measure_raw(beside, run, ground, results)
        with ThreadPoolExecutor(WAITING_AT_ONCE if workload.is_waiting else 1) as pool:
            for readings, contender in pool.map(lambda one: _one(workload, one[0], one[1], ground), together):
                results.loads.append(os.getloadavg()[0])
                if isinstance(readings, str):
                    results.failed(workload.name, contender.name, workload.metrics, readings)
                else:
                    results.add(workload.name, contender.name, readings)
    for contender in contenders if workload.name in ("drain-100", "io") else ():
        ground.forget(contender)  # the next workload has another backlog


def _one(workload: Workload, run: int, contender: Contender, ground: Ground) -> tuple[Readings | str, Contender]:
    """One run's readings, or the reason why there are none."""
    try:
        readings: Readings | str = workload.run(contender, ground)
    except (CannotRun, OSError, RuntimeError) as error:
        readings = failure(error)
    _say(f"{workload.name} {run}/{ground.scale.runs} {contender.title}: {_told(readings)}")
    return readings, contender


def _told(readings: Readings | str) -> str:
    if isinstance(readings, str):
        return readings
    parts = []
    for name, given in readings.items():
        value = given if isinstance(given, float) else given.value
        parts.append(f"{name} {value:,.2f}" if value is not None else f"{name} -")
    return ", ".join(parts)


def _measure_raw(rows: Sequence[raw.Row], run: int, ground: Ground, results: Results) -> None:
    for row in rows:
        try:
            readings = row.measure(ground)
        except CannotRun as error:
            results.failed(raw.NAME, row.name, row.metrics, str(error))
            continue
        results.add(raw.NAME, row.name, readings)
        _say(f"{raw.NAME} {run}/{ground.scale.runs} {row.name}: {_told(readings)}")


def _sections(
    workloads: Sequence[Workload],
    contenders: Sequence[Contender],
    results: Results,
    absent: dict[str, str],
) -> list[Section]:
    found = [summary(workloads, contenders, results)]
    if any(workload == raw.NAME for workload, _, _ in results.found):
        found.append(raw.section(results))
    found += [section(workload, contenders, results) for workload in workloads]
    return [*found, settings_section(contenders, absent)]


def _plain(results: Results) -> list[dict[str, Any]]:
    """Every reading, for other programs."""
    return [
        {
            "workload": workload,
            "contender": contender,
            "metric": metric,
            "runs": [[r.value, r.is_floor, r.note] for r in readings],
        }
        for (workload, contender, metric), readings in results.found.items()
    ]


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
