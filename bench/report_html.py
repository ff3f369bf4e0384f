"""Report as one page: complete in one file, no network, readable on a phone, light and dark as the reader's system has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .report import Cell, Figure, Report, Section, Table, cell_text
from .report_markup import Element, Inside, render, tag
from .report_plot import draw
from .report_text import verdict_line

STYLE = Path(__file__).with_name("report.css")


def to_html(report: Report) -> str:
    """The page as text."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", report.title),
        tag("style", STYLE.read_text(encoding="utf-8")),
    )
    body = tag("body", *_top(report), *(_section(section) for section in report.sections), _ran_on(report))
    return "<!doctype html>\n" + render(tag("html", head, body, lang="en")) + "\n"


def _top(report: Report) -> list[Element]:
    look = "verdict" + (" missed" if report.missed else " met" if report.judged else "")
    missed = tag("ul", *(tag("li", place) for place in report.missed)) if report.missed else None
    return [
        tag("h1", report.title),
        tag("p", report.about, class_="dim"),
        tag("div", tag("b", verdict_line(report)), missed, class_=look),
        tag("p", "Repeat with ", tag("code", report.command)),
    ]


def _section(section: Section) -> Element:
    inside: list[Inside] = [tag("h2", section.title)]
    inside += [tag("p", *_words(paragraph)) for paragraph in section.text.split("\n\n")] if section.text else []
    if section.figures:
        inside.append(_figures(section.figures))
    if section.plots:
        inside.append(tag("div", *(draw(plot) for plot in section.plots), class_="plots"))
    inside += [part for table in section.tables for part in _table(table)]
    if section.settings:
        inside.append(tag("details", tag("summary", "Settings"), _pairs(section.settings)))
    return tag("section", *inside)


def _words(paragraph: str) -> list[Inside]:
    """A text with what stands between backticks as code."""
    return [tag("code", part) if at % 2 else part for at, part in enumerate(paragraph.split("`"))]


def _figures(figures: list[Figure]) -> Element:
    has_targets = any(figure.verdict or figure.target for figure in figures)
    rows = []
    for figure in figures:
        name = tag("td", figure.name, _small(figure.note))
        value = tag("td", tag("span", figure.shown, class_="value-of"), _small(figure.spread), class_="n")
        rows.append(tag("tr", name, value, *([tag("td", figure.target), tag("td", _mark(figure))] if has_targets else [])))
    return tag("div", tag("table", *rows), class_="wide")


def _table(table: Table) -> list[Element]:
    head = tag("tr", *(tag("th", name, class_="n" if at else None) for at, name in enumerate(table.columns)))
    rows = []
    for row in table.rows:
        is_ours = bool(table.ours) and cell_text(row[0]) == table.ours
        cells = (tag("td", *_cell(cell), class_="n" if at else None) for at, cell in enumerate(row))
        rows.append(tag("tr", *cells, class_="ours" if is_ours else None))
    found = [tag("h3", table.title), tag("div", tag("table", head, *rows), class_="wide")]
    return [*found, tag("p", table.note, class_="note")] if table.note else found


def _cell(cell: Cell) -> list[Inside]:
    if not isinstance(cell, Figure):
        return [cell_text(cell)]
    mark = _mark(cell)
    return [cell.shown, " " if mark is not None else None, mark, _small(cell.spread), _small(cell.note)]


def _mark(figure: Figure) -> Element | None:
    return tag("span", figure.verdict, class_=f"mark {figure.verdict}") if figure.verdict else None


def _small(text: str) -> Element | None:
    return tag("small", text) if text else None


def _ran_on(report: Report) -> Element:
    took = {"started": report.started_at, "took": f"{report.seconds:,.0f} s"}
    return tag("section", tag("h2", "What it ran on"), _pairs({**took, **report.machine, **report.versions, **report.settings}))


def _pairs(pairs: Mapping[str, str]) -> Element:
    return tag("dl", *(part for name, value in pairs.items() for part in (tag("dt", name), tag("dd", value))))
