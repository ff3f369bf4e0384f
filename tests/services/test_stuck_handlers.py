"""Handlers that go on after they were cancelled: settled without them, replaced, and left behind in bounded number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from engine import Engine, Handler
from engine.events import HandlerStuck, JobRetried
from engine.services import slot
from engine.store.redis_store import RedisStore
from engine.worker import Worker
from tests.support.recorder import Recorder
from tests.support.running import running, until


class Bench:
    """A queue of two slots whose handler `deaf` goes on until the test lets it end; `well` ends as one should."""

    def __init__(self, engine: Engine, queue: str) -> None:
        self.engine, self.queue = engine, queue
        self.let_go = asyncio.Event()
        self.ended: list[int] = []
        declared = engine.queue(queue, concurrency=2, attempts=1, timeout=0.1, lease=1)

        @declared.handler("deaf")
        async def deaf(n: int) -> int:
            while not self.let_go.is_set():
                try:
                    await self.let_go.wait()
                except asyncio.CancelledError:
                    continue
            self.ended.append(n)
            return n

        @declared.handler("well", timeout=30)
        async def well(n: int) -> int:
            return n

        self.deaf: Handler[int, int] = deaf
        self.well: Handler[int, int] = well


@pytest.fixture
async def bench(make_engine: Callable[..., Engine], queue: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(slot, "PATIENCE", 0.1)
    bench = Bench(make_engine(), queue)
    yield bench
    bench.let_go.set()


async def test_its_attempt_is_settled_without_it_and_every_slot_works_again(bench: Bench, store: RedisStore) -> None:
    async with bench.engine, running(bench.engine):
        recorder = Recorder(bench.engine.events)
        stuck = await bench.deaf.enqueue_many([1, 2])  # both slots
        for handle in stuck:
            await recorder.next(HandlerStuck, id=handle.id)
        good = await bench.well.enqueue_many([3, 4, 5])
        assert [await handle.result(timeout=5) for handle in good] == [3, 4, 5]
        counts = await store.counts(bench.queue)
        assert (counts.dead, counts.completed, counts.active, counts.stalled) == (2, 3, 0, 0)
        (row, _) = (await store.dead(bench.queue)).rows
        assert row.death is not None
        assert "0.1 s" in row.death.message
        recorder.close()


async def test_what_it_answers_in_the_end_is_recorded_nowhere(bench: Bench, store: RedisStore) -> None:
    async with bench.engine, running(bench.engine):
        await bench.deaf.enqueue(1)
        await until(lambda: store.counts(bench.queue), lambda c: c.dead == 1)
        bench.let_go.set()
        assert await (await bench.deaf.enqueue(2)).result(timeout=5) == 2
        assert bench.ended == [1, 2]
        counts = await store.counts(bench.queue)
        assert (counts.dead, counts.completed, counts.difference) == (1, 1, 0)


async def test_another_attempt_follows_where_one_is_left(bench: Bench, store: RedisStore) -> None:
    async with bench.engine, running(bench.engine):
        recorder = Recorder(bench.engine.events)
        handle = await bench.deaf.enqueue(1, attempts=2)
        await recorder.next(JobRetried, id=handle.id)
        counts = await until(lambda: store.counts(bench.queue), lambda c: c.retrying == 1)
        assert counts.stalled == 0
        recorder.close()


async def test_as_many_as_there_are_slots_are_left_behind_and_then_the_pool_waits_for_them(
    bench: Bench, store: RedisStore
) -> None:
    async with bench.engine, running(bench.engine):
        await bench.deaf.enqueue_many(range(4))
        await until(lambda: store.counts(bench.queue), lambda c: c.dead == 4)
        waiting = await bench.well.enqueue(5)
        counts = await store.counts(bench.queue)
        assert (counts.waiting, counts.active) == (1, 0), "no slot is left that could run it, so it is not claimed either"
        bench.let_go.set()
        assert await waiting.result(timeout=5) == 5
        assert sorted(bench.ended) == [0, 1, 2, 3]


async def test_a_worker_ends_in_time_beside_one(bench: Bench, store: RedisStore) -> None:
    async with bench.engine:
        worker = Worker(bench.engine)
        running_worker = asyncio.ensure_future(worker.run())
        await bench.deaf.enqueue(1)
        await until(lambda: store.counts(bench.queue), lambda c: c.dead == 1)
        worker.stop()
        async with asyncio.timeout(5):
            assert await running_worker, "it drained: what was left behind holds no job"


async def test_with_a_total_of_slots_a_stuck_queue_holds_none_of_them(bench: Bench, store: RedisStore) -> None:
    other = bench.engine.queue(f"{bench.queue}-other", concurrency=2)

    @other.handler("fine")
    async def fine(n: int) -> int:
        return n

    async with bench.engine, running(bench.engine, slots=2):
        await bench.deaf.enqueue_many(range(4))
        await until(lambda: store.counts(bench.queue), lambda c: c.dead == 4)
        await bench.well.enqueue_many(range(5))  # no place is left for these
        handles = await fine.enqueue_many(range(6))
        assert [await handle.result(timeout=5) for handle in handles] == list(range(6))
        bench.let_go.set()
    while not (await store.obliterate(other.name, force=True)).is_done:
        continue
