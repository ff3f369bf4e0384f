"""Reclaimer: a bite a pass, going on where the last one ended, and told when there was something to tell."""

from __future__ import annotations

import asyncio

from engine import Clock, Engine
from engine.events import Events, JobsReclaimed
from engine.keys import prefix
from engine.services import reclaimer as reclaimer_module
from engine.services.reclaimer import Reclaimer
from engine.store.redis_store import RedisStore
from engine.worker import Worker
from tests.support.factory import LEASE_MS, Hand, Now, at_time, enqueue, spec
from tests.support.fake_clock import FakeClock
from tests.support.recorder import Recorder
from tests.support.running import until


def reclaimer(store: RedisStore, queue: str, events: Events, *, grace: bool = False, stall_limit: int = 3) -> Reclaimer:
    declared = spec(queue, lease_ms=LEASE_MS, stall_limit=stall_limit)
    return Reclaimer(declared, store, worker="r", clock=Clock(), events=events, grace=grace)


async def test_dead_entries_behind_more_live_ones_than_one_look_covers_are_reached(store: RedisStore, queue: str) -> None:
    for _ in range(5):
        await enqueue(store, queue, 92)
    alive, gone = Hand(store, queue, "alive"), Hand(store, queue, "gone")
    for _ in range(5):
        await alive.claim(84)  # 420: a bite of 40 looks at 400 entries from its cursor
    await gone.lapse(*await gone.claim(40))
    service = reclaimer(store, queue, Events(Clock()))
    moved = 0
    for _ in range(4):
        moved += (await service.run_once()).moved
    assert moved == 40
    assert (await store.counts(queue)).active == 420


async def test_a_pass_that_did_something_is_told_and_an_empty_one_is_not(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    await hand.lapse(*await hand.claim(2))
    events = Events(Clock())
    service = reclaimer(store, queue, events, stall_limit=0)
    with Recorder(events) as recorder:
        for _ in range(3):
            await service.run_once()
        (told,) = recorder.all(JobsReclaimed)
    assert (told.queue, told.moved, told.buried, told.grace) == (queue, 0, 2, False)


async def test_the_beginning_and_the_end_of_a_grace_are_told(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    events = Events(Clock())
    service = reclaimer(timed, queue, events, grace=True)
    await service.run_once()
    with Recorder(events) as recorder:
        now.forward(LEASE_MS)
        assert (await service.run_once()).in_grace
        assert "in grace" in service.status()
        for _ in range(4):
            now.forward(LEASE_MS // 2 - 100)
            await service.run_once()
        assert [told.grace for told in recorder.all(JobsReclaimed)] == [True, False]
    assert "on duty" in service.status()


async def test_a_lost_job_waits_for_its_lease_and_no_pass_more(store: RedisStore, queue: str) -> None:
    service = reclaimer(store, queue, Events(Clock()))
    lease = LEASE_MS / 1000
    assert service.period == lease / 8
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    first, second = await hand.claim(2)
    await hand.lapse(first, ms=LEASE_MS * 9 // 10)
    await hand.lapse(second, ms=LEASE_MS * 19 // 20)
    assert (await service.run_once()).moved == 0
    assert max(service.next_wait() for _ in range(50)) <= lease / 20 + reclaimer_module.SOON
    await hand.lapse(second)
    assert (await service.run_once()).moved == 1
    assert lease / 20 < max(service.next_wait() for _ in range(50)) <= lease / 10 + reclaimer_module.SOON
    await hand.lapse(first)
    assert (await service.run_once()).moved == 1
    assert min(service.next_wait() for _ in range(50)) > lease / 20


async def test_it_looks_less_often_while_nothing_is_held_but_never_so_seldom_that_it_seems_an_outage(
    store: RedisStore, queue: str
) -> None:
    service = reclaimer(store, queue, Events(Clock()))
    lease = LEASE_MS / 1000
    await service.run_once()
    waits = [service.next_wait() for _ in range(200)]
    assert lease / 4 < min(waits) < max(waits) <= lease * 0.4
    await enqueue(store, queue)
    await Hand(store, queue).claim()
    await service.run_once()
    assert max(service.next_wait() for _ in range(200)) < lease / 6


async def test_a_first_claim_after_a_quiet_time_makes_a_pass_and_the_next_ones_do_not(store: RedisStore, queue: str) -> None:
    service = reclaimer(store, queue, Events(Clock()))
    clock = service._clock = FakeClock()
    await service.run_once()
    clock.jump(service.period * 1.1)
    service.hear()
    assert service._wake.is_set()
    service._wake.clear()
    await service.run_once()
    service.hear()
    assert not service._wake.is_set()


async def test_a_worker_that_claims_after_a_quiet_time_says_so_at_once(server_url: str, queue: str) -> None:
    """Or, killed a moment later, it left a silence that together with its successor's start is taken for an outage."""
    engine = Engine(server_url)

    @engine.queue(queue).handler("greet")
    async def greet(payload: int) -> None:
        await asyncio.Event().wait()

    async with engine:
        store, worker = engine.connection.store, Worker(engine, drain_timeout=0.1)
        running = asyncio.ensure_future(worker.run())

        async def beat() -> int:
            return int(await store.link.call("HGET", f"{prefix(queue)}meta", "beat") or 0)

        try:
            await until(beat, bool)
            (service,) = [one for one in worker._services if isinstance(one, Reclaimer)]
            service._passed_mono -= service.period * 2
            await store.link.call("HSET", f"{prefix(queue)}meta", "beat", await store.now_ms() - 4000)
            before = await beat()
            await greet.enqueue(1)
            await until(beat, lambda now: now > before + 3000, 1.0)
        finally:
            worker.stop()
            await running
