"""Slots: are there ever more than five jobs of a queue at once? The handlers count themselves; nothing is assumed."""

from __future__ import annotations

from bench.report import Figure, Section
from handlers.whatsapp.local import Rule

from .load import QUEUES, Player

LIMIT = 5
SLOW = Rule(fault="slow", seconds=0.1)
TEXT = """
Every handler of the application counts, when it is called and when it returns, how many of its queue run beside it in this
worker. Jobs of all three queues are enqueued at once, with a provider that takes up to 100 ms, so that every slot is wanted
all the time; the most that any load of this whole run reached is what stands here. Five must be reached, or nothing would
have been shown.
""".replace("\n", " ").strip()


async def never_exceeded(player: Player, jobs: int) -> Section:
    """Fill all three queues, and judge the most that ran at once in any load the player's tally knows."""
    played = await player.play("all-queues", jobs, rules=(SLOW,))
    figures = [
        Figure(f"{queue}: most at once", player.most_at_once.get(queue, 0), "jobs", at_least=LIMIT, at_most=LIMIT)
        for queue in QUEUES
    ]
    settings = {"jobs": f"{len(played.outcomes):,} in this load, {jobs:,} of each queue"}
    return Section("Five at once in each queue, never more", text=TEXT, settings=settings, figures=figures)
