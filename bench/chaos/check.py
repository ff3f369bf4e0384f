"""Check: the verdict on a run. python -m bench.chaos.check DIR --url URL [--json FILE] [--self-test]

Reads the run's directory (journals, faults, settings) and Redis, and nothing else: so it can be asked again, on the same run, as
long as its server's data is kept. Exit 0: every law held; 1: a law was broken; 2: it can't be told (nothing there, still moving).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import redis

from bench.report import Report, to_json
from bench.report_text import to_text

from .figures import figures_of
from .journal import faults, read_settings, records
from .laws import judge
from .reading import StillMoving, read
from .selftest import self_test
from .story import Evidence, Story
from .verdict import Verdict, sections


def gather(directory: Path, url: str) -> tuple[Evidence, str]:
    """Everything that is known of a run, and which server it ran on.

    Raises:
        OSError, msgspec.DecodeError: `directory` holds no run.
        StillMoving: stop its workers and producers, then ask again.
        redis.RedisError: the server is away.
    """
    settings, written, struck = read_settings(directory), records(directory), faults(directory)
    reading = read(url)
    evidence = Evidence(
        settings=settings, records=written, faults=struck, queues=reading.queues, clock_ahead_ms=reading.clock_ahead_ms
    )
    return evidence, reading.server


def check(directory: Path, url: str, *, is_self_test: bool = False) -> Verdict:
    """Judge a run; errors as `gather`."""
    began_mono = time.monotonic()
    evidence, server = gather(directory, url)
    story = Story(evidence)
    laws, figures = judge(story), figures_of(story)
    trials = self_test(evidence) if is_self_test else []
    return Verdict(
        server=server,
        seconds=time.monotonic() - began_mono,
        laws=laws,
        figures=figures,
        lease_s=max((queue.lease_ms for queue in story.settings.queues.values()), default=0) / 1000,
        enqueue_timeout_s=story.settings.enqueue_timeout_ms / 1000,
        trials=trials,
    )


def report_of(verdict: Verdict, evidence_command: str, versions: dict[str, str], command: str) -> Report:
    """The verdict as a report of its own."""
    return Report(
        title="Chaos, checked",
        about="A run of bench.chaos, judged by its journals and by what Redis holds.",
        command=command,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=verdict.seconds,
        machine={},
        versions=versions,
        settings={"the run": evidence_command},
        sections=sections(verdict),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.check", description="The verdict on a run of bench.chaos.")
    parser.add_argument("directory", type=Path, help="the run's directory")
    parser.add_argument("--url", required=True, help="the run's server: redis://..., unix://...")
    parser.add_argument("--json", type=Path, help="write the verdict there as well")
    parser.add_argument("--self-test", action="store_true", help="plant violations in what was read: each must be seen")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.directory)
        verdict = check(options.directory, options.url, is_self_test=options.self_test)
    except (OSError, msgspec.DecodeError, StillMoving, redis.RedisError) as error:
        print(f"can't be told: {error}", file=sys.stderr)
        return 2
    command = f"python -m bench.chaos.check {options.directory} --url {options.url}"
    report = report_of(verdict, settings.command, settings.versions, command)
    print(to_text(report), end="")
    if options.json:
        options.json.write_bytes(to_json(report) + b"\n")
    return 0 if verdict.held else 1


if __name__ == "__main__":
    sys.exit(main())
