"""Results: what was measured, as plain data: a reading a run, metrics that say which way is better, medians of readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.report import Figure, middle


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run gave. `value` None: nothing, and `note` is the reason. `is_floor`: at least so much, we stopped waiting."""

    value: float | None
    note: str = ""
    is_floor: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One column."""

    name: str
    title: str
    unit: str
    better: Literal["more", "less"]
    is_main: bool = False
    """Worth bars of its own and a line in the summary."""


Readings = dict[str, Reading | float]
"""Metric's name -> what a run gave."""


@dataclass(slots=True)
class Results:
    """Everything measured so far."""

    found: dict[tuple[str, str, str], list[Reading]] = field(default_factory=dict)
    """(workload, contender, metric) -> a reading a run."""
    loads: list[float] = field(default_factory=list)
    """The machine's load (1-minute average) after each run: where others were at work too, figures are low and wide."""

    def add(self, workload: str, contender: str, readings: Readings) -> None:
        """One run's readings."""
        for metric, given in readings.items():
            reading = given if isinstance(given, Reading) else Reading(given)
            self.found.setdefault((workload, contender, metric), []).append(reading)

    def failed(self, workload: str, contender: str, metrics: Sequence[Metric], reason: str) -> None:
        """A run that gave nothing, for that reason."""
        self.add(workload, contender, {metric.name: Reading(None, reason) for metric in metrics})

    def readings(self, workload: str, contender: str, metric: str) -> list[Reading]:
        """What the runs gave; empty when it was not tried."""
        return self.found.get((workload, contender, metric), [])

    def figure(self, workload: str, contender: str, metric: Metric) -> Figure:
        """Median and spread over the runs that gave something; without any, the reason."""
        readings = self.readings(workload, contender, metric.name)
        values = [reading.value for reading in readings if reading.value is not None]
        notes = list(dict.fromkeys(reading.note for reading in readings if reading.note))
        if not readings:
            notes = ["not measured"]
        failed = len(readings) - len(values)
        if values and failed:
            notes.insert(0, f"{failed} of {len(readings)} runs gave nothing")
        return Figure.of_runs(metric.title, values, metric.unit, note="; ".join(notes))

    def is_floor(self, workload: str, contender: str, metric: str) -> bool:
        """Whether the median itself is only known to be at least that."""
        readings = self.readings(workload, contender, metric)
        return 2 * sum(reading.is_floor for reading in readings) > len(readings)

    def median(self, workload: str, contender: str, metric: str) -> float | None:
        """The median, None without any value."""
        values = [r.value for r in self.readings(workload, contender, metric) if r.value is not None]
        return middle(values) if values else None


def failure(error: BaseException) -> str:
    """An exception as a cell's reason."""
    return str(error) or type(error).__name__
