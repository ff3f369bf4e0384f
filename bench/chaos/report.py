"""Report: a run as figures and tables: what was asked, which faults came, what the checker found, and what repeats it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from bench.report import Cell, Figure, Section, Table

from .journal import Fault, Record, acknowledged
from .kinds import COMMON, RARE
from .outcome import Outcome
from .schedule import Planned

BY_JOBS = 1_000_000
"""Faults with numbers from here on are what jobs did."""
IN_JOBS = {
    "blocks": "the event loop blocked for longer than a lease",
    "deaf": "a handler that swallows its cancellation",
    "exits": "a handler that ends its process",
    "poison": "a handler that kills its process at each start",
    "quits": "a handler that calls sys.exit()",
    "hangs": "a handler that runs into its timeout",
    "undecodable": "a payload that does not decode",
}


def faults_table(schedule: Sequence[Planned], faults: Iterable[Fault]) -> Table:
    """Every kind of the schedule: how often it was due, how often it was injected, and how often in place of another."""
    due = Counter(one.kind for one in schedule)
    done, instead, why = Counter[str](), Counter[str](), defaultdict[str, Counter[str]](Counter)
    for fault in faults:
        if fault.i < BY_JOBS:
            done[fault.kind] += fault.injected
            instead[fault.kind] += fault.injected and bool(fault.instead_of)
            if not fault.injected:
                why[fault.kind][fault.note] += 1
    rows: list[tuple[Cell, ...]] = [
        (kind, due[kind], done[kind], instead[kind], "; ".join(f"{note} ({n})" for note, n in why[kind].items()))
        for kind in sorted(due | done)
    ]
    rows.append(("all", sum(due.values()), sum(done.values()), sum(instead.values()), ""))
    columns = ("fault", "due", "injected", "of them in place of another", "not injected, because")
    return Table("Faults of the schedule", columns, rows, ours="all")


def asked_for(jobs: int | None, schedule: Sequence[Planned], faults: Iterable[Fault], records: Sequence[Record]) -> Section:
    """Whether the run came to as many jobs and faults as it was asked for."""
    done = sum(fault.injected for fault in faults if fault.i < BY_JOBS)
    figures = [
        Figure("jobs acknowledged", acknowledged(records), at_least=jobs),
        Figure("faults injected", done, at_least=len(schedule)),
    ]
    return Section("What was asked for", figures=figures)


def jobs_faults_table(records: Sequence[Record]) -> Table:
    """Faults that jobs of the run are themselves, by their starts."""
    starts = Counter(one.kind for one in records if one.what == "start")
    asked = Counter(one.kind for one in records if one.what == "ask")
    rows: list[tuple[Cell, ...]] = [(what, asked[kind], starts[kind]) for kind, what in IN_JOBS.items() if asked[kind]]
    return Table("Faults that jobs are", ("fault", "jobs", "starts"), rows)


def jobs_table(records: Sequence[Record]) -> Table:
    """What producers asked and were told, by kind."""
    count: dict[str, Counter[str]] = defaultdict(Counter)
    for one in records:
        if one.what in ("ask", "unknown", "refused"):
            count[one.kind][one.what] += 1
        elif one.what == "acked":
            count[one.kind][one.how or "acked"] += 1
    columns = ("ask", "new", "duplicate", "unknown", "repeated", "counted", "refused")
    rows: list[tuple[Cell, ...]] = [
        (kind, *(count[kind][column] for column in columns)) for kind in (*COMMON, *RARE) if kind in count
    ]
    rows.append(("all", *(sum(one[column] for one in count.values()) for column in columns)))
    titles = (
        "kind",
        "asked",
        "acknowledged",
        "as a duplicate",
        "unknown at first",
        "told on repeating",
        "told by number",
        "refused",
    )
    return Table("Jobs", titles, rows, ours="all")


def liveness(outcome: Outcome) -> Section:
    """Whether everything was settled in time once faults and load had ended."""
    left = ", ".join(f"{count} of {queue}" for queue, count in outcome.left.items())
    note = f"not settled: {left}" if left else outcome.bound_why
    figures = [
        Figure("drained after", outcome.drained_s, "s", at_most=round(outcome.bound_s, 1), note=note),
        Figure("starts of workers that found no server", outcome.not_started),
        Figure("workers that ended by themselves", len(outcome.odd_ends), at_most=0, note="; ".join(outcome.odd_ends)),
    ]
    return Section("Liveness", "No more faults, no more jobs: everything must be settled within the bound.", figures=figures)
