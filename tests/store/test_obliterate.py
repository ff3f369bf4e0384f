"""Obliterate: no key of the queue is left, and nobody loses a running job by mistake."""

from __future__ import annotations

from engine.keys import SUFFIXES, prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, enqueue, reclaim


async def fill(store: RedisStore, queue: str) -> Hand:
    """A queue with something in every place there is."""
    await enqueue(store, queue, 6, dedup_key="d", dedup_window_ms=HOUR)
    await enqueue(store, queue, 6)
    await enqueue(store, queue, 6, delay_ms=HOUR)
    for n in range(30):
        await enqueue(store, queue, 2, ordering_key=f"k{n}", priority=1 + n % 9)
    await enqueue(store, queue, 12, ordering_key="long")
    hand = Hand(store, queue)
    claims = await hand.claim(9)
    for claim in claims:
        await store.note(queue, "w1", claim.tag, claim.entry, claim.id, "progress", b"1;2")
    for claim in claims[:2]:
        await hand.bury(claim)
    await hand.retry(claims[2])
    await hand.release(claims[3])
    hand.settles.complete_with(claims[4], b"")  # as the worker does with a job that noted something
    await hand.step()
    await hand.cancel(claims[5])
    await hand.lapse(claims[6])
    await reclaim(store, queue)
    await store.await_end(queue, claims[7].id)
    await store.cancel(queue, claims[8].id, "why")
    hand.settles.count("ended|greet|completed")
    await hand.step()
    await store.heartbeat(queue, "w1", b"x")
    await store.reclaim(queue, "r", 10_000, 3, {})
    return hand


async def test_a_queue_with_running_jobs_is_refused_unless_forced(store: RedisStore, queue: str) -> None:
    await fill(store, queue)
    before = await store.counts(queue)
    refused = await store.obliterate(queue)
    assert (refused.is_done, refused.active) == (False, before.active)
    after = await store.counts(queue)
    assert (after.paused, after.enqueued, after.dead) == (None, before.enqueued, before.dead)


async def test_by_bites_everything_goes_and_no_key_is_left(store: RedisStore, queue: str) -> None:
    await fill(store, queue)
    keys = await store.link.call("KEYS", f"{prefix(queue)}*")
    suffixes = {key.decode().removeprefix(prefix(queue)).split(":")[0] for key in keys}
    assert suffixes >= {s.rstrip(":") for s in SUFFIXES} - {"settled"}
    calls = 1
    while not (await store.obliterate(queue, force=True, limit=5)).is_done:
        calls += 1
    assert calls > 1
    assert await store.link.call("KEYS", f"{prefix(queue)}*") == []
    assert (await store.obliterate(queue)).is_done


async def test_nothing_is_claimed_between_two_bites(store: RedisStore, queue: str) -> None:
    hand = await fill(store, queue)
    assert not (await store.obliterate(queue, force=True, limit=1)).is_done
    assert await hand.claim(5) == []


async def test_who_still_ran_a_job_is_refused_its_settle(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    while not (await store.obliterate(queue, force=True)).is_done:
        continue
    assert await hand.complete(claim) == [claim.entry]
    assert (await store.counts(queue)).enqueued == 0


async def test_it_finds_every_stream_although_nothing_names_them_any_more(store: RedisStore, queue: str) -> None:
    await fill(store, queue)
    await store.link.call("HDEL", prefix(queue) + "meta", "tags")
    while not (await store.obliterate(queue, force=True)).is_done:
        continue
    assert await store.link.call("KEYS", prefix(queue) + "*") == []
