"""The same jobs behind Sentinel and on a cluster: what the URL schemes promise. TLS has a file of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine import Engine, Job, Settings
from tests.support.laws import assert_conserved
from tests.support.running import running
from tests.support.servers import cluster, redis_binary, sentinel_set

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed: it is what makes these arrangements"),
]


class Order(msgspec.Struct):
    number: int


async def run_some(engine: Engine, queues: int) -> None:
    """Ten jobs on each of some queues, one of them delayed, all with results."""
    handlers = []
    for i in range(queues):

        @engine.queue(f"topology-{i}").handler("double", ordering_key=lambda o: f"k{o.number % 3}")
        async def double(order: Order, job: Job) -> int:
            return order.number * 2

        handlers.append(double)
    async with engine, running(engine):
        for handler in handlers:
            handles = await handler.enqueue_many([Order(i) for i in range(10)])
            late = await handler.enqueue(Order(21), delay=0.2)
            assert [await h.result(timeout=10) for h in handles] == [i * 2 for i in range(10)]
            assert await late.result(timeout=10) == 42
    async with engine:
        for name in engine.queues:
            await assert_conserved(engine.connection.store, name)


async def test_sentinel_names_the_primary(tmp_path: Path) -> None:
    with sentinel_set(tmp_path) as url:
        await run_some(Engine(settings=Settings(redis_url=url)), 2)


async def test_queues_of_one_worker_may_live_on_several_nodes_of_a_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path) as url:
        await run_some(Engine(settings=Settings(redis_url=url)), 4)
