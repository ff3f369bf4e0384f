"""Cancel and delete: one job leaves, counted as what it was, and its key goes to the next."""

from __future__ import annotations

import pytest

from engine.errors import StoreRefused
from engine.store.acts import Removal
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, enqueue, raw, states, usurp

acts = pytest.mark.parametrize("act", ["cancel", "delete"])


async def take(store: RedisStore, queue: str, act: str, job_id: str) -> Removal:
    return await (store.cancel if act == "cancel" else store.delete)(queue, job_id, "why")


@acts
async def test_taking_a_blocked_job_out_closes_the_gap_in_its_line(store: RedisStore, queue: str, act: str) -> None:
    first, second, third = await enqueue(store, queue, 3, ordering_key="k")
    assert await take(store, queue, act, second) is Removal.DONE
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.complete(claim)
    (claim,) = await hand.claim()
    assert (first, claim.id) == (first, third)


@acts
@pytest.mark.parametrize("how", ["retry", "snooze"])
async def test_taking_a_job_out_of_its_wait_passes_its_key_on(store: RedisStore, queue: str, act: str, how: str) -> None:
    job_id, follower = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await (hand.retry(claim) if how == "retry" else hand.snooze(claim))
    assert await take(store, queue, act, job_id) is Removal.DONE
    assert await states(store, queue, [follower]) == ["waiting"]
    assert not await raw(store, queue, "HEXISTS", "jobs", job_id)


@acts
async def test_taking_out_a_delayed_job_leaves_the_key_to_its_holder(store: RedisStore, queue: str, act: str) -> None:
    (delayed,) = await enqueue(store, queue, delay_ms=HOUR, ordering_key="k")
    holder, follower = await enqueue(store, queue, 2, ordering_key="k")
    assert await take(store, queue, act, delayed) is Removal.DONE
    assert await states(store, queue, [holder, follower]) == ["waiting", "blocked"]


@acts
async def test_a_released_job_that_waits_again_can_be_taken_out(store: RedisStore, queue: str, act: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.release(claim)
    assert await take(store, queue, act, job_id) is Removal.DONE
    assert await hand.claim() == []
    assert not await raw(store, queue, "EXISTS", "where")


@acts
async def test_an_entry_id_of_a_moved_job_is_nobodys_id(store: RedisStore, queue: str, act: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.release(*await hand.claim())
    ((entry, _),) = await raw(store, queue, "XRANGE", "ready:E", "-", "+")
    assert await take(store, queue, act, entry.decode()) is Removal.UNKNOWN
    assert await states(store, queue, [job_id]) == ["waiting"]


@acts
async def test_an_ended_or_unknown_job_cannot_be_taken_out(store: RedisStore, queue: str, act: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim())
    assert await take(store, queue, act, job_id) is Removal.UNKNOWN
    assert await take(store, queue, act, "1-1") is Removal.UNKNOWN


async def test_a_cancel_of_an_active_job_is_told_on_the_control_stream(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    await Hand(store, queue).claim()
    assert await store.cancel(queue, job_id, "why") is Removal.REQUESTED
    ((_, fields),) = await raw(store, queue, "XRANGE", "control", "-", "+")
    assert fields == [b"act", b"cancel", b"id", job_id.encode()]


async def test_who_waits_for_an_end_hears_that_the_job_was_taken_out(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 2)
    for job_id in ids:
        await store.await_end(queue, job_id)
    await store.cancel(queue, ids[0], "why")
    await store.delete(queue, ids[1], "why")
    told = [fields[3] for _, fields in await raw(store, queue, "XRANGE", "settled", "-", "+")]
    assert told == [b"cancelled", b"removed"]


async def test_notes_go_with_a_deleted_job_and_stay_a_while_with_a_cancelled_one(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    for claim in await hand.claim(2):
        await store.note(queue, "w1", claim.tag, claim.entry, claim.id, "progress", b"1;2")
        await hand.retry(claim)
    await store.cancel(queue, ids[0], "why", notes_ms=HOUR)
    await store.delete(queue, ids[1], "why")
    assert await raw(store, queue, "HGET", f"notes:{ids[0]}", "progress") == b"1;2"
    assert await raw(store, queue, "HGET", f"notes:{ids[1]}", "progress") is None
    assert await raw(store, queue, "ZCARD", "noted") == 1


async def test_deleting_a_dead_job_takes_its_rows_along(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    assert await store.delete(queue, job_id, "why") is Removal.DONE
    assert await states(store, queue, [job_id]) == ["-"]
    assert not await raw(store, queue, "EXISTS", "where")


@acts
@pytest.mark.parametrize("suffix", ["jobs", "blocked", "keys", "noted", "flags", "dead"])
async def test_a_foreign_type_leaves_the_job_where_it_was(store: RedisStore, queue: str, act: str, suffix: str) -> None:
    holder, follower = await enqueue(store, queue, 2, ordering_key="k")
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await take(store, queue, act, holder)
    await restore()
    assert await states(store, queue, [holder, follower]) == ["waiting", "blocked"]
    assert (await store.counts(queue)).difference == 0
