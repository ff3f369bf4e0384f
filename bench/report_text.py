"""Report as text, for a terminal of about 100 columns. Plots are left to the page: their figures stand in the tables too."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from .report import Cell, Figure, Report, Section, Table, cell_text

WIDTH = 100
MARKS = {"met": "met", "missed": "MISSED", None: ""}


def to_text(report: Report) -> str:
    """The whole report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield report.title
    yield "=" * len(report.title)
    yield from _wrapped(report.about)
    yield ""
    yield from _pairs({"repeat with": report.command, "started": report.started_at, "took": f"{report.seconds:,.0f} s"})
    yield from _pairs(report.machine)
    yield from _pairs(report.versions)
    yield from _pairs(report.settings)
    for section in report.sections:
        yield from _section(section)
    yield ""
    yield verdict_line(report)
    yield from (f"  missed  {place}" for place in report.missed)


def verdict_line(report: Report) -> str:
    """`All 9 targets met`, or how many were missed."""
    count = len(report.judged)
    if not count:
        return "No targets here: figures only."
    if not report.missed:
        return f"All {count} targets met." if count > 1 else "The target was met."
    return f"{len(report.missed)} of {count} target{'s' if count > 1 else ''} missed."


def _section(section: Section) -> Iterator[str]:
    yield ""
    yield section.title
    yield "-" * len(section.title)
    for paragraph in section.text.split("\n\n") if section.text else ():
        yield from _wrapped(paragraph)
    yield from _pairs(section.settings)
    if section.figures:
        for figure, line in zip(section.figures, _grid([_figure_row(f) for f in section.figures]), strict=True):
            yield line
            yield from _wrapped(figure.note, " " * 10)
    for table in section.tables:
        yield from _table(table)


def _figure_row(figure: Figure) -> list[str]:
    return [MARKS[figure.verdict], figure.name, figure.shown, figure.target, _in_brackets(figure.spread)]


def _table(table: Table) -> Iterator[str]:
    yield ""
    yield f"  {table.title}"
    rows = [[_cell(cell, is_first=at == 0) for at, cell in enumerate(row)] for row in table.rows]
    yield from _grid([list(table.columns), *rows], head=True, to_the_right=range(1, len(table.columns)))
    if table.note:
        yield from _wrapped(table.note)


def _cell(cell: Cell, *, is_first: bool) -> str:
    if not isinstance(cell, Figure) or is_first:
        return cell_text(cell)
    parts = [cell.shown, _in_brackets(cell.spread), MARKS[cell.verdict], cell.note]
    return " ".join(part for part in parts if part)


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


def _grid(rows: Sequence[Sequence[str]], *, head: bool = False, to_the_right: Sequence[int] = (2,)) -> Iterator[str]:
    """Rows in columns as wide as their widest cell; empty columns take no room."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if at in to_the_right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        yield ("  " + "  ".join(cells)).rstrip()
        if head and number == 0:
            yield "  " + "-" * min(sum(widths) + 2 * (len(cells) - 1), WIDTH - 2)


def _pairs(pairs: Mapping[str, str]) -> Iterator[str]:
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        lines = textwrap.wrap(value, max(WIDTH - width - 4, 40), break_long_words=False, break_on_hyphens=False) or [""]
        yield f"  {name.ljust(width)}  {lines[0]}".rstrip()
        yield from (f"  {'':{width}}  {line}" for line in lines[1:])


def _wrapped(text: str, indent: str = "  ") -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
