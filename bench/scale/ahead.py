"""Ahead: does an urgent job wait behind slow ones that the pool has claimed already?"""

from __future__ import annotations

from bench.feed import Feed
from bench.report import Figure, Line, Plot, Section, percentile

from .growth import PAST, Sizes
from .site import HOLD, NewSite

MOST_MS = 100.0
"""A pool claims ahead what it starts within 20 ms; with the job that runs (30 ms) that is a wait of tens of milliseconds."""
TEXT = """
A pool of 5 is busy with jobs that last 30 ms and never run out, while urgent jobs (priority 1) that last no time come at fixed
instants. A pool claims ahead by how long jobs of a name have lasted; when the urgent ones bear the name of the slow ones, the
handler is now fast, now slow, as many are that answer from a cache or skip what is done. Wait: from the planned instant to the
handler's start.
""".replace("\n", " ").strip()


async def ahead(sizes: Sizes, new_site: NewSite) -> Section:
    """Both, one after the other."""
    lines, figures = [], []
    async with new_site() as site:
        for kind, name in (("urgent", "of another name"), ("mixed", "of the same name as the slow ones")):
            await site.fill(Feed(jobs=round(PAST * (sizes.seconds + 3))))
            waits = (await site.send(kind, 2 * sizes.singles, sizes.seconds)).waits_ms
            note = f"p50 {percentile(waits, 0.5):.1f}, longest {max(waits):.0f} ms"
            figures.append(Figure(f"wait of urgent jobs {name}, p99", percentile(waits, 0.99), "ms", at_most=MOST_MS, note=note))
            shares = [10, 25, 50, 75, 90, 95, 99, 100]
            lines.append(
                Line(name.replace(" as the slow ones", ""), [(share, percentile(waits, share / 100)) for share in shares])
            )
    plot = Plot("Wait of urgent jobs", "percent of jobs at or below", "ms", lines, log_y=True)
    settings = {"urgent jobs": f"{2 * sizes.singles:,} over {sizes.seconds:g} s", "slow jobs": f"{HOLD * 1000:g} ms each"}
    return Section("Urgent jobs and what is claimed ahead", text=TEXT, settings=settings, figures=figures, plots=[plot])
