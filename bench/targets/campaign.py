"""Campaigns: is the pace that was asked for the pace that is seen, and how fast is it without one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import Figure, Line, Plot, Section, percentile

from .load import Played, Player

LEAST_A_MINUTE = 100
PACES = (600, 6000)
EXACT = 0.01
"""A pace within 1 % of the one asked for is that pace."""
TEXT = """
Paced: the messages of a campaign are enqueued ahead, each due (`at=`) at its own instant, so the pace is in their due
times; the engine's promoter has to keep it. The pace seen is that of the handlers' starts. Unpaced: one `send-campaign` job
plans the whole list and enqueues a `send-campaign-message` a recipient, which are sent as fast as a pool of 5 does; from
the moment the campaign is enqueued to the one at which its last message is recorded as completed.
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of each paced run, recipients of the unpaced one."""

    paced: float = 20.0
    recipients: int = 5000


QUICK = Sizes(paced=2.0, recipients=300)


async def campaigns(player: Player, sizes: Sizes) -> Section:
    """Both."""
    figures: list[Figure] = []
    lines: list[Line] = []
    for pace in PACES:
        played = await player.play("paced", round(pace * sizes.paced / 60), sizes.paced)
        figures += _paced(pace, played)
        lines.append(Line(f"{pace:,} a minute", per_second([one.started for one in played.outcomes])))
    whole = await player.play("campaign", sizes.recipients)
    figures.insert(0, _unpaced(whole, sizes.recipients))
    plot = Plot("Campaign messages started in each second", "second", "messages", lines)
    return Section("Campaigns keep their pace", text=TEXT, settings={"pool": "5"}, figures=figures, plots=[plot])


def _unpaced(whole: Played, recipients: int) -> Figure:
    ended = [one.settled for one in whole.ran if one.name == "send-campaign-message"]
    seconds = max(ended) - whole.outcomes[0].planned
    note = f"{len(ended):,} messages in {seconds:.1f} s, planning included"
    if len(ended) != recipients:
        return Figure("unpaced", None, "a minute", at_least=LEAST_A_MINUTE, note=f"{len(ended):,} of {recipients:,} messages ran")
    return Figure("unpaced", len(ended) / seconds * 60, "a minute", at_least=LEAST_A_MINUTE, note=note)


def _paced(pace: int, played: Played) -> list[Figure]:
    starts = sorted(one.started for one in played.outcomes)
    late_ms = [(one.started - one.planned) * 1000 for one in played.outcomes]
    seen = pace_of(starts)
    asked = f"paced at {pace:,} a minute"
    worst = f"p50 {percentile(late_ms, 0.5):.1f}, longest {max(late_ms):.1f} ms"
    return [
        Figure(f"{asked}: seen", seen, "a minute", at_least=pace * (1 - EXACT), at_most=pace * (1 + EXACT)),
        Figure(f"{asked}: most in any second", most_in_a_second(starts), note=f"{pace / 60:g} asked for"),
        Figure(f"{asked}: started late by, p99", percentile(late_ms, 0.99), "ms", note=worst),
        Figure(f"{asked}: started early by, most", max(-min(late_ms), 0.0), "ms", at_most=1.0, note="due times are whole ms"),
    ]


def pace_of(starts: Sequence[float]) -> float:
    """Starts a minute, from the first to the last.

    >>> pace_of([0.0, 0.5, 1.0, 1.5])
    120.0
    """
    return (len(starts) - 1) / (starts[-1] - starts[0]) * 60


def most_in_a_second(starts: Sequence[float]) -> int:
    """The most of these (ordered) instants that any second holds, wherever it begins.

    >>> most_in_a_second([0.0, 0.9, 1.1, 1.2, 5.0])
    3
    """
    most = first = 0
    for last, instant in enumerate(starts):
        while instant - starts[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def per_second(starts: Sequence[float]) -> list[tuple[float, float]]:
    """How many started in each whole second from the first on; the last, unfinished one is left out."""
    begin = min(starts)
    counts = [0] * (int(max(starts) - begin) + 1)
    for instant in starts:
        counts[int(instant - begin)] += 1
    return [(second + 1.0, float(count)) for second, count in enumerate(counts[:-1] or counts)]
