"""RAW: the Redis commands alone, without any job logic, from Python (redis-py, asyncio) and from C: the yardstick's top."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys

from bench.report import Section, Table

from ..environments import ROOT, CannotRun
from ..ground import Ground
from ..results import Metric, Readings, Results
from ..servers import Server
from ..tables import cell

NAME = "raw"
BESIDE = ("enqueue", "drain-5")
"""Measured in every round of these, since a ratio of two noisy moments says nothing."""
TITLE = "RAW: the commands without the jobs"
TEXT = (
    "What redis-py (asyncio, hiredis, uvloop) and the server's own benchmark program reach with the same commands and payload "
    "and no job logic at all, one connection. Claim, then ack: XREADGROUP of 100, then XACK and XDEL of them, two round trips; "
    "claim with the last ack: these three in one round trip. Measured in each round of enqueue and of drain, so that a noisy "
    "minute hits both sides of a ratio."
)
PYTHON = (
    Metric("single", "XADD, one by one", "jobs/s", "more"),
    Metric("pipelined", "XADD, 100 a pipeline", "jobs/s", "more"),
    Metric("apart", "claim, then ack", "jobs/s", "more"),
    Metric("claim", "claim with the last ack", "jobs/s", "more"),
)
C = PYTHON[:2]
BODY_BYTES = 290
_SECONDS = 120.0


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
    command = [program, *where, "XADD", "raw:c", "*", "j", "x" * BODY_BYTES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    return float(list(csv.DictReader(io.StringIO(done.stdout)))[-1]["rps"])


def section(results: Results) -> Section:
    """Both rows."""
    rows: list[tuple[str, ...]] = []
    notes = []
    for name, title, metrics in (("python", "redis-py, asyncio", PYTHON), ("c", "benchmark program (C)", C)):
        figures = [results.figure(NAME, name, metric) for metric in metrics]
        rows.append((title, *(cell(figure) for figure in figures), *[""] * (len(PYTHON) - len(metrics))))
        notes += [figure.note for figure in figures if figure.note]
    columns = ("", *(f"{metric.title}, {metric.unit}" for metric in PYTHON))
    return Section(
        TITLE, text=TEXT, tables=[Table(TITLE, columns=columns, rows=list(rows), note="; ".join(dict.fromkeys(notes)))]
    )
