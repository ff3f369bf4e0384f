"""Cost: what it takes to wait for a replica's confirmation at each enqueue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.chaos.sentinel import Sentinels
from bench.report import Cell, Figure, Section, Table, percentile
from engine import Clock, Engine, Settings

from .app import KEPT, Payload
from .failover import LAG

TEXT = """
One process enqueues single jobs, with so many calls under way at once, to a primary with two replicas on loopback; with and
without ENGINE_DURABILITY=replicated in turn, and the median of the turns. The replicas are as near as they can be: between
machines add one round trip to each call.
""".replace("\n", " ").strip()
LANES = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of a turn, and turns of each."""

    seconds: float = 1.0
    turns: int = 7


QUICK = Sizes(seconds=0.3, turns=3)


async def cost(kind: str, sizes: Sizes, clock: Clock) -> Section:
    """Both, for each number of calls under way."""
    rows: list[tuple[Cell, ...]] = []
    async with Sentinels(kind, replicas=2, options=LAG, clock=clock) as servers:
        for lanes in LANES:
            plain, confirmed = [], []
            for _ in range(sizes.turns):
                plain.append(await _turn(servers.url, "process", lanes, sizes.seconds, clock))
                confirmed.append(await _turn(servers.url, "replicated", lanes, sizes.seconds, clock))
            for name, turns in (("server alone", plain), ("confirmed by a replica", confirmed)):
                rate = Figure.of_runs("jobs a second", [rate for rate, _, _ in turns], "/s")
                middle = Figure.of_runs("p50", [p50 for _, p50, _ in turns], "ms")
                rows.append(
                    (f"{lanes} under way, {name}", rate, middle, Figure.of_runs("p99", [p99 for _, _, p99 in turns], "ms"))
                )
    return Section("Confirmation", text=TEXT, tables=[Table("Enqueue", ("calls", "jobs a second", "p50", "p99"), rows)])


async def _turn(url: str, durability: str, lanes: int, seconds: float, clock: Clock) -> tuple[float, float, float]:
    """Jobs a second, and the median and the 99th percentile of a call in ms."""
    engine = Engine(settings=Settings(redis_url=url, durability=durability))  # type: ignore[arg-type]  # one of the two above
    queue = engine.queue(KEPT)
    took: list[float] = []

    async def lane(until_mono: float) -> None:
        while (began := clock.mono()) < until_mono:
            await queue.enqueue("count", Payload(len(took)))
            took.append((clock.mono() - began) * 1000)

    async with engine:
        await lane(clock.mono() + seconds / 10)  # warm
        took.clear()
        began = clock.mono()
        await asyncio.gather(*(lane(began + seconds) for _ in range(lanes)))
        elapsed = clock.mono() - began
    return len(took) / elapsed, percentile(took, 0.5), percentile(took, 0.99)
