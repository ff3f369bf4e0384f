"""Idle pools of one process: what wakes them, and what they wait for beside one another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from typing import Any

import pytest

from engine import Clock
from engine.events import DataLoss, Events, JobCompleted, JobStarted
from engine.keys import prefix
from engine.services import rest, solo
from engine.services.bell import Bell
from engine.services.holdings import Holdings
from engine.services.outage import Outage
from engine.services.pool import Pool
from engine.services.pulse import Pulse
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, body, enqueue, handler, reclaim, spec, states
from tests.support.faults import Proxy, calls
from tests.support.recorder import Recorder
from tests.support.running import until


class Process:
    """Pools of some queues with one bell, as a worker has them."""

    def __init__(self, store: RedisStore, *queues: str, handlers: tuple[Any, ...] = ()) -> None:
        self.store = store
        self.clock = Clock()
        self.events = Events(self.clock)
        self.recorder = Recorder(self.events)
        self.holdings = Holdings()
        self.pulse = Pulse(asyncio.get_running_loop())
        outage = Outage(self.clock, self.events)
        self.pools = {queue: self._pool(queue, outage, handlers) for queue in queues}
        self.bell = Bell(
            store,
            queues,
            clock=self.clock,
            events=self.events,
            outage=outage,
            on_ring=self._rung,
            on_cancel=lambda queue, job_id: None,
        )

    def _pool(self, queue: str, outage: Outage, handlers: tuple[Any, ...]) -> Pool:
        return Pool(
            spec(queue, *handlers),
            self.store,
            worker="w1",
            clock=self.clock,
            events=self.events,
            holdings=self.holdings,
            outage=outage,
            resources={},
            pulse=self.pulse,
        )

    def _rung(self, queue: str) -> None:
        self.pools[queue].ring()

    async def quiet(self) -> None:
        """Until every pool has nothing and has looked."""

        async def idle() -> bool:
            return all(pool.is_idle for pool in self.pools.values())

        await until(idle, bool)


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    await process.bell.begin()
    tasks = [asyncio.ensure_future(pool.run()) for pool in process.pools.values()]
    ears = asyncio.ensure_future(process.bell.run())
    try:
        await process.quiet()
        yield process
    finally:
        for pool in process.pools.values():
            pool.stop()
        process.bell.stop()
        await process.bell.close()
        try:
            async with asyncio.timeout(5):
                await asyncio.gather(*tasks, ears)
        finally:
            process.pulse.close()
            process.recorder.close()


async def test_more_jobs_than_it_asked_for_are_claimed_as_usual(store: RedisStore, queue: str) -> None:
    async with running(Process(store, queue)) as process:
        ids = await enqueue(store, queue, 50)
        for job_id in ids:
            await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        await process.quiet()
    assert await states(store, queue, ids) == ["completed"] * 50


async def test_a_suspect_runs_beside_another_queue_that_is_idle(store: RedisStore, queue: str) -> None:
    other = f"{queue}-other"
    ids = await enqueue(store, other)
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim())
    await reclaim(store, other)
    await store.pause(other, "until the other is idle", 0)
    async with running(Process(store, queue, other)) as process:
        await store.resume(other)
        await process.recorder.next(JobCompleted, id=f"{other}/{ids[0]}")
        await process.quiet()
    assert process.holdings.solo is None


async def test_suspects_one_after_the_other_have_no_company_from_another_queue(store: RedisStore, queue: str) -> None:
    """A claim of the one queue that leaves while the other's is under way, which brings a suspect."""
    other, running_now, beside, order = f"{queue}-other", Counter[int](), list[Counter[int]](), list[int]()

    async def run(payload: int) -> None:
        order.append(payload)
        running_now[payload] += 1
        if running_now[1]:
            beside.append(running_now.copy())
        await asyncio.sleep(0.001)
        running_now[payload] -= 1

    suspects = await enqueue(store, other, 8, data=body(payload=1))
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim(8))
    await reclaim(store, other)
    for name in (queue, other):
        await store.pause(name, "until all is there", 0)
    async with running(Process(store, queue, other, handlers=(handler(run),))) as process:
        await enqueue(store, queue, 200, data=body(payload=0))
        await store.resume(queue)
        await store.resume(other)
        for job_id in suspects:
            await process.recorder.next(JobCompleted, id=f"{other}/{job_id}")
        await process.quiet()
    assert beside == [Counter({1: 1, 0: 0})] * 8
    assert sum(1 for suspect, _ in groupby(order) if suspect) < 4  # the process is emptied for several, not for each


async def test_a_suspect_waits_until_the_other_queues_jobs_have_ended(store: RedisStore, queue: str) -> None:
    other, started, beside = f"{queue}-other", asyncio.Event(), list[bool]()

    async def run(payload: int) -> None:
        if payload == 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(started.wait(), 0.5)  # what a suspect would need to start beside this
            beside.append(started.is_set())
        else:
            started.set()

    await enqueue(store, other, data=body(payload=1))
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim())
    await reclaim(store, other)
    await store.pause(other, "until the other one runs", 0)
    async with running(Process(store, queue, other, handlers=(handler(run),))) as process:
        (first,) = await enqueue(store, queue, data=body(payload=0))
        await process.recorder.next(JobStarted)
        await store.resume(other)
        await process.recorder.next(JobCompleted, id=f"{queue}/{first}")
        await process.recorder.next(JobCompleted)
    assert beside == [False]
    assert started.is_set()


