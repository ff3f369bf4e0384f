"""Dedup: inside its window a key adds one job; the window is exact and nothing else ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.keys import prefix
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, body, enqueue, raw


@pytest.fixture(autouse=True)
async def no_keys_of_another_time(store: RedisStore, queue: str) -> AsyncIterator[None]:
    """Tests here choose their time; what they left in generations far from now, obliterate does not look for: it expires."""
    yield
    for key in await store.link.call("KEYS", f"{prefix(queue)}dedup:*"):
        await store.link.call("DEL", key)


async def add(store: RedisStore, queue: str, number: int, key: str = "d", window_ms: int = 60_000) -> tuple[str, bool]:
    (one,) = await store.enqueue(queue, "p", number, [Entry(body(), dedup_key=key, dedup_window_ms=window_ms)])
    return one.id, one.duplicate


# none so short that the server's own clock could make its hash expire while the chosen time stands still
@pytest.mark.parametrize("window_ms", [60_000, 65_535, 65_536, 65_537, 86_400_000, 2_592_000_000])
@pytest.mark.parametrize("offset", [0, 1, 30_001, 65_535])
async def test_a_window_ends_at_its_millisecond(store: RedisStore, queue: str, window_ms: int, offset: int) -> None:
    now = Now()
    now.ms += offset
    timed = at_time(store, now)
    first, _ = await add(timed, queue, 1, window_ms=window_ms)
    now.forward(window_ms - 1)
    assert await add(timed, queue, 2, window_ms=window_ms) == (first, True)
    now.forward(1)
    second, duplicate = await add(timed, queue, 3, window_ms=window_ms)
    assert not duplicate
    now.forward(window_ms - 1)  # a duplicate did not prolong the first window, and a new one has its own
    assert await add(timed, queue, 4, window_ms=window_ms) == (second, True)


@pytest.mark.parametrize("back_ms", [10, 60_000, HOUR])
async def test_a_clock_that_is_set_back_opens_no_window(store: RedisStore, queue: str, back_ms: int) -> None:
    now = Now()
    now.ms = (now.ms // 65_536 + 1) * 65_536  # the hash of this minute's keys begins now
    timed = at_time(store, now)
    first, _ = await add(timed, queue, 1)
    now.forward(-back_ms)
    assert await add(timed, queue, 2) == (first, True)


async def test_the_window_of_the_first_counts_whatever_the_second_asks_for(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    first, _ = await add(timed, queue, 1, window_ms=100_000)
    now.forward(50_000)
    assert await add(timed, queue, 2, window_ms=40_000) == (first, True)
    now.forward(50_000)
    short, duplicate = await add(timed, queue, 3, window_ms=40_000)
    assert not duplicate
    now.forward(39_999)
    assert await add(timed, queue, 4, window_ms=100_000) == (short, True)


async def test_keys_are_told_apart(store: RedisStore, queue: str) -> None:
    ids = {(await add(store, queue, n, key=key))[0] for n, key in enumerate(["a", "b", "a;b", "A", "ção"], 1)}
    assert len(ids) == 5


async def test_duplicates_within_one_call_are_found(store: RedisStore, queue: str) -> None:
    added = await store.enqueue(queue, "p", 1, [Entry(body(), dedup_key="d", dedup_window_ms=HOUR)] * 3)
    assert [one.duplicate for one in added] == [False, True, True]
    assert len({one.id for one in added}) == 1


@pytest.mark.parametrize("ending", ["completed and swept", "cancelled", "deleted", "dead"])
async def test_the_window_does_not_care_what_became_of_the_job(store: RedisStore, queue: str, ending: str) -> None:
    (job_id,) = await enqueue(store, queue, dedup_key="d", dedup_window_ms=HOUR)
    hand = Hand(store, queue)
    if ending == "cancelled":
        await store.cancel(queue, job_id, "why")
    elif ending == "deleted":
        await store.delete(queue, job_id, "why")
    else:
        (claim,) = await hand.claim()
        await (hand.bury(claim) if ending == "dead" else hand.complete(claim))
    await store.sweep_done(queue, (await store.counts(queue)).now_ms + HOUR)
    assert await add(store, queue, 1) == (job_id, True)


async def test_a_requeue_is_no_duplicate(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, dedup_key="d", dedup_window_ms=HOUR)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    assert await store.requeue(queue, [job_id]) == 1


async def test_a_duplicate_of_a_delayed_or_keyed_job_is_found(store: RedisStore, queue: str) -> None:
    for options in ({"delay_ms": HOUR}, {"ordering_key": "k"}, {"ordering_key": "k"}):
        key = f"d{len(options)}{options}"
        (first,) = await enqueue(store, queue, dedup_key=key, dedup_window_ms=HOUR, **options)
        (second,) = await enqueue(store, queue, dedup_key=key, dedup_window_ms=HOUR, **options)
        assert first == second


async def test_remembered_keys_expire_by_themselves(store: RedisStore, queue: str) -> None:
    await add(store, queue, 1, window_ms=60_000)
    (key,) = await store.link.call("KEYS", f"{prefix(queue)}dedup:*")
    left_ms = await store.link.call("PTTL", key)
    assert 60_000 < left_ms <= 2 * 65_536
    assert await raw(store, queue, "HGET", "meta", "dedups") == b"16"


async def test_a_job_without_a_dedup_key_leaves_no_trace_of_one(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 5)
    assert await store.link.call("KEYS", f"{prefix(queue)}dedup:*") == []
