"""Check: the verdict on a run. python -m bench.chaos.check DIR --url URL [--json FILE] [--self-test]

Reads the run's directory (journals, faults, settings) and Redis, and nothing else: so it can be asked again, on the same run, as
long as its server's data is kept. Exit 0: every law held; 1: a law was broken; 2: it can't be told (nothing there, still moving).
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import redis

from .figures import Figures, Spread, figures_of
from .journal import faults, read_settings, records
from .laws import Judged, judge
from .reading import StillMoving, read
from .selftest import Trial, self_test
from .story import Evidence, Story

WIDTH = 130
SHOWN = 5
"""Violations of one law in the table; the JSON has more."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found."""

    held: bool
    server: str
    took_seconds: float
    laws: list[Judged]
    figures: Figures
    trials: list[Trial] = []
    """Of a self-test: each planted violation, and the laws that saw it."""

    @property
    def broken(self) -> list[str]:
        """The names of the laws that were broken."""
        return [judged.law for judged in self.laws if not judged.held]


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
    began = time.monotonic()
    evidence, server = gather(directory, url)
    story = Story(evidence)
    laws = judge(story)
    trials = self_test(evidence) if is_self_test else []
    held = all(judged.held for judged in laws) and all(trial.held for trial in trials)
    return Verdict(
        held=held, server=server, took_seconds=time.monotonic() - began, laws=laws, figures=figures_of(story), trials=trials
    )


# --- as text ---------------------------------------------------------------------------------------------------------


def to_text(verdict: Verdict) -> str:
    """The verdict for a terminal."""
    return "\n".join([*_figures(verdict.figures), "", *_laws(verdict.laws), *_trials(verdict.trials), "", _last(verdict)]) + "\n"


def _figures(f: Figures) -> Iterator[str]:
    faults = ", ".join(f"{kind} {count}" for kind, count in f.faults.items()) or "none"
    yield from textwrap.wrap(f"faults       {sum(f.faults.values())}: {faults}", WIDTH, subsequent_indent=" " * 13)
    yield f"enqueues     {f.asked:,} asked, {f.acked:,} acknowledged, {f.unknown:,} unknown at first, {f.refused:,} refused"
    ended = ", ".join(f"{count:,} {state}" for state, count in f.ended.items())
    yield f"jobs         {f.jobs:,}: {ended or 'none ended'}"
    yield (
        f"starts       {f.starts:,}: {f.failures:,} failed attempts, {f.snoozes:,} snoozes, {f.crashes:,} ended their process, "
        f"{f.extra:,} extra ({f.released:,} given back) of {f.entitled:,} that the faults entitle to"
    )
    yield f"leases lost  {f.stalls:,}; {f.late:,} starts by workers that did not know yet"
    yield f"started anew {_spread(f.recovery)}; with the server away or struck again: {_spread(f.recovery_disturbed)}"
    yield f"server back  {_spread(f.restart)} until the next start"
    yield f"delayed jobs {_spread(f.lateness)} after their time, where no fault was on"
    yield (
        f"longest      {f.longest_stall:.2f} s in which jobs could run and none started; enqueue call {f.longest_enqueue:.2f} s; "
        f"draining {f.drain:.1f} s"
    )


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "none"
    return f"{spread.count:,} in p50 {spread.p50:.2f} s, p99 {spread.p99:.2f} s, most {spread.most:.2f} s"


def _laws(laws: Sequence[Judged]) -> Iterator[str]:
    for judged in laws:
        verdict = "held" if judged.held else f"BROKEN {judged.count:,} times"
        looked = f"{judged.looked:,} looked at" if judged.looked else "nothing to look at"
        yield f"{judged.law:<20} {verdict:<22} {looked}"
        for violation in judged.violations[:SHOWN]:
            yield from textwrap.wrap(
                f"{violation.job}: {violation.what}", WIDTH - 6, initial_indent=" " * 4, subsequent_indent=" " * 6
            )
        if judged.count > SHOWN:
            yield f"    ... and {judged.count - SHOWN:,} more"


def _trials(trials: Sequence[Trial]) -> Iterator[str]:
    if trials:
        yield ""
    for trial in trials:
        seen = "seen by " + ", ".join(trial.broken) if trial.broken else "seen by nobody"
        yield f"planted: {trial.name:<58} {'ok' if trial.held else 'NOT SEEN' if trial.was_planted else 'not planted'}  {seen}"


def _last(verdict: Verdict) -> str:
    told = f"{verdict.server}, judged in {verdict.took_seconds:.1f} s"
    if verdict.held:
        return f"All {len(verdict.laws)} laws held ({told})."
    blind = [trial.name for trial in verdict.trials if not trial.held]
    parts = [f"broken: {', '.join(verdict.broken)}"] if verdict.broken else []
    parts += [f"planted and not seen: {', '.join(blind)}"] if blind else []
    return f"{'; '.join(parts)} ({told})."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.check", description="The verdict on a run of bench.chaos.")
    parser.add_argument("directory", type=Path, help="the run's directory")
    parser.add_argument("--url", required=True, help="the run's server: redis://..., unix://...")
    parser.add_argument("--json", type=Path, help="write the verdict there as well")
    parser.add_argument("--self-test", action="store_true", help="plant violations in what was read: each must be seen")
    options = parser.parse_args(arguments)
    try:
        verdict = check(options.directory, options.url, is_self_test=options.self_test)
    except (OSError, msgspec.DecodeError, StillMoving, redis.RedisError) as error:
        print(f"can't be told: {error}", file=sys.stderr)
        return 2
    print(to_text(verdict), end="")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(verdict), indent=1))
    return 0 if verdict.held else 1


if __name__ == "__main__":
    sys.exit(main())
