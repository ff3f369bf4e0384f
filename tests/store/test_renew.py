"""Renew: keeps what is ours, steals nothing, and tells what is lost."""

from __future__ import annotations

import pytest

from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import LEASE_MS, Hand, enqueue, reclaim, states


async def idle_ms(store: RedisStore, queue: str, tag: str, entry: str) -> tuple[str, int, int]:
    """Owner, idle ms and deliveries of a pending entry."""
    ((_, owner, idle, times),) = await store.link.call("XPENDING", f"{prefix(queue)}ready:{tag}", "w", entry, entry, 1)
    return owner.decode(), int(idle), int(times)


async def test_a_renewed_lease_is_young_and_stays_ours(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    kept, old = await hand.claim(2)
    await hand.lapse(kept, old)
    assert await hand.renew(kept) == ([], [])
    owner, idle, times = await idle_ms(store, queue, kept.tag, kept.entry)
    assert owner == "w1"
    assert idle < LEASE_MS
    assert times == 1  # a renewal is no delivery
    assert (await reclaim(store, queue)).moved == 1
    assert await states(store, queue, [kept.id, old.id]) == ["active", "waiting"]


async def test_renewing_never_takes_an_entry_from_its_new_owner(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    one, two = Hand(store, queue, "w1"), Hand(store, queue, "w2")
    (claim,) = await one.claim()
    assert await two.renew(claim) == ([claim.entry], [])
    assert (await idle_ms(store, queue, claim.tag, claim.entry))[0] == "w1"
    await one.lapse(claim)
    await reclaim(store, queue)
    (new,) = await two.claim()
    assert await one.renew(claim) == ([claim.entry], [])
    assert (await idle_ms(store, queue, new.tag, new.entry))[0] == "w2"


async def test_a_settled_entry_is_lost_and_is_not_made_anew(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.complete(claim)
    assert await hand.renew(claim) == ([claim.entry], [])
    assert (await store.counts(queue)).active == 0


async def test_all_that_is_pending_for_a_worker_is_renewed_and_nothing_of_anybody_else(store: RedisStore, queue: str) -> None:
    for priority in (1, 5):
        await enqueue(store, queue, 3, priority=priority)
    one, two = Hand(store, queue, "w1"), Hand(store, queue, "w2")
    mine, others = await one.claim(4), await two.claim(2)
    await one.lapse(*mine)
    await two.lapse(*others)
    await store.renew_all(queue, "w1")
    assert {(await idle_ms(store, queue, c.tag, c.entry))[0] for c in mine} == {"w1"}
    assert (await reclaim(store, queue)).moved == 2
    assert await states(store, queue, [c.id for c in (*mine, *others)]) == ["active"] * 4 + ["waiting"] * 2


async def test_leases_of_several_streams_are_renewed_in_one_call(store: RedisStore, queue: str) -> None:
    for priority in (1, 5, 9):
        await enqueue(store, queue, 20, priority=priority)
    hand = Hand(store, queue)
    claims = await hand.claim(60)
    await hand.lapse(*claims)
    assert await hand.renew(*claims) == ([], [])
    assert (await reclaim(store, queue)).moved == 0


async def test_a_renewal_hears_of_jobs_that_somebody_wants_cancelled(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    claims = await hand.claim(2)
    await store.cancel(queue, claims[1].id, "asked")
    await store.await_end(queue, claims[0].id)  # a flag of another kind
    assert await hand.renew(*claims) == ([], [claims[1].id])


@pytest.mark.damaged
async def test_without_its_group_everything_is_lost(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await store.link.call("XGROUP", "DESTROY", f"{prefix(queue)}ready:5", "w")
    assert await hand.renew(claim) == ([claim.entry], [])
