"""RAW: the Redis commands alone, without any job logic, from Python (redis-py, asyncio) and from C: the yardstick's top.

And for jobs that wait, the event loop alone: coroutines that do the handler's work without engine or server.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.report import Section, Table, percentile

from .. import records
from ..drivers import common
from ..environments import ROOT, CannotRun
from ..ground import POOL, Ground
from ..processes import Program
from ..results import Metric, Readings, Results
from ..servers import Server
from ..tables import cell

NAME = "raw"
BODY = msgspec.msgpack.encode(common.payload(1))
"""What `drivers.raw` adds; of the C row only the length is the same."""
TITLE = "RAW: the commands without the jobs"
TEXT = (
    "What redis-py (asyncio, hiredis, uvloop) reaches with the same commands and the payload as we store it (msgpack, "
    f"{len(BODY)} bytes) and no job logic at all, one connection; and the server's own benchmark program, in C, with the two"
    " XADD: it can't acknowledge what it read. Claim, then ack: XREADGROUP of 100, then XACK and XDEL of them, two round "
    "trips; claim with the last ack: these three in one round trip. Jobs of 10 ms: five bare coroutines on uvloop do the "
    "handler's work (sleep, write the record) one after the other; uvloop's timers are whole milliseconds, so not even "
    "these reach the ideal. Two hops: an entry is added and a bell rung in one round trip, a process that waits for the "
    "bell claims, and that is its start: what a job costs that finds its worker idle. Measured in each round of enqueue and"
    " of drain, the bare coroutines in each of io, the hops in each of latency, so that a noisy minute hits both sides of a"
    " ratio."
)
PYTHON = (
    Metric("single", "XADD, one by one", "jobs/s", "more"),
    Metric("pipelined", "XADD, 100 a pipeline", "jobs/s", "more"),
    Metric("apart", "claim, then ack", "jobs/s", "more"),
    Metric("claim", "claim with the last ack", "jobs/s", "more"),
)
C = PYTHON[:2]
BARE = (Metric("bare", "jobs of 10 ms, no engine", "jobs/s", "more"),)
HOLD_MS = 10
HOP_RATES = (200, 1000)
HOPS = tuple(
    Metric(f"{what}_{rate}", f"two hops at {rate:,}/s, {what}", "ms", "less") for rate in HOP_RATES for what in ("p50", "p99")
)
_SECONDS = 120.0
HOP_SECONDS = 10.0
"""The last entry is claimed by then, or none will be."""


def python(ground: Ground) -> Readings:
    """From Python."""
    found: Readings = {}
    with ground.server() as (server, _):
        for metric in PYTHON:
            count = ground.scale.raw_jobs // 4 if metric.name == "single" else ground.scale.raw_jobs * 2
            command = [sys.executable, "-m", "bench.peers.drivers.raw", metric.name, "--count", str(count)]
            variables = {**os.environ, "REDIS_URL": server.url}
            done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=True)
            answer = json.loads(done.stdout)
            found[metric.name] = answer["count"] / answer["seconds"]
    return found


def bare(ground: Ground) -> Readings:
    """From the loop alone; its rate is taken from the records, as every contender's is."""
    jobs = ground.scale.io_jobs
    with ground.place() as place:
        file = place / "records"
        options = ("--count", str(jobs), "--pool", str(POOL), "--hold-ms", str(HOLD_MS))
        command = [sys.executable, "-m", "bench.peers.drivers.raw", "bare", *options]
        variables = {**os.environ, "BENCH_RECORDS": str(file)}
        subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, timeout=_SECONDS, check=True)
        return {"bare": records.rate(records.read(file))}


