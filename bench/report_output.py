"""Report's way out: what a bench command adds to its options, what it ran on, and text, JSON and page where they belong."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine import Clock
from engine.fleet import run

from .report import Report, to_json
from .report_html import to_html
from .report_text import to_text

LIBRARIES = ("redis", "hiredis", "uvloop", "msgspec")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--json FILE` and `--html FILE`; `-` is standard output, and then the text goes to standard error."""
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON; - for standard output")
    parser.add_argument("--html", metavar="FILE", help="also write a page with plots, all in one file; - for standard output")


def deliver(report: Report, options: argparse.Namespace, *, judge: bool = True) -> int:
    """Print the text, write what was asked for. The command's exit code: 1 when a target was missed (with `judge`), else 0."""
    is_taken = "-" in (options.json, options.html)
    print(to_text(report), end="", file=sys.stderr if is_taken else sys.stdout)
    if options.json:
        _write(options.json, to_json(report) + b"\n")
    if options.html:
        _write(options.html, to_html(report).encode())
    return 1 if judge and report.missed else 0


def deliver_run(measure: Callable[[Clock], Awaitable[Report]], options: argparse.Namespace) -> int:
    """Measure on the engine's event loop, then `deliver`; the command's exit code."""
    reports: list[Report] = []

    async def inner() -> bool:
        reports.append(await measure(Clock()))
        return True

    run(inner())
    return deliver(reports[0], options)


def _write(where: str, data: bytes) -> None:
    if where == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(where).write_bytes(data)


def now() -> str:
    """This instant as a report has it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def command_line(module: str) -> str:
    """The command as it was typed: `python -m bench.targets --quick`."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def machine() -> dict[str, str]:
    """What the figures depend on most. The load is that of the minute before: other work on the machine is noise here."""
    load = f"{os.getloadavg()[0]:.2f} over the last minute" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count() or "unknown"),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "load before": load,
    }


def versions(**more: str) -> dict[str, str]:
    """Of Python, the engine (with its commit) and what carries it; `more` are the caller's own."""
    found = {"Python": f"{platform.python_implementation()} {platform.python_version()}", "engine": _engine()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, **more}


def _engine() -> str:
    from engine import __version__

    described = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*")
    try:
        commit = subprocess.run(described, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__  # an installed copy, or no git here
    return f"{__version__} at {commit}"


def _memory() -> str:
    total = _proc("meminfo", "MemTotal")
    return f"{int(total.split()[0]) / 1024**2:.0f} GiB" if total else "unknown"


def _proc(name: str, field: str) -> str:
    """The first value of that field in a file of /proc; '' where there is none."""
    try:
        lines = Path("/proc", name).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
