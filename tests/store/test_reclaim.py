"""Reclaim: what a lost worker held runs again as a suspect, alone, or is dead at its stall limit."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import StoreRefused
from engine.job import State
from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import (
    LEASE_MS,
    Hand,
    Now,
    at_time,
    enqueue,
    enqueue_foreign,
    raw,
    read,
    reclaim,
    states,
    usurp,
)


async def test_a_lapsed_entry_runs_again_with_its_attempt_and_a_stall_more(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    one, two = Hand(store, queue, "w1"), Hand(store, queue, "w2")
    (claim,) = await one.claim()
    await one.lapse(claim)
    done = await reclaim(store, queue)
    assert (done.moved, done.buried, done.in_grace) == (1, 0, False)
    (again,) = await two.claim()
    assert (again.id, again.tag, again.envelope.attempt, again.envelope.stalls) == (job_id, "s", 1, 1)
    assert again.entry != claim.entry
    assert [loss.worker for loss in again.envelope.lost] == ["w1"]
    assert (await store.counts(queue)).stalled == 1


async def test_a_young_lease_is_left_alone(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.lapse(claim, ms=LEASE_MS - 5000)
    assert (await reclaim(store, queue)).moved == 0


async def test_many_reclaimers_at_once_take_each_entry_once(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 30)
    hand = Hand(store, queue)
    await hand.lapse(*await hand.claim(30))
    done = await asyncio.gather(*(reclaim(store, queue, worker=f"r{n}") for n in range(10)))
    assert sum(one.moved for one in done) == 30
    assert await states(store, queue, ids) == ["waiting"] * 30


async def test_after_its_last_stall_a_job_is_dead(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, ordering_key="k")
    (follower,) = await enqueue(store, queue, ordering_key="k")
    hand = Hand(store, queue)
    for stall in range(3):
        (claim,) = await hand.claim()
        assert (claim.id, claim.envelope.stalls) == (job_id, stall)
        await hand.lapse(claim)
        done = await reclaim(store, queue, stall_limit=2)
        assert done.buried == (1 if stall == 2 else 0)
    assert await states(store, queue, [job_id, follower]) == ["dead", "waiting"]
    (row,) = (await store.page(queue, State.DEAD)).rows
    assert row.reason == "stall limit"
    assert row.envelope is not None
    assert len(row.envelope.lost) == 3


async def test_an_undecodable_entry_is_dead_as_it_is_and_takes_nobody_along(store: RedisStore, queue: str) -> None:
    entry = await enqueue_foreign(store, queue, b"\xff\x00 not ours")
    hand = Hand(store, queue)
    reply = await hand.step(want=5)
    for tag, one, _ in reply.rows:
        await store.link.call("XCLAIM", f"{prefix(queue)}ready:{tag}", "w", "w1", 0, one, "IDLE", 99_999, "JUSTID")
    done = await reclaim(store, queue)
    assert (done.moved, done.buried) == (1, 1)
    (row,) = (await store.page(queue, State.DEAD)).rows
    assert (row.id, row.reason, row.raw) == (entry, "undecodable", b"\xff\x00 not ours")


async def test_a_cancel_that_was_asked_is_obeyed_at_reclaim(store: RedisStore, queue: str) -> None:
    job_id, follower = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await store.cancel(queue, job_id, "asked")
    await hand.lapse(claim)
    done = await reclaim(store, queue)
    assert (done.moved, done.buried) == (0, 0)
    assert await states(store, queue, [job_id, follower]) == ["cancelled", "waiting"]
    assert not await raw(store, queue, "EXISTS", "flags")


async def test_a_stalled_job_keeps_its_key(store: RedisStore, queue: str) -> None:
    job_id, follower = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.lapse(claim)
    await reclaim(store, queue)
    assert await states(store, queue, [job_id, follower]) == ["waiting", "blocked"]
    (again,) = await hand.claim()
    assert again.id == job_id
    await hand.complete(again)
    assert await states(store, queue, [job_id, follower]) == ["completed", "waiting"]


async def test_who_waits_for_a_jobs_end_hears_of_its_death_at_the_stall_limit(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await store.await_end(queue, job_id)
    await hand.lapse(claim)
    await reclaim(store, queue, stall_limit=0)
    ((_, fields),) = await raw(store, queue, "XRANGE", "settled", "-", "+")
    assert fields[3] == b"dead"


async def test_the_cursor_is_carried_so_that_dead_entries_behind_live_ones_are_reached(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 160)
    alive, gone = Hand(store, queue, "alive"), Hand(store, queue, "gone")
    await alive.claim(120)
    await gone.lapse(*await gone.claim(40))
    moved, cursors = 0, dict[str, str]()
    for _ in range(20):
        done = await store.reclaim(queue, "r", LEASE_MS, 3, cursors, limit=4, grace=False)
        moved, cursors = moved + done.moved, done.cursors
    assert moved == 40
    assert (await store.counts(queue)).active == 120


async def test_a_suspect_is_taken_only_by_a_worker_that_holds_nothing_and_alone(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    lost = Hand(store, queue, "lost")
    await lost.lapse(*await lost.claim())
    await reclaim(store, queue)
    await enqueue(store, queue, 3)
    busy, free = Hand(store, queue, "busy"), Hand(store, queue, "free")
    reply = await busy.step(want=3, held=2)
    assert (reply.rows, reply.drain) == ([], True)
    reply = await free.step(want=3, held=2)
    assert (len(reply.rows), reply.drain) == (3, False)  # one worker drains at a time; the others go on
    reply = await busy.step(want=3, held=0)
    (suspect,) = read(queue, reply)
    assert suspect.is_suspect
    assert not reply.drain
    await enqueue(store, queue)
    reply = await free.step(want=1, held=3)
    assert (len(reply.rows), reply.drain) == (1, False)  # a suspect that runs drains nobody


async def test_a_turn_to_drain_lapses_so_that_another_worker_can_take_it(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    lost = Hand(timed, queue, "lost")
    await lost.lapse(*await lost.claim())
    await reclaim(timed, queue)
    one, two = Hand(timed, queue, "one"), Hand(timed, queue, "two")
    assert (await one.step(want=1, held=1)).drain
    assert not (await two.step(want=1, held=1)).drain
    now.forward(2001)
    assert (await two.step(want=1, held=1)).drain
    assert not (await one.step(want=1, held=1)).drain


async def test_a_released_suspect_stays_a_suspect(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.lapse(*await hand.claim())
    await reclaim(store, queue)
    (suspect,) = await hand.claim()
    await hand.release(suspect)
    (again,) = await hand.claim()
    assert again.is_suspect


@pytest.mark.parametrize("suffix", ["dead", "where", "blocked", "keys", "flags", "noted"])
async def test_a_foreign_type_leaves_every_entry_where_it_was(store: RedisStore, queue: str, suffix: str) -> None:
    await enqueue(store, queue, 3, ordering_key="k")
    ids = await enqueue(store, queue, 3)
    hand = Hand(store, queue)
    claims = await hand.claim(5)
    await store.cancel(queue, ids[2], "asked")
    await hand.lapse(*claims)
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await reclaim(store, queue, stall_limit=0)
    await restore()
    counts = await store.counts(queue)
    assert (counts.active, counts.blocked, counts.dead, counts.stalled, counts.difference) == (4, 2, 0, 0, 0)


async def test_a_clock_that_is_set_back_prolongs_no_turn_to_drain(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    (lost,) = await Hand(timed, queue, "lost").claim()
    await Hand(timed, queue, "lost").lapse(lost)
    await reclaim(timed, queue)
    one, two = Hand(timed, queue, "one"), Hand(timed, queue, "two")
    assert (await one.step(want=1, held=1)).drain
    now.forward(-3_600_000)
    assert (await two.step(want=1, held=1)).drain
