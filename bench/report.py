"""Report: what a bench found, as plain data. Figures with unit, target, verdict and spread; tables; plots; what repeats it.

`report_text`, `report_html` and `to_json` show the same data; nothing here measures, prints or draws.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import msgspec

Verdict = Literal["met", "missed"]
DASH = "–"
"""What stands where a contender has no number."""


class Figure(msgspec.Struct, frozen=True, tag="figure"):
    """One number. `value` None: it could not be measured (`note` says why), which misses a target it has."""

    name: str
    value: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None
    """A better value one would like to see; decides nothing."""
    low: float | None = None
    high: float | None = None
    """The spread over `runs` runs; `value` is their median."""
    runs: int = 1
    note: str = ""

    @classmethod
    def of_runs(cls, name: str, values: Sequence[float], unit: str = "", **more: Any) -> Self:
        """The median of several runs, with their spread. `more`: `at_least`, `at_most`, `aim`, `note`."""
        if not values:
            return cls(name, None, unit, **more)
        return cls(name, middle(values), unit, low=min(values), high=max(values), runs=len(values), **more)

    @property
    def verdict(self) -> Verdict | None:
        """None when it has no target."""
        if self.at_least is None and self.at_most is None:
            return None
        if self.value is None:
            return "missed"
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "met" if low <= self.value <= high else "missed"

    @property
    def shown(self) -> str:
        """Value and unit."""
        return f"{number(self.value)} {self.unit}".strip() if self.value is not None else DASH

    @property
    def target(self) -> str:
        """`at most 50 ms`, '' without a target."""
        parts = []
        if self.at_least is not None and self.at_least == self.at_most:
            parts.append(f"exactly {number(self.at_least)} {self.unit}")
        elif self.at_least is not None and self.at_most is not None:
            parts.append(f"{number(self.at_least)} to {number(self.at_most)} {self.unit}")
        elif self.at_least is not None:
            parts.append(f"at least {number(self.at_least)} {self.unit}")
        elif self.at_most is not None:
            parts.append(f"at most {number(self.at_most)} {self.unit}")
        if self.aim is not None:
            parts.append(f"aim {number(self.aim)}")
        return ", ".join(part.strip() for part in parts)

    @property
    def spread(self) -> str:
        """`27,900 to 30,100, 3 runs`; '' for a single run."""
        if self.low is None or self.high is None or self.runs == 1:
            return ""
        return f"{number(self.low)} to {number(self.high)}, {self.runs} runs"


Cell = str | int | float | Figure | None


class Table(msgspec.Struct, frozen=True, tag="table"):
    """Rows of cells; the first cell of a row names it. None is shown as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    ours: str = ""
    """The row whose first cell is this stands out."""
    note: str = ""


class Bar(msgspec.Struct, frozen=True):
    """One bar; `value` None leaves it out and shows the note in its place."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    """Contenders side by side on one scale."""

    title: str
    unit: str
    bars: list[Bar]
    ours: str = ""
    log: bool = False
    """For values that lie orders of magnitude apart."""
    note: str = ""


class Line(msgspec.Struct, frozen=True):
    """One series of a plot. `low_high`: the spread at each point, when known."""

    name: str
    points: list[tuple[float, float]]
    low_high: list[tuple[float, float]] | None = None


class Plot(msgspec.Struct, frozen=True, tag="plot"):
    """Lines over a common x."""

    title: str
    x: str
    y: str
    """What the axes mean, with their units."""
    lines: list[Line]
    ours: str = ""
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = True
    """Whether a linear y axis begins at 0: then a flat line is seen to be flat."""
    target: float | None = None
    target_name: str = ""
    note: str = ""


class Section(msgspec.Struct, frozen=True):
    """One question and its answer."""

    title: str
    text: str = ""
    """How it was measured and what it shows; an empty line separates paragraphs."""
    settings: dict[str, str] = {}
    figures: list[Figure] = []
    tables: list[Table] = []
    plots: list[Plot | Bars] = []


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    title: str
    about: str
    command: str
    """What repeats it."""
    started_at: str
    """ISO 8601, UTC."""
    seconds: float
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str] = {}
    sections: list[Section]

    @property
    def judged(self) -> list[tuple[str, Figure]]:
        """Every figure with a target, and where it stands (`section: row` for those in tables)."""
        return [(place, figure) for place, figure in self._figures() if figure.verdict is not None]

    @property
    def missed(self) -> list[str]:
        """Where targets were missed."""
        return [place for place, figure in self.judged if figure.verdict == "missed"]

    def _figures(self) -> Iterator[tuple[str, Figure]]:
        for section in self.sections:
            for figure in section.figures:
                yield f"{section.title}: {figure.name}", figure
            for table in section.tables:
                for row in table.rows:
                    for column, cell in zip(table.columns, row, strict=True):
                        if isinstance(cell, Figure):
                            yield f"{section.title}: {table.title}: {row_name(row)}: {column}", cell


def row_name(row: Sequence[Cell]) -> str:
    """The first cell of a row, as it is shown."""
    return cell_text(row[0]) if row else ""


def cell_text(cell: Cell) -> str:
    """A cell as it is read: numbers by `number`, a figure with its unit."""
    if cell is None:
        return DASH
    if isinstance(cell, str):
        return cell
    return cell.shown if isinstance(cell, Figure) else number(cell)


def number(value: float) -> str:
    """As all numbers here are written: whole from 1,000 on, three significant digits below.

    >>> [number(v) for v in (28970.4, 1000, 123.456, 12.345, 1.2345, 0.01999, 5, 0, -3.21)]
    ['28,970', '1,000', '123', '12.3', '1.23', '0.02', '5', '0', '-3.21']
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:.{min(max(digits, 0), 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def middle(values: Sequence[float]) -> float:
    """The median; the same run is not shown twice when their number is odd."""
    return float(statistics.median(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all do not exceed; nan of none.

    >>> percentile([5, 1, 2, 4, 3], 0.95), percentile([5, 1, 2, 4, 3], 0.5)
    (5, 3)
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Report).decode


def to_json(report: Report) -> bytes:
    """The report as JSON, with each figure's verdict for those who don't know the rule."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    _write_verdicts(plain["sections"], report)
    return msgspec.json.format(_encode({**plain, "missed": report.missed}), indent=1)


def from_json(data: bytes | str) -> Report:
    """What `to_json` wrote. Raises msgspec.DecodeError for anything else."""
    return _decode(data)


def _write_verdicts(sections: list[dict[str, Any]], report: Report) -> None:
    for plain, section in zip(sections, report.sections, strict=True):
        for entry, figure in zip(plain["figures"], section.figures, strict=True):
            entry["verdict"] = figure.verdict
        for entry, table in zip(plain["tables"], section.tables, strict=True):
            for row, cells in zip(entry["rows"], table.rows, strict=True):
                for at, cell in enumerate(cells):
                    if isinstance(cell, Figure):
                        row[at]["verdict"] = cell.verdict
