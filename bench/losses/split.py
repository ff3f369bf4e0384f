"""Split: what is lost when a network parts the primary and its clients from replicas and sentinels, and both sides go on."""

from __future__ import annotations

from bench.chaos.sentinel import Sentinels
from bench.chaos.wall import Wall
from bench.report import Cell, Section, Table
from engine import Clock

from .failover import COLUMNS, DOWN_AFTER_MS, NOTE, SETTINGS, Setting, Sizes, row
from .scene import Scene, kept_jobs
from .toll import Toll, toll

PARTED_SECONDS, QUICK_SECONDS = 9.0, 4.0
TEXT = f"""
Two network namespaces joined by one cable. Near: the primary, a producer process and a worker process. Far: replicas, three
sentinels (down-after {DOWN_AFTER_MS} ms) and a second worker process. The cable is cut until so many seconds after a replica
was promoted on the far side; the near side goes on as its settings allow, and nobody is told. Joined again, Sentinel makes the
old primary a replica (some 10 s later), and what it acknowledged alone is gone. Then every acknowledged job is looked for.
""".replace("\n", " ").strip()


async def split(kind: str, sizes: Sizes, seconds: float, rounds: int, clock: Clock) -> Section:
    """Every setting, or why there is none. `rounds` where the loss depends on the moment."""
    reason = Wall.missing()
    if reason:
        return Section("Split brain", text=f"{TEXT} Not tried here: {reason}.")
    rows: list[tuple[Cell, ...]] = []
    for setting in SETTINGS:
        for number in range(rounds if setting.most_seconds else 1):
            cost = await one_split(kind, setting, sizes, seconds, clock)
            name = f"{setting.name}: parted {seconds:g} s" + (f", round {number + 1}" if number else "")
            rows.append(row(name, cost, setting.most_seconds, None))
    unlucky = next(setting for setting in SETTINGS if setting.engine and setting.replicas > 1)
    cost = await one_split(kind, unlucky, sizes, seconds, clock, near_replicas=1)
    rows.append(row(f"{unlucky.name}, and that one is near: parted {seconds:g} s", cost, None, None))
    table = Table("Parted", COLUMNS, rows, note=NOTE)
    return Section("Split brain", text=TEXT, settings={"jobs a second": f"{sizes.rate:g}"}, tables=[table])


async def one_split(kind: str, setting: Setting, sizes: Sizes, seconds: float, clock: Clock, *, near_replicas: int = 0) -> Toll:
    """One split from beginning to end."""
    with Wall() as wall:
        near, far = wall.under(wall.near), wall.under(wall.far)
        topology = Sentinels(
            kind,
            down_after_ms=DOWN_AFTER_MS,
            replicas=setting.replicas,
            near_replicas=near_replicas,
            options=setting.options,
            wall=wall,
            clock=clock,
        )
        async with (
            topology as servers,
            Scene(servers.url, clock, settings=setting.engine) as scene,
            scene.worker(under=near),
            scene.worker(under=far),
        ):
            await scene.produce(rate=sizes.rate, is_worked=True, under=near)
            await clock.sleep(sizes.before)
            servers.isolate_primary()
            await servers.promoted()
            await clock.sleep(seconds)
            await servers.mend()
            await clock.sleep(sizes.after)
            await scene.told()
            await scene.drained()
            return toll(scene.records(), await kept_jobs(servers.primary))
