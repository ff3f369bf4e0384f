"""Bulk enqueues of the lab's producers: what is written down when all goes well, when nobody knows, and when a part is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.chaos.asking import Asker
from bench.chaos.journal import Journal, Record, acknowledged, told_so_far
from bench.chaos.kinds import Plan, Script
from bench.chaos.network import Network
from bench.chaos.node import Node
from engine import Engine, Settings
from tests.support.running import until

MANY = 150
"""More than one call to the server takes."""


@pytest.fixture
async def far(network: Network) -> AsyncIterator[Engine]:
    """An engine behind the proxy that soon gives up."""
    url = await network.url("p1")
    async with Engine(settings=Settings(redis_url=url, socket_timeout=0.3, connect_timeout=5.0, enqueue_timeout=0.6)) as engine:
        yield engine


class Lane:
    """One lane's asking, and what it wrote down."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory
        self.asker = Asker(Journal(directory, "producer"), engine.clock, {"q": engine.queue("q")}, "p1.1")

    async def ask(self) -> None:
        """A bulk with an ordering key."""
        scripts = [Script(n=n, kind="bulk", key="k", fails=3 * (n == 7)) for n in range(1, MANY + 1)]
        await self.asker.many(Plan(queue="q", name="do", script=scripts[0], want="completed", others=tuple(scripts[1:])), scripts)

    def told(self) -> list[Record]:
        return list(told_so_far(self.directory))

    async def so_far(self) -> Counter[str]:
        return count(self.told())

    async def enqueued(self) -> int:
        return (await self.engine.client.counts("q")).enqueued


@pytest.fixture
def lane(far: Engine, tmp_path: Path) -> Lane:
    return Lane(far, tmp_path / "run")


def count(told: list[Record]) -> Counter[str]:
    return Counter(f"{one.what} {one.how}".strip() for one in told)


async def test_each_job_of_a_bulk_is_asked_for_and_told_in_the_order_of_its_number(lane: Lane) -> None:
    await lane.ask()
    told = lane.told()
    assert count(told) == {"ask": MANY, "acked new": MANY}
    acked = [one for one in told if one.what == "acked"]
    assert [one.n for one in acked] == sorted(one.n for one in acked)
    assert len({one.job for one in acked}) == MANY == await lane.enqueued() == acknowledged(told)
    assert [one.n for one in told if one.want == "dead"] == [7], "each has an expectation of its own"


async def test_a_part_whose_answer_nobody_knows_is_repeated_and_the_rest_is_asked_for_after_it(
    lane: Lane, network: Network
) -> None:
    await lane.engine.queue("warm").enqueue("do", 0)
    async with network.aim("enqueue", "reply", who=("p1",)) as struck:
        asking = asyncio.ensure_future(lane.ask())
        assert await struck.moment(5.0)
        async with network.mode("refuse", ("p1",)):
            await struck.free(drop=True)
            await until(lane.so_far, lambda told: told["unknown EnqueueUnknown"] > 0)
        await asking
    told = lane.told()
    assert count(told) == {"ask": MANY, "unknown EnqueueUnknown": 100, "acked repeated": 100, "acked new": 50}
    assert len({one.job for one in told if one.what == "acked"}) == MANY == await lane.enqueued()


async def test_of_a_bulk_that_is_refused_in_its_middle_the_first_part_is_told_by_number(
    lane: Lane, network: Network, node: Node
) -> None:
    await lane.engine.queue("warm").enqueue("do", 0)
    async with network.aim("enqueue", "reply", who=("p1",)) as struck:
        asking = asyncio.ensure_future(lane.ask())
        assert await struck.moment(5.0)
        await node.ask("CONFIG", "SET", "maxmemory", 1)
        await struck.free(drop=False)
        await asking
        await node.ask("CONFIG", "SET", "maxmemory", 0)
    told = lane.told()
    assert count(told) == {"ask": MANY, "acked counted": 100, "refused StoreFull": 50}
    assert {one.n for one in told if one.what == "acked"} == set(range(1, 101))
    assert await lane.enqueued() == 100 == acknowledged(told)
