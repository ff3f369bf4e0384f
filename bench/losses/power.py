"""Power: what is lost when the server is killed, and when its machine loses power, in each class of one server."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.chaos.node import Node, find_program, free_ports
from bench.report import Cell, Figure, Section, Table
from engine import Clock

from . import disk
from .scene import Scene, kept_jobs
from .toll import Toll, toll

MOST_SECONDS = 2.0
"""What class `process` may lose."""
TEXT = """
One producer process keeps 32 enqueue calls under way, as fast as they are answered, on a queue that nobody works. In the middle
the server rewrites its append-only file; or it begins to at the end, and the end comes while it does. It is ended by kill -9;
power loss: each of its files is also cut to what its last fsync covered (a library loaded into the server notes that). It is
started again on what is left, the producer goes on, and every acknowledged job is looked for.
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is acknowledged before the end, and how often a loss that depends on the moment is tried."""

    acked: int = 30_000
    least_seconds: float = 4.0
    rounds: int = 5


QUICK = Sizes(acked=2_000, least_seconds=2.2, rounds=1)


@dataclass(frozen=True, slots=True)
class Case:
    """One server setting and one end."""

    durability: str
    config: str
    is_power_loss: bool
    most_lost: int | None = None
    most_seconds: float | None = None
    ends_in_rewrite: bool = False


EVERYSEC, ALWAYS = "appendonly yes\nappendfsync everysec", "appendonly yes\nappendfsync always"
CASES = (
    Case("memory", "appendonly no", False),
    Case("process", EVERYSEC, False, most_lost=0),
    Case("process", EVERYSEC, True, most_seconds=MOST_SECONDS),
    Case("disk", ALWAYS, True, most_lost=0),
    Case("process", EVERYSEC, False, most_lost=0, ends_in_rewrite=True),
    Case("disk", ALWAYS, True, most_lost=0, ends_in_rewrite=True),
)
REWRITE_SECONDS = 0.1
"""What a rewrite of so many jobs takes, more or less: the end comes at any moment of it."""


async def power(kind: str, sizes: Sizes, clock: Clock) -> Section:
    """Every case; those that need a compiler are left out, and said so, where there is none."""
    rows, no_shim = [], disk.missing()
    for case in CASES:
        if case.is_power_loss and no_shim:
            continue
        rounds = sizes.rounds if case.most_seconds or case.ends_in_rewrite else 1
        tolls = [await end_of_a_server(kind, case, sizes, clock) for _ in range(rounds)]
        rows.append(_row(case, tolls))
    columns = ("class: end", "acknowledged", "lost", "seconds of acknowledgements lost", "ids given twice", "loss told")
    note = f"No power loss was tried: {no_shim}." if no_shim else "Several rounds: the worst of them."
    return Section("Power loss", text=TEXT, tables=[Table("One server", columns, rows, note=note)])


async def end_of_a_server(kind: str, case: Case, sizes: Sizes, clock: Clock) -> Toll:
    """Load, end, start again, count."""
    with tempfile.TemporaryDirectory(prefix="power-") as place:
        shim = disk.Shim(Path(place)) if case.is_power_loss else None
        config = f'save ""\nauto-aof-rewrite-percentage 0\nmaxmemory-policy noeviction\n{case.config}'
        node = Node(
            find_program(kind), Path(place) / "server", config, port=free_ports(1)[0], clock=clock,
            environment=shim.environment if shim else None,
        )  # fmt: skip
        try:
            await node.start()
            return await _ended(node, shim, case, sizes, clock)
        finally:
            node.kill()


async def _ended(node: Node, shim: disk.Shim | None, case: Case, sizes: Sizes, clock: Clock) -> Toll:
    async with Scene(node.url, clock) as scene:
        began = clock.mono()
        await scene.produce(lanes=32)
        await scene.acknowledged(sizes.acked // 2)
        if "appendonly yes" in case.config and not case.ends_in_rewrite:
            await node.ask("BGREWRITEAOF")
        await scene.acknowledged(sizes.acked)
        # at any point of the second between two syncs
        await clock.sleep(max(sizes.least_seconds - (clock.mono() - began), 0.0) + clock.random())
        if case.ends_in_rewrite:
            await node.ask("BGREWRITEAOF")
            await clock.sleep(REWRITE_SECONDS * clock.random())
        if shim is not None:
            shim.cut_power(node)
        else:
            node.kill()
        await node.start()
        await clock.sleep(0.5)
        await scene.told()
        return toll(scene.records(), await kept_jobs(node))


def is_told(tolls: list[Toll]) -> str:
    """Whether `data.loss` was told wherever something was lost."""
    with_loss = [t for t in tolls if t.lost]
    return "" if not with_loss else "yes" if all(t.loss_told for t in with_loss) else "no"


def _row(case: Case, tolls: list[Toll]) -> tuple[Cell, ...]:
    end = ("power loss" if case.is_power_loss else "kill -9") + (" in a rewrite" if case.ends_in_rewrite else "")
    name = f"{case.durability}: {end}" + (f", {len(tolls)} rounds" if len(tolls) > 1 else "")
    return (
        name,
        sum(t.acked for t in tolls),
        Figure("lost", max(t.lost for t in tolls), at_most=case.most_lost),
        Figure("seconds", max(t.lost_seconds for t in tolls), "s", at_most=case.most_seconds),
        Figure("ids given twice", max(t.same_id for t in tolls), at_most=0),
        is_told(tolls),
    )
