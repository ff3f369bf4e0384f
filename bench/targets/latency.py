"""Latency of the server: PING beside a load, and each script as the server and as the client times it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.feed import Feed, options_of
from bench.meter import Meter
from bench.report import Cell, Figure, Line, Plot, Section, Table, percentile
from bench.stage import Stage, run_child, sync_seconds
from engine import Clock

from .load import Played, Player
from .notes import read
from .prober import INTERVAL, with_the_unsent

LIMIT_MS = 10.0
SYNCS = 200
OFTEN = 100
"""Calls from which on a script's p99 is judged as the client saw it: of fewer it is the slowest one, that of a cold start."""
TEXT = """
PING is asked every 5 ms by a process that does nothing else; answers that were awaited while others were due count for
those too. Each script is timed by the server itself (its slow log, with a threshold of 0: execution only) and by the client
(from the request to the parsed reply: it has the queue at the server, the append-only file's fsync and the client's own
event loop in it).
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds at 100 messages a second; no-op jobs of the load that saturates."""

    seconds: float = 15.0
    jobs: int = 100_000


QUICK = Sizes(seconds=3.0, jobs=10_000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one load showed."""

    pings_ms: list[float]
    scripts: Mapping[str, Sequence[int]]
    """Script -> microseconds of each call by the server's clock."""
    standstills: Mapping[str, int]


async def server_latency(player: Player, sizes: Sizes) -> Section:
    """At the rate the users named, and with server and worker saturated."""
    synced = [took * 1000 for took in sync_seconds(player.stage.directory, SYNCS, player.clock)]
    note = f"p50 {percentile(synced, 0.5):.2f}, longest {max(synced):.1f} ms; with fsync always, every answer waits for one"
    disk = Figure("the disk's own fsync, before the load, p99", percentile(synced, 0.99), "ms", note=note)
    with Meter(player.stage.url, player.clock) as meter:
        steady, played = await _steady(player, meter, sizes.seconds)
        full = await _saturated(player.stage, meter, player.clock, sizes.jobs)
    client = _client(played)
    return Section(
        "The server answers within 10 ms",
        text=TEXT,
        settings={"saturated": f"a worker drains {sizes.jobs:,} no-op jobs while another {sizes.jobs:,} are enqueued in bulk"},
        figures=[disk, *_figures("at 100 messages a second", steady), *_client_figures(client), *_figures("saturated", full)],
        tables=[_table("At 100 messages a second", steady, client), _table("Saturated", full, {})],
        plots=[_plot({"100 a second": steady, "saturated": full})],
    )


async def _steady(player: Player, meter: Meter, seconds: float) -> tuple[Seen, Played]:
    meter.watch_scripts()
    meter.watch_standstills(int(LIMIT_MS))
    played = await player.play("messages", round(100 * seconds), seconds, pinged=True)
    return _seen(meter, played.pings), played


async def _saturated(stage: Stage, meter: Meter, clock: Clock, jobs: int) -> Seen:
    """A worker drains while somebody enqueues in bulk. PING is asked for as long as the worker needs."""
    fill = options_of(Feed(jobs=jobs))
    await run_child(stage, "bench.feed", *fill, clock=clock)
    meter.watch_scripts()
    meter.watch_standstills(int(LIMIT_MS))
    pings = stage.file("pings")
    async with stage.workers("bench.noop:engine", "--burst") as workers, asyncio.TaskGroup() as group:
        group.create_task(run_child(stage, "bench.feed", *fill, clock=clock))
        group.create_task(run_child(stage, "bench.targets.prober", str(pings), f"{jobs / 20_000:g}", clock=clock))
        group.create_task(workers.ended(60 + jobs / 1000))
    return _seen(meter, with_the_unsent(read(pings, list[float]), INTERVAL))


def _seen(meter: Meter, pings: Sequence[float]) -> Seen:
    standstills = meter.standstills()
    meter.watch_standstills(0)
    return Seen([ping * 1000 for ping in pings], meter.watched_scripts(), standstills)


def _figures(load: str, seen: Seen) -> list[Figure]:
    pings = seen.pings_ms
    slowest = max(seen.scripts, key=lambda name: percentile(seen.scripts[name], 0.99))
    noted = ", ".join(f"{what} {longest} ms" for what, longest in seen.standstills.items()) or "none of 10 ms"
    others = f"of {len(pings):,}; p50 {percentile(pings, 0.5):.2f}, longest {max(pings):.1f} ms; standstills noted: {noted}"
    return [
        Figure(f"PING {load}, p99", percentile(pings, 0.99), "ms", at_most=LIMIT_MS, note=others),
        Figure(
            f"slowest script {load}, p99 by the server's clock",
            percentile(seen.scripts[slowest], 0.99) / 1000,
            "ms",
            at_most=LIMIT_MS,
            note=f"{slowest}; the longest call of any script {max(max(took) for took in seen.scripts.values()) / 1000:.2f} ms",
        ),
    ]


def _client(played: Played) -> dict[str, list[float]]:
    """Script -> milliseconds, as worker and producer saw their calls."""
    found: dict[str, list[float]] = {}
    for side in (played.worker_scripts, played.producer_scripts):
        for name, took in side.items():
            found.setdefault(name, []).extend(one * 1000 for one in took)
    return found


def _client_figures(client: Mapping[str, list[float]]) -> list[Figure]:
    often = {name: percentile(took, 0.99) for name, took in client.items() if len(took) >= OFTEN}
    if not often:
        return []
    slowest = max(often, key=lambda name: often[name])
    return [
        Figure(
            "slowest script at 100 messages a second, p99 as the client saw it",
            often[slowest],
            "ms",
            at_most=LIMIT_MS,
            note=f"{slowest}; scripts with {OFTEN} calls or more: {', '.join(sorted(often))}",
        )
    ]


def _table(title: str, seen: Seen, client: Mapping[str, list[float]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    total = sum(sum(took) for took in seen.scripts.values())
    for name, took in sorted(seen.scripts.items(), key=lambda item: -sum(item[1])):
        client_p99 = round(percentile(client[name], 0.99), 2) if name in client else None
        share = f"{sum(took) / total:.1%}"
        rows.append((name, len(took), percentile(took, 0.5), percentile(took, 0.99), max(took), share, client_p99))
    columns = ("script", "calls", "p50, us", "p99, us", "longest, us", "share of time", "p99 at the client, ms")
    return Table(f"Scripts, {title[0].lower()}{title[1:]}", columns, rows)


def _plot(named: Mapping[str, Seen]) -> Plot:
    shares = [50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9, 100]
    lines = [Line(name, [(share, percentile(seen.pings_ms, share / 100)) for share in shares]) for name, seen in named.items()]
    title, x = "PING beside a load", "percent of pings at or below"
    return Plot(title, x, "ms", lines, log_y=True, target=LIMIT_MS, target_name="10 ms")
