"""Notes: what an active job keeps is fenced by its lease, remembered over attempts, and bounded."""

from __future__ import annotations

from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, enqueue, raw, reclaim


async def note(store: RedisStore, worker: str, claim: Claim, field: str, value: bytes, lines: int = 100) -> bool:
    return await store.note(claim.queue, worker, claim.tag, claim.entry, claim.id, field, value, lines)


async def recall(store: RedisStore, worker: str, claim: Claim, field: str) -> tuple[bool, bytes | None]:
    return await store.recall(claim.queue, worker, claim.tag, claim.entry, claim.id, field)


async def test_what_was_noted_is_recalled_by_the_next_attempt(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    assert await recall(store, "w1", claim, "step:send") == (True, None)
    assert await note(store, "w1", claim, "step:send", b"\x00done")
    await hand.retry(claim, 0)
    await store.promote(queue)
    (again,) = await hand.claim()
    assert await recall(store, "w1", again, "step:send") == (True, b"\x00done")


async def test_who_lost_the_lease_writes_nothing_and_is_told_nothing(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    one, two = Hand(store, queue, "w1"), Hand(store, queue, "w2")
    (claim,) = await one.claim()
    await one.lapse(claim)
    await reclaim(store, queue)
    (new,) = await two.claim()
    assert await note(store, "w2", new, "step:send", b"two")
    assert not await note(store, "w1", claim, "step:send", b"one")
    assert not await note(store, "w1", new, "step:send", b"one")  # right entry, wrong worker
    assert not await note(store, "w1", claim, "log", b"one")
    assert await recall(store, "w1", claim, "step:send") == (False, None)
    assert await recall(store, "w2", new, "step:send") == (True, b"two")


async def test_only_the_newest_log_lines_stay(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue).claim()
    for n in range(8):
        assert await note(store, "w1", claim, "log", f"line {n}".encode(), lines=3)
    kept = await raw(store, queue, "HGETALL", f"notes:{claim.id}")
    assert sorted(k for k in kept if k != b"lines") == [b"log:6", b"log:7", b"log:8"]
    assert kept[b"log:8"].endswith(b";line 7")


async def test_noting_twice_keeps_one_value_and_one_row(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue).claim()
    for value in (b"1;2", b"2;2"):
        await note(store, "w1", claim, "progress", value)
    assert await raw(store, queue, "HGETALL", f"notes:{claim.id}") == {b"progress": b"2;2"}
    assert await raw(store, queue, "ZRANGE", "noted", 0, -1, "WITHSCORES") == [[claim.id.encode(), float("inf")]]


async def test_a_waiting_or_settled_job_can_keep_nothing(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.release(claim)
    assert not await note(store, "w1", claim, "progress", b"1;2")
    (again,) = await hand.claim()
    await hand.complete(again)
    assert not await note(store, "w1", again, "progress", b"1;2")
    assert not await raw(store, queue, "EXISTS", "noted")


async def test_at_maxmemory_a_note_is_kept_because_completing_jobs_is_what_frees_memory(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue).claim()
    await store.link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await note(store, "w1", claim, "progress", b"1;2")
        assert await recall(store, "w1", claim, "progress") == (True, b"1;2")
    finally:
        await store.link.call("CONFIG", "SET", "maxmemory", "0")
