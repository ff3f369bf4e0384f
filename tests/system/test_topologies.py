"""The same jobs behind Sentinel and on a cluster: what the URL schemes promise. TLS has a file of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import redis
from redis.crc import key_slot

from engine import Clock, Engine, EngineClosed, Job, Settings, StoreDenied, StoreRefused, StoreUnanswered
from engine.embedded_process import find_binary
from engine.keys import prefix
from engine.store.link import Link
from engine.store.wires import MAX_WIRES
from tests.support.laws import assert_conserved
from tests.support.running import running, until
from tests.support.servers import cluster, free_ports, move_slot, redis_binary, sentinel_set, server

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


async def test_sentinels_may_want_a_password_of_their_own(tmp_path: Path) -> None:
    """Without it, or with another, it is said that they refused, and no password is."""
    password = "p?ss+w&rd@1"
    with sentinel_set(tmp_path, password) as url:
        await run_some(Engine(settings=Settings(redis_url=f"{url}?sentinel_password={quote(password, safe='')}")), 1)
        for query in ("", "?sentinel_password=an0ther-0ne"):
            with pytest.raises(StoreDenied, match="this was a Sentinel, whose log-in goes behind") as caught:
                async with Engine(settings=Settings(redis_url=url + query)):
                    pass
            assert "an0ther" not in str(caught.value)


async def test_queues_of_one_worker_may_live_on_several_nodes_of_a_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path) as url:
        await run_some(Engine(settings=Settings(redis_url=url)), 4)


async def test_calls_of_many_queues_share_the_connections_to_a_node(tmp_path: Path) -> None:
    """Each queue had a set of its own: with sixty, a process could open sixty times as many as to one server."""
    with cluster(tmp_path) as url:
        nodes: list[Any] = [redis.Redis(port=int(host.partition(":")[2])) for host in url.rpartition("//")[2].split(",")]

        def count() -> list[int]:
            return [sum(client["name"] == "sharing" for client in node.client_list()) for node in nodes]

        connections = partial(asyncio.to_thread, count)
        link = Link(url, clock=Clock(), name="sharing")
        names = [f"many-{n}" for n in range(60) for _ in range(8)]
        under_way = [asyncio.ensure_future(link.call("BLPOP", f"{prefix(name)}never", 0, queue=name)) for name in names]
        await until(connections, lambda found: found == [MAX_WIRES] * 3)
        assert repr(link).endswith(f"wires={3 * MAX_WIRES}>")
        await link.close()
        assert {type(answer) for answer in await asyncio.gather(*under_way, return_exceptions=True)} <= {
            StoreUnanswered,
            EngineClosed,
        }
        await until(connections, lambda found: found == [0] * 3)
        for node in nodes:
            node.close()


async def test_a_call_that_a_wrong_node_refused_is_sent_to_the_right_one(tmp_path: Path) -> None:
    """Of two queues that share a node one moves, the other stays. It was asked for at each connect alone; a call is not."""
    with cluster(tmp_path) as url:
        link = Link(url, clock=Clock(), name="moving")
        moves, stays = [name for n in range(100) if key_slot(prefix(name := f"q{n}").encode()) < 16384 // 3][:2]
        for name in (moves, stays):
            await link.call("SET", f"{prefix(name)}x", name, queue=name)
        await asyncio.to_thread(partial(move_slot, url, key_slot(prefix(moves).encode())))
        with pytest.raises(StoreRefused, match="another node"):
            await link.call("GET", f"{prefix(moves)}x", queue=moves)
        assert await link.call("GET", f"{prefix(moves)}x", queue=moves) == moves.encode()
        assert await link.call("GET", f"{prefix(stays)}x", queue=stays) == stays.encode()
        await link.close()


@contextmanager
def silent() -> Iterator[int]:
    """A port where somebody listens and never says anything, as a machine that has just died."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


async def test_a_dead_sentinel_at_the_head_of_the_address_costs_its_share_of_the_time_once(tmp_path: Path) -> None:
    """The machine that died may have been the primary's, and the first of the address: nobody came any further before."""
    (other,) = free_ports(1)
    with sentinel_set(tmp_path) as url, silent() as dead, server(tmp_path / "other", other, config="", sentinel=True):
        hosts = f"127.0.0.1:{dead},127.0.0.1:{other},"  # one is silent, one knows nothing of the service
        link = Link(url.replace("://", f"://{hosts}"), clock=Clock(), connect_timeout=4.0)
        began = link._clock.mono()
        assert await link.call("PING") in (b"PONG", "PONG")
        first = link._clock.mono() - began
        assert 1.0 <= first <= 3.0  # a quarter of the time, for each of three and the primary
        wire, began = link.new_wire(), link._clock.mono()
        await wire.call("PING")
        assert link._clock.mono() - began < 1.0
        await wire.drop()
        await link.close()


@pytest.mark.parametrize("how", ["key by key", "at once"])
async def test_a_queue_whose_slot_moves_to_another_node_waits_for_it_and_goes_on_there(tmp_path: Path, how: str) -> None:
    """Key by key, each node says meanwhile that the other has it (ASK, MOVED), and no script runs half; at once is Valkey 9's way."""
    ran: list[int] = []
    with cluster(tmp_path, str(find_binary()) if how == "at once" else "redis-server") as url:
        engine = Engine(settings=Settings(redis_url=url))

        @engine.queue("moving").handler("do")
        async def do(n: int) -> None:
            ran.append(n)

        slot = key_slot(prefix("moving").encode())
        async with engine, running(engine):
            await do.enqueue_many(range(20))
            await until(lambda: engine.client.counts("moving"), lambda counts: counts.completed == 20)
            await do.enqueue_many(range(20, 40), delay=0.3)  # they are due while it moves
            await asyncio.to_thread(partial(move_slot, url, slot, at_once=how == "at once"))
            await do.enqueue_many(range(40, 60))
            await until(lambda: engine.client.counts("moving"), lambda counts: counts.completed == 60, timeout=15)
        assert sorted(ran) == list(range(60))
        async with engine:
            await assert_conserved(engine.connection.store, "moving")
