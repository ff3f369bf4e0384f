"""Messages: are they answered in time? At 100 a minute, at 100 a second, and up to the highest rate that stays under 50 ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import Figure, Line, Plot, Section, percentile
from bench.stage import Fsync, Stage
from engine import Clock
from handlers.whatsapp.local import Rule

from .load import NeverDrained, Played, Player
from .search import best, next_rate

LIMIT_MS, SEARCH_LIMIT_MS = 5_000.0, 50.0
SLOW = Rule(fault="slow", seconds=1.0)
"""A provider that takes up to a second, half of one on average: slower than the real one is on most days."""
TEXT = """
Each message goes the whole way of the application: `process-message` marks it read, looks up the sender's booking, decides
on an answer (a durable step), sends it (another one) through the local provider, which appends to a file and fetches
nothing. Latency is counted from the instant at which the message was planned to be sent to the one at which the server had
its completion recorded. Instants are fixed beforehand, spread at random over the time of the load (a Poisson process with a
known count); 500 conversations, each in order. Producer, worker (`engine run`) and server are processes of their own on
this one machine.
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of each load and of each step of the search, and where the search begins and ends (messages a second)."""

    minute: float = 36.0
    second: float = 20.0
    start: float = 100.0
    step: float = 5.0
    most: float = 6400.0


QUICK = Sizes(minute=12.0, second=4.0, step=2.0)


async def answered_in_time(player: Player, sizes: Sizes) -> Section:
    """The two rates the users named."""
    minute = await player.play("messages", round(sizes.minute * 100 / 60), sizes.minute)
    slow = await player.play("messages", round(sizes.minute * 100 / 60), sizes.minute, rules=(SLOW,))
    second = await player.play("messages", round(sizes.second * 100), sizes.second)
    named = {
        "100 a minute": minute,
        "100 a minute, provider takes up to 1 s": slow,
        "100 a second": second,
    }
    figures = [figure for name, played in named.items() for figure in _figures(name, played)]
    late = [(one.sent - one.planned) * 1000 for one in second.outcomes]
    figures.append(
        Figure(
            "producer late by, p99, at 100 a second", percentile(late, 0.99), "ms", note="its own lateness; counted in all above"
        )
    )
    return Section(
        "Messages are answered in time",
        text=TEXT,
        settings={
            "handlers": "the application's own, pool of 5, local provider",
            "seconds": f"{sizes.minute:g}, {sizes.second:g}",
        },
        figures=figures,
        plots=[distribution(named)],
    )


def _figures(name: str, played: Played) -> list[Figure]:
    latencies = played.latencies_ms
    count = f"of {len(latencies):,} messages"
    others = ", ".join(f"p{share:g} {percentile(latencies, share / 100):.1f}" for share in (50, 99, 100))
    waited = f"until its handler started, p95 {percentile(played.waits_ms, 0.95):.1f} ms"
    return [Figure(f"p95 at {name}", played.p95_ms, "ms", at_most=LIMIT_MS, note=f"{count}; {others} ms; {waited}")]


def distribution(named: dict[str, Played]) -> Plot:
    """How the latencies of several loads are spread."""
    shares = [1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 100]
    lines = [
        Line(
            name.replace("100 ", "").replace("provider takes up to 1 s", "slow"),
            [(share, percentile(played.latencies_ms, share / 100)) for share in shares],
        )
        for name, played in named.items()
    ]
    return Plot("Latency by share of messages", "percent of messages at or below", "ms", lines, log_y=True)


# --- the highest rate ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried."""

    rate: float
    p95_ms: float
    held: bool


async def highest_rate(clock: Clock, sizes: Sizes, fsyncs: Sequence[Fsync], most_at_once: dict[str, int]) -> Section:
    """By steps, for each way of writing the append-only file. `most_at_once` is added to (see `Player`)."""
    figures, lines = [], []
    for fsync in fsyncs:
        async with Stage(fsync, clock=clock) as stage:
            player = Player(stage, clock, most_at_once)
            steps = await _searched(player, sizes)
        rate = best([(step.rate, step.held) for step in steps])
        p95 = max((step.p95_ms for step in steps if step.rate == rate), default=0.0)
        note = f"p95 there {p95:.1f} ms" if rate else f"not even {min(step.rate for step in steps):g} a second held"
        figures.append(Figure(f"highest rate with p95 under 50 ms, fsync {fsync}", rate, "messages/s", note=note))
        lines.append(Line(f"fsync {fsync}", sorted((step.rate, step.p95_ms) for step in steps)))
    text = (
        "Rates are doubled until one fails, then what lies between is divided until 10 % are left. Steps of "
        f"{sizes.step:g} s, each with a fresh worker; one that fails is tried once more: a neighbour on the machine fails it too."
    )
    plot = Plot(
        "Latency against rate",
        "messages a second",
        "p95, ms",
        lines,
        log_x=True,
        log_y=True,
        target=SEARCH_LIMIT_MS,
        target_name="50 ms",
    )
    return Section("Highest rate that still answers within 50 ms", text=text, figures=figures, plots=[plot])


async def _searched(player: Player, sizes: Sizes) -> list[Step]:
    steps: list[Step] = []
    while (rate := next_rate([(step.rate, step.held) for step in steps], sizes.start, sizes.most)) is not None:
        step = await _tried(player, rate, sizes.step)
        steps.append(step if step.held else min(step, await _tried(player, rate, sizes.step), key=lambda one: one.p95_ms))
    return steps


async def _tried(player: Player, rate: float, seconds: float) -> Step:
    patience = 4 * seconds + 20
    try:
        played = await player.play("messages", max(round(rate * seconds), 20), seconds, patience=patience)
    except NeverDrained:
        return Step(rate, patience * 1000, held=False)  # at least
    return Step(rate, played.p95_ms, held=played.p95_ms <= SEARCH_LIMIT_MS)
