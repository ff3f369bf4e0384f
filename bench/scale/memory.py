"""Memory: what one more of each thing costs the server, in bytes, and what is left when all of it is done."""

from __future__ import annotations

import msgspec

from bench.feed import Feed
from bench.noop import CONTENT, Payload
from bench.report import Cell, Figure, Section, Table

from .site import NewSite

MOST_BESIDE = 120.0
"""Bytes a waiting job may take beyond its payload."""
TEXT = """
The server's used memory before and after so many of each, divided by their number: entries, indexes, what the allocator
rounds up. A blocked job stands behind another with its ordering key. What is left is counted once every job is done and its
history is at its length (1,000 completed jobs a queue are kept by default).
""".replace("\n", " ").strip()


async def memory(count: int, new_site: NewSite) -> Section:
    """Each kind on a server of its own."""
    payload = len(msgspec.msgpack.encode(Payload("c-10000", CONTENT)))
    kinds = {
        "waiting": Feed(jobs=count),
        "waiting, each with an ordering key": Feed(jobs=count, keys=count),
        "nine of ten blocked": Feed(jobs=count, keys=count // 10),
        "scheduled": Feed(jobs=count, delay=3600.0),
    }
    rows: list[tuple[Cell, ...]] = []
    figures: list[Figure] = []
    for name, feed in kinds.items():
        async with new_site() as site:
            each = await site.weigh(feed)
        rows.append((name, round(each), payload, round(each - payload)))
        bound = None if feed.delay else MOST_BESIDE  # stated for jobs that wait
        figures.append(Figure(f"{name}: bytes a job beyond its payload", each - payload, "bytes", at_most=bound))
    figures.append(await _left(count, new_site))
    columns = ("a job that is", "bytes", "of them payload", "beyond it")
    return Section(
        "Memory", text=TEXT, settings={"jobs": f"{count:,} of each"}, figures=figures, tables=[Table("Each", columns, rows)]
    )


async def _left(count: int, new_site: NewSite) -> Figure:
    """What stays of jobs that are done, when twice as many have run: history is at its length either way."""
    async with new_site() as site:
        left = []
        for _ in range(2):
            await site.fill(Feed(jobs=count))
            await site.drain(count)
            left.append(site.meter.read().memory)
        note = f"the second {count:,} jobs, the first having filled the history"
        return Figure("left of each job when all are done", (left[1] - left[0]) / count, "bytes", at_most=1.0, note=note)