def hops(ground: Ground) -> Readings:
    """A sender and a listener, two processes, as `latency` has for every contender."""
    found: Readings = {}
    with ground.server() as (server, file):
        variables = {**os.environ, "REDIS_URL": server.url, "BENCH_RECORDS": str(file)}
        command = [sys.executable, "-m", "bench.peers.drivers.raw"]
        with Program([*command, "listen"], variables, file.with_suffix(".log"), ROOT):
            for rate in HOP_RATES:
                skip, seconds = records.count(file), ground.scale.load_seconds
                load = [*command, "load", "--rate", str(rate), "--seconds", str(seconds)]
                subprocess.run(load, env=variables, cwd=ROOT, capture_output=True, timeout=_SECONDS, check=True)
                late = _started(file, skip, int(rate * seconds))
                found.update({f"{what}_{rate}": percentile(late, share) for what, share in (("p50", 0.5), ("p99", 0.99))})
    return found


def _started(file: Path, skip: int, jobs: int) -> list[float]:
    """How late each was, in ms, once all are there."""
    deadline = time.monotonic() + HOP_SECONDS
    while len(late := records.late_ms(records.read(file, skip))) < jobs:
        if time.monotonic() > deadline:
            raise CannotRun(f"{len(late)} of {jobs} entries were claimed")
        time.sleep(0.1)
    return late


def c(ground: Ground) -> Readings:
    """From C. Raises CannotRun where no benchmark program is installed."""
    program = shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")
    if program is None:
        raise CannotRun("neither valkey-benchmark nor redis-benchmark is installed (Debian: redis-tools)")
    with ground.server() as (server, _):
        return {
            "single": _benchmark(program, server, ground.scale.raw_jobs, 1),
            "pipelined": _benchmark(program, server, ground.scale.raw_jobs * 5, 100),
        }


def _benchmark(program: str, server: Server, count: int, pipeline: int) -> float:
    where = ("-h", "127.0.0.1", "-p", str(server.port), "--csv", "-c", "1", "-n", str(count), "-P", str(pipeline))
    command = [program, *where, "XADD", "raw:c", "*", "j", "x" * len(BODY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    return float(list(csv.DictReader(io.StringIO(done.stdout)))[-1]["rps"])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, and how it, or a part of it, is measured."""

    name: str
    measure: Callable[[Ground], Readings]
    metrics: tuple[Metric, ...]


COMMANDS = (Row("python", python, PYTHON), Row("c", c, C))
LOOP = (Row("python", bare, BARE),)
TWO_HOPS = (Row("python", hops, HOPS),)
BESIDE = {"enqueue": COMMANDS, "drain-5": COMMANDS, "io": LOOP, "latency": TWO_HOPS}
"""Measured in every round of these, since a ratio of two noisy moments says nothing."""


def beside(workload: str, asked: Collection[str]) -> tuple[Row, ...]:
    """What belongs into every round of a workload; the commands only where they were asked for, the others always."""
    rows = BESIDE.get(workload, ())
    return rows if rows is not COMMANDS or NAME in asked else ()


def alone(asked: Collection[str]) -> tuple[Row, ...]:
    """What was asked for and belongs to no workload of this run."""
    has_place = any(BESIDE[name] is COMMANDS for name in asked if name in BESIDE)
    return COMMANDS if NAME in asked and not has_place else ()


def section(results: Results) -> Section:
    """What was measured of both rows."""
    rows: list[tuple[str, ...]] = []
    notes = []
    everything = [metric for metric in (*PYTHON, *BARE, *HOPS) if results.readings(NAME, "python", metric.name)]
    for name, title, known in (("python", "Python, asyncio", (*PYTHON, *BARE, *HOPS)), ("c", "benchmark program (C)", C)):
        metrics = [metric for metric in everything if metric in known]
        if any(results.readings(NAME, name, metric.name) for metric in metrics):
            figures = [results.figure(NAME, name, metric) for metric in metrics]
            rows.append((title, *(cell(figure) for figure in figures), *[""] * (len(everything) - len(metrics))))
            notes += [figure.note for figure in figures if figure.note]
    columns = ("", *(f"{metric.title}, {metric.unit}" for metric in everything))
    return Section(
        TITLE, text=TEXT, tables=[Table(TITLE, columns=columns, rows=list(rows), note="; ".join(dict.fromkeys(notes)))]
    )
