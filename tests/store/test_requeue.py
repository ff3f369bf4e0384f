"""Requeue: the dead get a fresh start at the end of the line."""

from __future__ import annotations

import pytest

from engine.errors import StoreRefused
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, enqueue, enqueue_foreign, fall_asleep, reclaim, states, usurp
from tests.support.laws import lines


async def test_a_requeued_job_is_as_new_but_for_its_id_and_body(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, priority=2, ordering_key="k")
    hand = Hand(store, queue)
    (first,) = await hand.claim()
    await hand.lapse(first)
    await reclaim(store, queue)
    (claim,) = await hand.claim()
    await hand.bury(claim)
    assert await store.requeue(queue, [job_id]) == 1
    (again,) = await hand.claim()
    env = again.envelope
    assert (again.id, again.tag, env.attempt, env.stalls, env.losses, env.key) == (job_id, "2", 1, 0, b"", "k")
    assert env.body == first.envelope.body


async def test_a_requeued_job_joins_the_end_of_its_keys_line(store: RedisStore, queue: str) -> None:
    first, second = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    (third,) = await enqueue(store, queue, ordering_key="k")
    assert await store.requeue(queue, [first]) == 1
    ran = []
    while claims := await hand.claim():
        ran += [c.id for c in claims]
        await hand.complete(*claims)
    assert ran == [second, third, first]


async def test_one_id_named_twice_comes_back_once(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    assert await store.requeue(queue, [job_id, job_id]) == 1
    assert await states(store, queue, [job_id]) == ["waiting"]


async def test_only_the_dead_come_back(store: RedisStore, queue: str) -> None:
    waiting, active = (await enqueue(store, queue, 2))[::-1]
    hand = Hand(store, queue)
    await hand.claim()
    assert await store.requeue(queue, [waiting, active, "1-1", "nonsense"]) == 0
    assert await states(store, queue, [waiting, active]) == ["waiting", "active"]


async def test_an_undecodable_job_stays_dead(store: RedisStore, queue: str) -> None:
    entry = await enqueue_foreign(store, queue, b"garbage")
    hand = Hand(store, queue)
    await hand.step(want=1)
    await hand.step(want=1)
    await store.link.call("XCLAIM", f"engine:{{{queue}}}:ready:5", "w", "w1", 0, entry, "IDLE", 99_999, "JUSTID")
    assert (await reclaim(store, queue)).buried == 1
    assert await store.requeue(queue, [entry]) == 0
    assert await states(store, queue, [entry]) == ["dead"]


async def test_a_requeue_rings_the_bell(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    await fall_asleep(store, queue)
    before = await store.last_ids(queue)
    await store.requeue(queue, [job_id])
    assert await store.last_ids(queue) != before


@pytest.mark.parametrize("suffix", ["where", "keys", "blocked"])
async def test_a_foreign_type_leaves_the_dead_where_they_were(store: RedisStore, queue: str, suffix: str) -> None:
    first, _ = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await store.requeue(queue, [first])
    await restore()
    assert await states(store, queue, [first]) == ["dead"]
    assert await store.requeue(queue, [first]) == 1
    assert (await lines(store, queue))["k"][1:] == [first]
