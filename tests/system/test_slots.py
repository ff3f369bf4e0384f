"""`--slots N`: a total for all queues of a process, dealt by priority, with a share for those who wait longest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine import Engine
from tests.support.laws import assert_conserved
from tests.support.running import running


async def test_slots_go_to_the_lowest_priority_number_and_starve_nobody(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    order: list[str] = []
    at_once = most = 0

    async def work(kind: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        order.append(kind)
        await engine.connection.store.link.call("PING")  # meanwhile the others run
        at_once -= 1

    urgent = engine.queue("slots-urgent", priority=1).handler("work")(work)
    patient = engine.queue("slots-patient", priority=5).handler("work")(work)
    async with engine:
        store = engine.connection.store
        last = [(await handler.enqueue_many([kind] * 100))[-1] for handler, kind in ((patient, "patient"), (urgent, "urgent"))]
        async with running(engine, slots=2):
            for handle in last:
                await handle.result(timeout=30)
        for queue in engine.queues:
            await assert_conserved(store, queue)
            while not (await store.obliterate(queue, force=True)).is_done:
                continue
    assert most <= 2, "more ran at once than there are slots"
    until_urgent_is_done = order[: len(order) - order[::-1].index("urgent")]
    share = until_urgent_is_done.count("patient") / len(until_urgent_is_done)
    assert 0.04 <= share <= 0.3, f"one grant in ten is the patient queue's; it got {share:.0%} while the urgent one had work"


async def test_without_slots_each_queue_has_its_own_pool(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    running_now = {"pool-a": 0, "pool-b": 0}
    most = dict(running_now)
    everybody = asyncio.Event()

    async def work(queue: str) -> None:
        running_now[queue] += 1
        most[queue] = max(most[queue], running_now[queue])
        if sum(running_now.values()) == 8:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 10)
        running_now[queue] -= 1

    handlers = [engine.queue(name, concurrency=n).handler("work")(work) for name, n in (("pool-a", 5), ("pool-b", 3))]
    async with engine:
        store = engine.connection.store
        handles = [h for handler in handlers for h in await handler.enqueue_many([handler.queue_name] * 10)]
        async with running(engine):
            for handle in handles:
                await handle.result(timeout=30)
        for queue in engine.queues:
            while not (await store.obliterate(queue, force=True)).is_done:
                continue
    assert most == {"pool-a": 5, "pool-b": 3}


async def test_a_queue_whose_slots_all_hang_delays_no_job_of_another(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    stuck, gate = asyncio.Semaphore(0), asyncio.Event()

    async def hang(n: int) -> None:
        stuck.release()
        await gate.wait()

    async def quick(n: int) -> int:
        return n

    slow = engine.queue("apart-slow", priority=1, concurrency=5).handler("hang")(hang)
    fast = engine.queue("apart-fast", priority=9, concurrency=1).handler("quick")(quick)
    async with engine:
        store = engine.connection.store
        handles = await slow.enqueue_many(list(range(300)))
        async with running(engine):
            for _ in range(5):
                await asyncio.wait_for(stuck.acquire(), 10)
            for n in range(20):
                assert await (await fast.enqueue(n)).result(timeout=2) == n
            assert (await store.counts("apart-slow")).active >= 5
            gate.set()
            await handles[-1].result(timeout=30)
        for queue in engine.queues:
            await assert_conserved(store, queue)
            while not (await store.obliterate(queue, force=True)).is_done:
                continue