async def _lost(store: RedisStore, queue: str, payload: object, n: int = 1) -> None:
    """Jobs whose worker is gone; they come back with the next `reclaim`."""
    await enqueue(store, queue, n, data=body(payload=payload))
    gone = Hand(store, queue, "gone")
    await gone.lapse(*await gone.claim(n))


async def test_no_other_queues_job_starts_while_the_process_is_emptied_for_a_suspect(store: RedisStore, queue: str) -> None:
    other, order, ends = f"{queue}-other", list[str](), {name: asyncio.Event() for name in ("short", "long")}

    async def run(payload: str) -> None:
        order.append(payload)
        if payload in ends:
            await ends[payload].wait()

    await _lost(store, other, "suspect")
    async with running(Process(store, queue, other, handlers=(handler(run),))) as process:
        for name in ends:
            await enqueue(store, other, data=body(payload=name))
            await process.recorder.next(JobStarted)
        await reclaim(store, other)
        process.pools[other].look()  # by another worker's reclaim; the ring is not what this is about
        await until(_answer(lambda: process.holdings.solo), lambda name: name == other)
        await enqueue(store, queue, 3, data=body(payload="of the other queue"))
        ends["short"].set()
        await process.recorder.next(JobCompleted)
        await until(_answer(lambda: len(process.holdings.of(other))), lambda held: held == 1)
        ends["long"].set()
        await process.recorder.next(JobCompleted)
        for _ in range(4):
            await process.recorder.next(JobCompleted)
    assert order == ["short", "long", "suspect", *["of the other queue"] * 3]


async def test_a_process_that_was_emptied_for_long_runs_suspects_for_as_long(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solo, "TURN", 0.0)  # or as long as emptying took
    other, order = f"{queue}-other", list[str]()

    async def run(payload: str) -> None:
        order.append(payload)
        if payload == "long":
            await asyncio.sleep(1.0)

    await _lost(store, other, "suspect", 4)
    async with running(Process(store, queue, other, handlers=(handler(run),))) as process:
        await enqueue(store, queue, data=body(payload="long"))
        await process.recorder.next(JobStarted)
        await reclaim(store, other)
        process.pools[other].look()
        await until(_answer(lambda: process.holdings.solo), lambda name: name == other)
        for name in (queue, other):
            await enqueue(store, name, 20, data=body(payload="innocent"))
        for _ in range(1 + 4 + 40):
            await process.recorder.next(JobCompleted)
    assert [kind for kind, _ in groupby(order)] == ["long", "suspect", "innocent"]


def _answer(look: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def answer() -> Any:
        return look()

    return answer


async def test_a_reply_that_is_lost_costs_nothing_and_repeats_nothing(server_url: str, store: RedisStore, queue: str) -> None:
    async with Proxy(server_url) as proxy:
        link = Link(proxy.url, clock=Clock())
        through = RedisStore(link, Clock())
        try:
            async with running(Process(through, queue)) as process:
                cut = proxy.cut(calls("step"), "after", times=3)
                for _ in range(6):
                    (job_id,) = await enqueue(store, queue)
                    await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
                    await process.quiet()
                assert cut.done == 3
                assert len(process.recorder.all(JobStarted)) == 6
        finally:
            await through.close()


async def test_with_a_foreign_bell_jobs_run_all_the_same(store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "GLANCE", 0.05)
    async with running(Process(store, queue)) as process:
        await store.link.call("DEL", f"{prefix(queue)}bell")
        await store.link.call("SET", f"{prefix(queue)}bell", "foreign")
        process.pools[queue].look()
        for _ in range(5):
            (job_id,) = await enqueue(store, queue)
            await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")


async def test_scripts_that_the_server_forgot_are_loaded_again(store: RedisStore, queue: str) -> None:
    async with running(Process(store, queue)) as process:
        await store.link.call("SCRIPT", "FLUSH")
        (job_id,) = await enqueue(store, queue)
        await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")


@pytest.mark.parametrize("what_went", ["stream", "group"])
async def test_a_ready_stream_that_was_deleted_is_made_again_by_a_pool_that_is_idle(
    store: RedisStore, queue: str, what_went: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "GLANCE", 0.02)
    ready = f"{prefix(queue)}ready:5"

    async def groups() -> int:
        return len(await store.link.call("XINFO", "GROUPS", ready)) if await store.link.call("EXISTS", ready) else 0

    async with running(Process(store, queue)) as process:
        (job_id,) = await enqueue(store, queue)
        await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        await process.quiet()
        await store.link.call(*(("DEL", ready) if what_went == "stream" else ("XGROUP", "DESTROY", ready, "w")))
        await until(groups, lambda n: n == 1)
        assert process.recorder.all(DataLoss), "and says so"
