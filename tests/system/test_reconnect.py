"""Reconnect: a hundred workers whose server was away are no storm, and all of them work again soon after it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from engine import Engine, Settings
from engine.events import StoreDown, StoreUp, WorkerStarted
from engine.store.patience import LEAST, LONGEST_PAUSE
from engine.store.redis_store import RedisStore
from engine.worker import Worker
from tests.support.factory import body, enqueue, lone_store
from tests.support.faults import TurnedAway
from tests.support.recorder import Recorder
from tests.support.running import until
from tests.system.promises.servers import OwnServer

pytestmark = pytest.mark.slow

WORKERS = 100
AWAY = 4.0
"""Seconds of outage: by then every pause has grown to its limit."""
BACK = 2.0
"""Seconds within which a worker works again once the server answers."""


@pytest.fixture
def own_server(server_kind: str) -> Iterator[OwnServer]:
    with OwnServer(server_kind) as server:
        yield server


class Crowd:
    """So many workers in this process, each with its own connections and a queue of its own, as in a process of its own."""

    def __init__(self, url: str, count: int) -> None:
        self.ran: dict[str, float] = {}
        """Queue -> when its job ran, in seconds of the loop's clock."""
        self.engines = [self._engine(url, f"crowd-{n}") for n in range(count)]
        self.recorders = [Recorder(engine.events) for engine in self.engines]

    def _engine(self, url: str, queue: str) -> Engine:
        engine = Engine(settings=Settings(redis_url=url, connect_timeout=30.0))  # all start at the same instant

        @engine.queue(queue, concurrency=1).handler("do")
        async def do(n: int) -> None:
            self.ran[queue] = asyncio.get_running_loop().time()

        return engine

    async def add(self, n: int) -> None:
        """Enqueue a job for that worker, in its own process."""
        engine = self.engines[n]
        (name,) = engine.queues
        await engine.client.enqueue(name, "do", 1)

    def told(self) -> int:
        """How many have told that the server is away."""
        return sum(bool(recorder.all(StoreDown)) for recorder in self.recorders)

    async def all_ran(self, timeout: float) -> None:
        """Wait until each worker has run its job."""

        async def ask() -> int:
            return len(self.ran)

        await until(ask, lambda n: n == len(self.engines), timeout)


@asynccontextmanager
async def crowd(url: str, count: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(url, count)
    workers = [Worker(engine, drain_timeout=1.0) for engine in crowd.engines]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())
        try:
            for recorder in crowd.recorders:
                await recorder.next(WorkerStarted, timeout=20)
            yield crowd
        finally:
            for worker in workers:
                worker.stop()
    for recorder in crowd.recorders:
        recorder.close()


@pytest.mark.timeout(60)
async def test_a_hundred_workers_knock_once_a_second_each_and_all_are_back_soon(own_server: OwnServer) -> None:
    """Connects a second while the server is away, and once it is back; and when the last worker works again."""
    asyncio.get_running_loop().set_debug(False)  # a hundred workers in one process: it would take most of the time
    async with crowd(own_server.url, WORKERS) as workers, lone_store(own_server.url) as store:
        held = await counted(store, "clients", "connected_clients")
        own_server.kill()
        async with TurnedAway(own_server.socket) as gate:
            await until(gate.lasted, lambda seconds: seconds > AWAY)
        await asyncio.to_thread(own_server.start)
        back = asyncio.get_running_loop().time()
        connects = asyncio.ensure_future(connects_a_second(store, seconds=3.0))
        await asyncio.gather(*(workers.add(n) for n in range(WORKERS)))
        await workers.all_ran(timeout=20.0)
        took = max(workers.ran.values()) - back
        most_at_once, in_all = await connects
    print(f"{WORKERS} workers with {held} connections; away: at most {gate.most_in_a_second()} connects in the first second, "
          f"{gate.most_in_a_second(after=2.5)} later; back: {most_at_once} in a second, {in_all} in all, the last worked after {took:.1f} s")  # fmt: skip
    assert gate.most_in_a_second() <= 7 * WORKERS, "each comes at once, and while its pauses grow"
    assert gate.most_in_a_second(after=2.5) <= WORKERS / (LEAST * LONGEST_PAUSE) * 1.1, "then once a second"
    assert in_all <= 1.2 * held, "and once it is back, each connection once"
    assert took <= 10.0
    for recorder in workers.recorders:
        assert len(recorder.all(StoreDown)) == len(recorder.all(StoreUp)) == 1


async def test_processing_goes_on_within_two_seconds_of_the_servers_return(own_server: OwnServer) -> None:
    """However long it was away: here so long that every pause has grown to its limit."""
    asyncio.get_running_loop().set_debug(False)
    async with crowd(own_server.url, 10) as workers, lone_store(own_server.url) as store:
        own_server.kill()
        await until(lambda: asyncio.sleep(0.01, workers.told()), lambda told: told == 10)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(own_server.start)
        back = asyncio.get_running_loop().time()
        for n, engine in enumerate(workers.engines):
            (name,) = engine.queues
            await store.link.patient(partial(enqueue, store, name, producer=f"p{n}", data=body("do", 1)), timeout=2.0)
        await workers.all_ran(timeout=10.0)
        took = sorted(ran - back for ran in workers.ran.values())
    print(f"10 workers, away for {AWAY:.0f} s: the first works again after {took[0]:.2f} s, the last after {took[-1]:.2f} s")
    assert took[-1] <= BACK


async def counted(store: RedisStore, section: str, name: str) -> int:
    """A number the server keeps; waits for a server that is on its way back."""
    reply = await store.link.patient(partial(store.link.call, "INFO", section), timeout=10.0)
    return int(next(line.partition(":")[2] for line in reply.decode().splitlines() if line.startswith(name)))


async def connects_a_second(store: RedisStore, seconds: float) -> tuple[int, int]:
    """The most that connected within a second, and all, from now on for so long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    seen: list[tuple[float, int]] = []
    while loop.time() - began < seconds:
        seen.append((loop.time(), await counted(store, "stats", "total_connections_received")))
        await asyncio.sleep(0.05)
    most = max(later - earlier for at, earlier in seen for then, later in seen if 0 <= then - at <= 1.0)
    return most, seen[-1][1]
