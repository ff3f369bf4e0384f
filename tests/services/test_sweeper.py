"""Sweeper: what is past its retention goes, on an idle queue too, and nothing before."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from engine import Clock
from engine.declared import DAY_MS
from engine.errors import StoreRefused
from engine.events import Events, Swept
from engine.services.sweeper import SILENT_MS, Sweep, Sweeper
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, Now, at_time, enqueue, raw, spec, states
from tests.support.recorder import Recorder

_hands = itertools.count()


def sweeper(store: RedisStore, queue: str, events: Events | None = None, **fields: Any) -> Sweeper:
    return Sweeper(spec(queue, **fields), store, clock=Clock(), events=events or Events(Clock()))


async def finish(store: RedisStore, queue: str, n: int, *, dead: int = 0) -> list[str]:
    ids = await enqueue(store, queue, n + dead)
    hand = Hand(store, queue, f"finisher-{next(_hands)}")
    for i in range(n + dead):
        (claim,) = await hand.claim()
        await (hand.complete(claim) if i < n else hand.bury(claim))
    return ids


async def test_dead_jobs_are_kept_seven_days_and_not_a_pass_longer(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    ids = await finish(timed, queue, 0, dead=3)
    service = sweeper(timed, queue)
    now.forward(7 * DAY_MS - 60_000)
    assert (await service.run_once()).dead == 0
    assert await states(store, queue, ids) == ["dead"] * 3
    now.forward(120_000)  # nothing has run here for a week
    assert (await service.run_once()).dead == 3
    assert await states(store, queue, ids) == ["-"] * 3
    assert (await store.counts(queue)).removed == 3


@pytest.mark.damaged
async def test_a_part_that_is_damaged_keeps_no_other_from_being_swept(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await finish(timed, queue, 0, dead=3)
    await store.heartbeat(queue, "gone", b"x")
    await raw(store, queue, "HSET", "workers", "gone", "1;x")
    await raw(store, queue, "SET", "done", "not ours")
    now.forward(8 * DAY_MS)
    events = Events(Clock())
    with Recorder(events) as recorder, pytest.raises(StoreRefused, match="another type"):
        await sweeper(timed, queue, events).run_once()
    assert (await store.counts(queue)).removed == 3
    assert await raw(store, queue, "HLEN", "workers") == 0, "after it, too"
    assert [event.dead for event in recorder.all(Swept)] == [3], "what was dropped is told"


async def test_the_dead_go_by_number_too_where_one_is_declared(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 4)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim(4))
    assert (await sweeper(store, queue).run_once()).dead == 0
    assert (await sweeper(store, queue, keep_dead=3).run_once()).dead == 1
    assert await states(store, queue, ids) == ["-"] + ["dead"] * 3


async def test_completed_jobs_go_by_number(store: RedisStore, queue: str) -> None:
    ids = await finish(store, queue, 12)
    assert (await sweeper(store, queue, keep_completed=5).run_once()).finished == 7
    assert await states(store, queue, ids) == ["-"] * 7 + ["completed"] * 5


async def test_completed_jobs_go_by_age(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await finish(timed, queue, 4)
    service = sweeper(timed, queue, keep_completed_ms=3_600_000)
    assert await service.run_once() == Sweep()
    now.forward(3_700_000)
    assert (await service.run_once()).finished == 4


async def test_one_pass_drops_more_than_one_bite(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    for _ in range(3):
        ids = await enqueue(timed, queue, 80)
        for job_id in ids:
            await timed.cancel(queue, job_id, "why")
    await enqueue(timed, queue, 100)
    await enqueue(timed, queue, 20)
    hand = Hand(timed, queue)
    while claims := await hand.claim(50):
        await hand.bury(*claims)
    now.forward(8 * DAY_MS)
    swept = await sweeper(timed, queue).run_once()
    assert (swept.finished, swept.dead) == (240, 120)


async def test_two_sweepers_at_once_drop_each_entry_once(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await finish(timed, queue, 10, dead=10)
    now.forward(8 * DAY_MS)
    first, second = await asyncio.gather(*(sweeper(timed, queue).run_once() for _ in range(2)))
    assert (first.finished + second.finished, first.dead + second.dead) == (10, 10)


async def test_notes_workers_and_producers_past_their_time_are_forgotten(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue, notes_ms=1000)
    (claim,) = await hand.claim()
    hand.settles.complete_with(claim, b"\x01")
    await hand.step()
    await timed.heartbeat(queue, "w1", b"x")
    service = sweeper(timed, queue)
    assert await service.run_once() == Sweep()
    now.forward(1000)
    assert await service.run_once() == Sweep(notes=1)
    now.forward(SILENT_MS)
    assert await service.run_once() == Sweep(workers=1, producers=1)
    assert await raw(store, queue, "HGET", "meta", "w:w1") is None


@pytest.mark.parametrize("dead", [0, 2])
async def test_a_pass_that_dropped_something_is_told_and_an_empty_one_is_not(store: RedisStore, queue: str, dead: int) -> None:
    now = Now()
    timed = at_time(store, now)
    await finish(timed, queue, 0, dead=dead)
    now.forward(8 * DAY_MS)
    events = Events(Clock())
    with Recorder(events) as recorder:
        await sweeper(timed, queue, events).run_once()
        assert [(told.queue, told.dead) for told in recorder.all(Swept)] == ([(queue, 2)] if dead else [])


async def test_an_empty_queue_is_swept_without_complaint(store: RedisStore, queue: str) -> None:
    assert await sweeper(store, queue).run_once() == Sweep()


async def test_notes_go_as_fast_as_they_come_and_not_a_call_each_pass(store: RedisStore, queue: str) -> None:
    due = [part for i in range(250) for part in (1, f"{i + 1}-1")]
    await raw(store, queue, "ZADD", "noted", *due)
    assert (await sweeper(store, queue).run_once()).notes == 250
    assert await raw(store, queue, "ZCARD", "noted") == 0


async def test_it_comes_seldom_while_there_is_nothing_to_drop(store: RedisStore, queue: str) -> None:
    service = sweeper(store, queue, keep_completed=5)
    await service.run_once()
    assert min(service.next_wait() for _ in range(100)) > 20
    await finish(store, queue, 12)
    await service.run_once()
    assert max(service.next_wait() for _ in range(100)) < 13
