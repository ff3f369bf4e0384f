"""Handlers that do what no handler should: the pool goes on with all its slots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from engine import Engine, Job, Snooze, State, StoreFull
from engine.store.redis_store import RedisStore
from tests.support.running import running, until


async def test_handlers_that_cancel_their_own_task_cost_no_slot(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()

    @engine.queue(queue, concurrency=2, attempts=1).handler("work")
    async def work(kind: str) -> str:
        if kind != "ok":
            asyncio.current_task().cancel()  # type: ignore[union-attr]  # a handler runs in a task
        if kind == "wait":
            await asyncio.Event().wait()
        return kind

    async with engine, running(engine):
        rude = await work.enqueue_many(["wait", "wait", "wait", "return", "return", "return"])
        good = await work.enqueue_many(["ok"] * 6)
        assert [await handle.result(timeout=10) for handle in good] == ["ok"] * 6
        counts = await until(lambda: store.counts(queue), lambda c: c.dead + c.completed == 12)
        assert (counts.dead, counts.completed) == (3, 9), rude


async def test_an_exception_with_megabytes_to_say_does_not_stand_on_the_loop(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()

    @engine.queue(queue, attempts=1).handler("work")
    async def work(megabytes: int, job: Job) -> None:
        job.log("x" * megabytes * 1_000_000)
        raise ValueError("5511987654321 " * (megabytes * 1_000_000 // 14))

    async with engine, running(engine):
        began = time.monotonic()
        await work.enqueue(5)
        await until(lambda: store.counts(queue), lambda c: c.dead == 1)
        assert time.monotonic() - began < 2, "masking 5 MB takes some 9 s: it is cut first"
        (row,) = (await store.dead(queue)).rows
        assert row.death is not None
        assert "987654" not in row.death.message
        assert len(row.death.message) <= 2_000


async def test_what_has_ended_does_not_pile_up_faster_than_it_is_settled(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()
    most = 0

    @engine.queue(queue, concurrency=20).handler("work")
    async def work(number: int) -> int:  # a kept result weighs three plain completions
        nonlocal most
        most = max(most, len(held))
        return number

    async with engine:
        await work.enqueue_many(range(5_000))
        async with running(engine) as worker:
            await until(lambda: store.counts(queue), lambda c: c.active > 0)
            held = worker.pools[queue]._held
            await until(lambda: store.counts(queue), lambda c: c.completed == 5_000, timeout=30)
    assert most <= 400, f"{most} held at once: prefetch (100) and two bites are expected, a backlog of ended jobs is not"


async def test_trouble_with_our_own_server_costs_a_job_no_attempt(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()
    full = True

    @engine.queue(queue, attempts=1).handler("work")
    async def work(number: int) -> int:
        if full:
            raise StoreFull("at maxmemory", code="OOM")
        return number

    async with engine, running(engine):
        handle = await work.enqueue(7)
        await until(lambda: store.counts(queue), lambda c: c.scheduled == 1)
        full = False
        await store.hasten(queue, handle.id.partition("/")[2])
        assert await handle.result(timeout=10) == 7
        counts = await store.counts(queue)
        assert (counts.snoozed, counts.dead) == (1, 0)


async def test_a_cancellation_that_reaches_an_idle_slot_delays_no_later_job(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()

    slots: list[asyncio.Task[Any] | None] = []

    @engine.queue(queue, concurrency=1).handler("work")
    async def work(number: int) -> int:
        slots.append(asyncio.current_task())
        return number

    async with engine, running(engine):
        assert await (await work.enqueue(0)).result(timeout=10) == 0
        assert slots[0] is not None
        slots[0].cancel()  # what a handler left behind may do so late: the slot waits by now
        for number in range(1, 4):
            assert await (await work.enqueue(number)).result(timeout=3) == number  # an idle pool looks again after 3.75 s


async def test_a_reason_without_end_is_cut_and_masked(make_engine: Callable[..., Engine], store: RedisStore, queue: str) -> None:
    engine = make_engine()

    @engine.queue(queue).handler("work")
    async def work(number: int) -> None:
        raise Snooze(60, "5511987654321 " * 500_000)

    async with engine, running(engine):
        await work.enqueue(1)
        began = time.monotonic()
        await until(lambda: store.counts(queue), lambda c: c.scheduled == 1)
        assert time.monotonic() - began < 2
        (row,) = (await store.page(queue, State.SCHEDULED)).rows
        assert row.body is not None
        assert len(row.body.history[0].error) <= 500
        assert "987654" not in row.body.history[0].error
