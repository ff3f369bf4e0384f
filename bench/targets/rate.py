"""Rate: the most messages a second that are still answered within 50 ms, for each way of writing the append-only file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import Figure, Line, Plot, Section
from bench.stage import Fsync, Stage
from engine import Clock

from .load import NeverDrained, Player
from .search import CLOSE, best, next_rate

LIMIT_MS = 50.0
"""Of the p95, from the planned instant to the recorded end."""
LEAST_RATE = 100.0
"""Messages a second that must hold: the second of the loads that users asked for."""
LEAST = 20
"""Messages of a step at least, so that there is a p95."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where the search begins and ends (messages a second), how long a step lasts, and how hard it looks."""

    start: float = 100.0
    most: float = 6400.0
    seconds: float = 5.0
    close: float = CLOSE
    """How close to the highest rate the search goes, as a ratio."""
    tries: int = 2
    """How often a rate that fails is tried: a neighbour on the machine fails it too."""


QUICK = Sizes(most=400.0, seconds=1.5, close=2.0, tries=1)


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried."""

    rate: float
    p95_ms: float
    held: bool


async def highest_rate(clock: Clock, sizes: Sizes, fsyncs: Sequence[Fsync], most_at_once: dict[str, int]) -> Section:
    """By steps. `most_at_once` is added to (see `Player`)."""
    figures, lines = [], []
    for fsync in fsyncs:
        async with Stage(fsync, clock=clock) as stage:
            steps = await _searched(Player(stage, clock, most_at_once), sizes)
        figures.append(found(fsync, steps))
        lines.append(Line(f"fsync {fsync}", sorted((step.rate, step.p95_ms) for step in steps)))
    text = (
        "Rates are doubled until one fails, then what lies between one that held and one that failed is divided until it is "
        f"{(sizes.close - 1) * 100:.0f} %. Steps of {sizes.seconds:g} s, each with a fresh worker; a rate fails when it failed "
        f"{'once' if sizes.tries == 1 else f'{sizes.tries} times'}, for a neighbour on the machine fails it too."
    )
    plot = Plot(
        "Latency against rate",
        "messages a second",
        "p95, ms",
        lines,
        log_x=True,
        log_y=True,
        target=LIMIT_MS,
        target_name="50 ms",
    )
    return Section("Highest rate that still answers within 50 ms", text=text, figures=figures, plots=[plot])


def found(fsync: Fsync, steps: Sequence[Step]) -> Figure:
    """The highest rate that held among these, and whether that is enough."""
    rate = best([(step.rate, step.held) for step in steps])
    p95 = max((step.p95_ms for step in steps if step.rate == rate), default=0.0)
    note = f"p95 there {p95:.1f} ms" if rate else f"not even {min(step.rate for step in steps):g} a second held"
    return Figure(f"highest rate with p95 under 50 ms, fsync {fsync}", rate, "messages/s", at_least=LEAST_RATE, note=note)


async def _searched(player: Player, sizes: Sizes) -> list[Step]:
    steps: list[Step] = []
    while (rate := _next(steps, sizes)) is not None:
        for _ in range(sizes.tries):
            step = await _tried(player, rate, sizes.seconds)
            if step.held:
                break
        steps.append(step)
    return steps


def _next(steps: Sequence[Step], sizes: Sizes) -> float | None:
    return next_rate([(step.rate, step.held) for step in steps], sizes.start, sizes.most, sizes.close)


async def _tried(player: Player, rate: float, seconds: float) -> Step:
    patience = 4 * seconds + 20
    try:
        played = await player.play("messages", max(round(rate * seconds), LEAST), seconds, patience=patience)
    except NeverDrained:
        return Step(rate, patience * 1000, held=False)  # at least
    return Step(rate, played.p95_ms, held=played.p95_ms <= LIMIT_MS)
