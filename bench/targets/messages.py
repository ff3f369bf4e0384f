"""Messages: are they answered in time, at 100 a minute and at 100 a second?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.report import Figure, Line, Plot, Section, percentile
from handlers.whatsapp.local import Rule

from .load import Played, Player

LIMIT_MS = 5_000.0
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
    """Seconds of each load: at 100 a minute, at 100 a second."""

    minute: float = 36.0
    second: float = 20.0


QUICK = Sizes(minute=6.0, second=3.0)


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
