"""Verdict: what the checker found, and how it is shown: laws with their violations, what the faults cost, how soon work went
on."""

from __future__ import annotations

import msgspec

from bench.report import Cell, Figure, Section, Table

from .figures import Figures, Spread
from .laws import Judged
from .selftest import Trial

SHOWN = 5
"""Violations of a law that are shown; the count tells how many there are."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run."""

    server: str
    seconds: float
    """What reading and judging took."""
    laws: list[Judged]
    figures: Figures
    lease_s: float
    enqueue_timeout_s: float
    trials: list[Trial] = []
    """Of a self-test: each planted violation, and the laws that saw it."""

    @property
    def held(self) -> bool:
        """Every law held, and every planted violation was seen."""
        return all(judged.held for judged in self.laws) and all(trial.held for trial in self.trials)

    @property
    def broken(self) -> list[str]:
        """The names of the laws that were broken."""
        return [judged.law for judged in self.laws if not judged.held]


def sections(verdict: Verdict) -> list[Section]:
    """As parts of a report: a broken law is a missed figure."""
    return [_laws(verdict), _costs(verdict), *([_trials(verdict.trials)] if verdict.trials else [])]


def _laws(verdict: Verdict) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (judged.law, judged.looked or "nothing there", Figure(judged.law, judged.count, at_most=0)) for judged in verdict.laws
    ]
    broken = [judged for judged in verdict.laws if not judged.held]
    return Section(
        "Laws",
        "Judged from the journals of producers and handlers and from what Redis holds, read without any code of the engine. "
        f"{verdict.server}; {verdict.seconds:.1f} s.",
        figures=[Figure(judged.law, judged.count, "violations", note=_words(judged)) for judged in broken],
        tables=[Table("Laws", ("law", "looked at", "violations"), rows)],
    )


def _words(judged: Judged) -> str:
    shown = [f"{violation.job}: {violation.what}" for violation in judged.violations[:SHOWN]]
    more = [f"and {judged.count - SHOWN:,} more"] if judged.count > SHOWN else []
    return "; ".join([*shown, *more]) + f". The law: {judged.says}"


def _costs(verdict: Verdict) -> Section:
    f = verdict.figures
    figures = [
        Figure("jobs", f.jobs, note=", ".join(f"{count:,} {state}" for state, count in f.ended.items())),
        Figure("starts", f.starts, note=f"{f.failures:,} failed, {f.snoozes:,} snoozed, {f.crashes:,} ended their process"),
        Figure("starts that faults explain", f.extra, note=_causes(f)),
        Figure("of them, still running when their process was struck", f.extra - f.settling, at_most=f.entitled),
        Figure("leases lost", f.stalls),
        Figure(
            "starts after the end was recorded",
            f.late,
            note="by workers that had been frozen and did not know yet" if f.late else "",
        ),
        *_spread("a lost worker's job started anew after", f.recovery, verdict.lease_s + 2),
        *_spread("the same, with the server away, a longer lease, or struck again", f.recovery_disturbed),
        *_spread("the next start after the server's return", f.restart, 2.0, f.restart_during),
        *_spread("a delayed job's start after its time, no fault on", f.lateness),
        Figure(
            "longest time in which jobs could run and none started", round(f.longest_stall, 3), "s", note=_with(f.stall_during)
        ),
        Figure("longest enqueue call", f.longest_enqueue, "s", at_most=verdict.enqueue_timeout_s + 1.0),
    ]
    return Section("What the faults cost", figures=figures)


def _causes(f: Figures) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in f.explained.items())


def _with(during: str) -> str:
    return f"(with {during})" if during else ""


def _spread(name: str, spread: Spread, aim: float | None = None, during: str = "") -> list[Figure]:
    if not spread.count:
        return []
    note = f"p99 of {spread.count:,}; median {spread.p50:.2f} s, most {spread.most:.2f} s {_with(during)}".rstrip()
    return [Figure(name, round(spread.p99, 3), "s", aim=aim, note=note)]


def _trials(trials: list[Trial]) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (trial.name, trial.law, Figure(trial.name, int(trial.held), at_least=1) if trial.was_planted else "nobody to plant it in")
        for trial in trials
    ]
    return Section(
        "Self-test",
        "Violations planted in this run, one at a time; the law that is meant for each must see it.",
        tables=[Table("Planted", ("violation", "law", "seen"), rows)],
    )
