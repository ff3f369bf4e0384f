"""Promoter: moves what is due in bites, and sleeps exactly until the next."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import Clock, Engine, StoreUnreachable
from engine.events import Events, JobsPromoted
from engine.services.promoter import APART, LONGEST_WAIT, MARGIN, Promoter
from engine.store.redis_store import RedisStore
from engine.store.work import Promoted
from engine.worker import Worker
from tests.support.factory import HOUR, Now, at_time, enqueue
from tests.support.fake_clock import FakeClock, settle
from tests.support.recorder import Recorder
from tests.support.running import until


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()


def promoter(store: RedisStore, queue: str, fake: FakeClock, events: Events | None = None) -> Promoter:
    return Promoter(queue, store, clock=fake, events=events or Events(fake))


async def test_one_pass_moves_all_that_is_due_in_bites(store: RedisStore, queue: str, fake: FakeClock) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, 100, delay_ms=5)
    await enqueue(timed, queue, 20, delay_ms=5)
    now.forward(5)
    events = Events(fake)
    with Recorder(events) as recorder:
        assert (await promoter(timed, queue, fake, events).run_once()).moved == 120
        (told,) = recorder.all(JobsPromoted)
    assert (told.queue, told.count) == (queue, 120)


async def test_it_sleeps_until_the_next_due_time_and_no_longer_than_its_limit(
    store: RedisStore, queue: str, fake: FakeClock
) -> None:
    now = Now()
    timed = at_time(store, now)
    service = promoter(timed, queue, fake)
    assert (await service.run_once()).moved == 0
    assert service.next_wait() == LONGEST_WAIT
    await enqueue(timed, queue, delay_ms=HOUR)
    await service.run_once()
    assert service.next_wait() == LONGEST_WAIT
    await enqueue(timed, queue, delay_ms=2000)
    service.hear(now.ms + 2000, now.ms)
    assert service.next_wait() == pytest.approx(2.0 + MARGIN)
    await service.run_once()
    assert service.next_wait() == pytest.approx(2.0 + MARGIN)
    assert "next in 2.00" in service.status()


async def test_it_wakes_for_something_sooner_and_only_then(store: RedisStore, queue: str, fake: FakeClock) -> None:
    service = promoter(store, queue, fake)
    service.hear(100_000, 0)
    assert service._wake.is_set()
    service._wake.clear()
    for due_ms in (100_000, 200_000):
        service.hear(due_ms, 0)
        assert not service._wake.is_set()
    service.hear(90_000, 0)
    assert service._wake.is_set()
    assert service.next_wait() == LONGEST_WAIT
    service.hear(3_000, 0)
    assert service.next_wait() == pytest.approx(3.0 + MARGIN)


async def test_being_woken_to_sleep_shorter_asks_nothing_of_the_server(store: RedisStore, queue: str, fake: FakeClock) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, delay_ms=1)
    now.forward(1)
    service = promoter(timed, queue, fake)
    service.hear(now.ms + 1000, now.ms)
    assert (await service.run_once()).moved == 0
    fake.jump(1.1)
    assert (await service.run_once()).moved == 1


class Slow(RedisStore):
    """A store whose promote answers when the test says so."""

    def __init__(self, other: RedisStore) -> None:
        super().__init__(other.link, FakeClock())
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def promote(self, queue: str, limit: int = 50) -> Promoted:
        done = await super().promote(queue, limit)
        self.asked.set()
        await self.answer.wait()
        if self.fails:
            raise StoreUnreachable("away")
        return done


async def test_a_due_time_heard_while_it_asks_is_not_lost(store: RedisStore, queue: str, fake: FakeClock) -> None:
    await enqueue(store, queue, delay_ms=HOUR)
    slow = Slow(store)
    service = promoter(slow, queue, fake)
    service.hear(1000, 1000)  # something is due: the pass asks
    fake.jump(0.1)
    task = asyncio.ensure_future(service.run_once())
    await slow.asked.wait()
    service.hear(2000, 1000)  # a step scheduled something after promote had looked
    slow.answer.set()
    await task
    assert service.next_wait() == pytest.approx(1.0 + MARGIN)


async def test_after_a_failed_pass_it_looks_again_soon(store: RedisStore, queue: str, fake: FakeClock) -> None:
    slow = Slow(store)
    slow.fails = True
    slow.answer.set()
    service = promoter(slow, queue, fake)
    task = asyncio.ensure_future(service.run())
    await slow.asked.wait()
    await settle()
    assert fake.slept[-1] < 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_running_promoter_moves_a_job_at_its_time(store: RedisStore, queue: str) -> None:
    # on the real clock: never before its time
    service = Promoter(queue, store, clock=Clock(), events=Events(Clock()))
    with Recorder(service._events) as recorder:
        task = asyncio.ensure_future(service.run())
        (job_id,) = await enqueue(store, queue, delay_ms=60)
        due: Any = await store.link.call("ZSCORE", f"engine:{{{queue}}}:scheduled", job_id)
        service.hear(int(due), await store.now_ms())
        await recorder.next(JobsPromoted)
        assert await store.now_ms() >= int(due)
        service.stop()
        await task


async def test_a_delayed_job_is_promoted_on_time_although_every_slot_is_busy_and_no_step_tells_of_it(
    server_url: str, queue: str
) -> None:
    engine, running, release = Engine(server_url), asyncio.Event(), asyncio.Event()

    @engine.queue(queue, concurrency=1).handler("greet")
    async def greet(payload: int) -> None:
        running.set()
        await release.wait()

    async with engine:
        worker = Worker(engine)
        work = asyncio.ensure_future(worker.run())
        try:
            await greet.enqueue(1)
            await asyncio.wait_for(running.wait(), 5)
            await greet.enqueue(2, delay=0.3, priority=1)
            await until(lambda: engine.client.counts(queue), lambda counts: counts.scheduled == 0, 3.0)
            assert (await engine.client.counts(queue)).waiting == 1
        finally:
            release.set()
            worker.stop()
            await work


async def test_rings_of_a_busy_pool_make_it_look_a_moment_apart_and_nothing_due_wait(
    store: RedisStore, queue: str, fake: FakeClock
) -> None:
    service = promoter(store, queue, fake)
    service.look()
    assert service.next_wait() == 0.0  # it has not looked for long
    await service.run_once()
    service.look()
    assert service.next_wait() == pytest.approx(APART)
    service.hear(5, 0)
    assert service.next_wait() == pytest.approx(0.005 + MARGIN)
    service.look()
    assert service.next_wait() == pytest.approx(0.005 + MARGIN), "a ring put off what is due sooner"
