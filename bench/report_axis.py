"""Axis: from values to places on a drawing, and the round numbers worth a tick. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST = 1e-9
"""The smallest value a logarithmic axis tells from nothing."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps `low`..`high` to `start`..`end` (places on the drawing; `end` may be the smaller one)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value stands; what lies outside is put on the edge."""
        low, high, value = (_log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the axis, about `most`."""
        return powers(self.low, self.high, most) if self.log else steps(self.low, self.high, most)


def axis(values: list[float], start: float, end: float, *, log: bool = False, from_zero: bool = True) -> Axis:
    """An axis that holds all values, with a little air. On a `log` axis what is under LEAST is put on the edge."""
    usable = [v for v in values if math.isfinite(v) and (v >= LEAST or not log)]
    low, high = (min(usable), max(usable)) if usable else (1.0, 10.0)
    if log:
        low, high = (low / 1.5, high * 1.5) if low == high else (low / 1.1, high * 1.1)
        return Axis(low, high, start, end, log=True)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = low + (abs(low) or 1.0)
    air = (high - low) * 0.06
    return Axis(low if low == 0 else low - air, high if high == 0 else high + air, start, end)


def steps(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten.

    >>> steps(0, 29_000, 6)
    [0.0, 5000.0, 10000.0, 15000.0, 20000.0, 25000.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def powers(low: float, high: float, most: int) -> list[float]:
    """Powers of ten; with 2 and 5 times them when the axis is short, every so many when it is long.

    >>> powers(900, 1_100_000, 6), powers(8, 120, 6)
    ([1000.0, 10000.0, 100000.0, 1000000.0], [10.0, 20.0, 50.0, 100.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades * 3 <= most else (1, 3) if decades * 2 <= most else (1,)
    every = max(math.ceil((last - first) / (most + 1)), 1)
    found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [value for value in found if low <= value <= high]


def short(value: float) -> str:
    """A tick's label: `20k`, `1M`, `0.5`.

    >>> [short(v) for v in (0, 0.5, 950, 1000, 2500, 1_000_000)]
    ['0', '0.5', '950', '1k', '2.5k', '1M']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def apart(places: list[float], least: float, low: float, high: float) -> list[float]:
    """The same places, moved as little as needed so that neighbours are `least` apart; kept inside `low`..`high` if they fit.

    >>> apart([10, 11, 50], 10, 0, 100)
    [10, 20, 50]
    """
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = list(places)
    edge = low
    for n in order:
        moved[n] = edge = max(moved[n], edge)
        edge += least
    edge = high
    for n in reversed(order):
        moved[n] = edge = min(moved[n], edge)
        edge -= least
    return moved


def _log(value: float) -> float:
    return math.log10(max(value, LEAST))
