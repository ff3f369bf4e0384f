"""Tables: results as sections of a report: a table a workload with medians and spreads, bars for what matters most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bench.report import DASH, Bar, Bars, Figure, Plot, Section, Table, number

from .contender import Contender
from .results import Metric, Results

OURS = "engine"


class Shown(Protocol):
    """What of a workload a section needs."""

    @property
    def name(self) -> str:
        """Its key in the results."""

    @property
    def title(self) -> str:
        """What a reader calls it."""

    @property
    def text(self) -> str:
        """How it is measured."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Its columns."""


def section(workload: Shown, contenders: Sequence[Contender], results: Results) -> Section:
    """A workload's answer."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for contender in contenders:
        figures = [results.figure(workload.name, contender.name, metric) for metric in workload.metrics]
        floors = [results.is_floor(workload.name, contender.name, metric.name) for metric in workload.metrics]
        spreads = [metric.is_main for metric in workload.metrics]
        rows.append((contender.title, *map(cell, figures, floors, spreads)))
        said = list(dict.fromkeys(part for figure in figures for part in figure.note.split("; ") if part))
        if said:
            notes.append(f"{contender.title}: {'; '.join(said)}.")
    columns = ("", *(f"{m.title}, {m.unit}" if m.unit and m.unit not in m.title else m.title for m in workload.metrics))
    plots: list[Plot | Bars] = [bars(workload, metric, contenders, results) for metric in workload.metrics if metric.is_main]
    table = Table(workload.title, columns=columns, rows=list(rows), ours=OURS, note=" ".join(notes))
    return Section(workload.title, text=workload.text, tables=[table], plots=plots)


def cell(figure: Figure, is_floor: bool = False, with_spread: bool = True) -> str:
    """A median as it stands in a table: `5,120 (4,890..5,300)`, `> 330`, a dash."""
    if figure.value is None:
        return DASH
    if is_floor:
        return f"> {number(figure.value)}"
    if not with_spread or figure.runs < 2 or figure.low is None or figure.high is None:
        return number(figure.value)
    return f"{number(figure.value)} ({number(figure.low)}..{number(figure.high)})"


def bars(workload: Shown, metric: Metric, contenders: Sequence[Contender], results: Results) -> Bars:
    """One metric of all contenders; spread as whiskers, reasons where there is no value."""
    found = []
    for contender in contenders:
        figure = results.figure(workload.name, contender.name, metric)
        note = figure.note if figure.value is None or results.is_floor(workload.name, contender.name, metric.name) else ""
        found.append(Bar(contender.title, figure.value, low=figure.low, high=figure.high, note=note))
    values = [bar.value for bar in found if bar.value]
    is_wide = bool(values) and min(values) > 0 and max(values) / min(values) > 50
    which = "more is better" if metric.better == "more" else "less is better"
    return Bars(f"{workload.title}: {metric.title} ({which})", metric.unit, bars=found, ours=OURS, log=is_wide)


def settings_section(contenders: Sequence[Contender], absent: dict[str, str]) -> Section:
    """What each contender ran as, with which settings and why."""
    tables = []
    for contender in contenders:
        told = contender.description
        rows: list[tuple[str, str, str]] = [
            ("runs as", told.runs_as, ""),
            ("bulk enqueue", told.bulk, ""),
            *told.settings,
        ]
        versions = ", ".join(f"{name} {version}" for name, version in told.versions.items())
        tables.append(Table(f"{contender.title}: {versions}", columns=("setting", "value", "reason"), rows=list(rows)))
    missing = "".join(f"\n\n{name} did not run: {reason}." for name, reason in absent.items())
    text = "Each as a careful production user would have it; what is not named is the library's default." + missing
    return Section("Who ran, and how", text=text, tables=tables)
