"""Order: priorities and their ageing share, and the line behind an ordering key."""

from __future__ import annotations

import pytest

from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, enqueue, raw, reclaim, states
from tests.support.laws import lines


async def run_all(hand: Hand) -> list[str]:
    """Complete what there is, one at a time; the ids in the order of their claim."""
    ran = []
    while claims := await hand.claim():
        ran += [c.id for c in claims]
        await hand.complete(*claims)
    return ran


async def test_priorities_are_served_in_order_and_within_one_by_age(store: RedisStore, queue: str) -> None:
    nine, one, five = [await enqueue(store, queue, 2, priority=p) for p in (9, 1, 5)]
    assert [c.id for c in await Hand(store, queue).claim(6)] == [*one, *five, *nine]


async def test_released_jobs_come_before_those_of_their_priority_and_after_more_urgent_ones(
    store: RedisStore, queue: str
) -> None:
    first, second = await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.release(claim)
    (urgent,) = await enqueue(store, queue, priority=1)
    assert [c.id for c in await hand.claim(3)] == [urgent, first, second]


async def test_one_claim_in_ten_goes_to_the_lower_priorities_in_turn(store: RedisStore, queue: str) -> None:
    for priority in (1, 5, 9):
        await enqueue(store, queue, 100, priority=priority)
    hand = Hand(store, queue)
    got: list[Claim] = []
    for _ in range(100):
        got += await hand.claim(1)
    tags = [c.tag for c in got]
    assert (tags.count("1"), tags.count("5"), tags.count("9")) == (90, 5, 5)
    assert all(tag == "1" for n, tag in enumerate(tags, 1) if n % 10)


async def test_what_was_ever_released_takes_no_turns_from_the_lower_priorities(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    for priority in range(1, 10):  # every priority has a front in use from now on
        await enqueue(store, queue, priority=priority)
        (claim,) = await hand.claim()
        await hand.release(claim)
        (claim,) = await hand.claim()
        await hand.complete(claim)
    for priority in (1, 9):
        await enqueue(store, queue, 100, priority=priority)
    tags = [(await hand.claim(1))[0].tag for _ in range(100)]
    assert (tags.count("1"), tags.count("9")) == (90, 10)


async def test_a_large_claim_gives_a_tenth_away_as_well(store: RedisStore, queue: str) -> None:
    for priority in (1, 9):
        await enqueue(store, queue, 100, priority=priority)
    tags = [c.tag for c in await Hand(store, queue).claim(50)]
    assert (tags.count("1"), tags.count("9")) == (45, 5)


async def test_an_ageing_share_that_finds_nothing_goes_back_to_the_first(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, priority=9)
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim())
    await enqueue(store, queue, 30, priority=1)
    assert len(await hand.claim(20)) == 20


async def test_jobs_of_one_key_run_one_at_a_time_in_their_order(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 5, ordering_key="k")
    hand = Hand(store, queue)
    claims = await hand.claim(5)
    assert [c.id for c in claims] == ids[:1]
    await hand.complete(*claims)
    assert await run_all(hand) == ids[1:]
    assert not await raw(store, queue, "EXISTS", "keys")


async def test_priority_orders_keys_not_the_jobs_of_one(store: RedisStore, queue: str) -> None:
    (slow,) = await enqueue(store, queue, ordering_key="k", priority=9)
    (urgent,) = await enqueue(store, queue, ordering_key="k", priority=1)
    (other,) = await enqueue(store, queue, ordering_key="m", priority=5)
    assert await run_all(Hand(store, queue)) == [other, slow, urgent]


async def test_keys_take_turns_because_each_has_one_job_that_waits(store: RedisStore, queue: str) -> None:
    talkative = await enqueue(store, queue, 50, ordering_key="a")
    (quiet,) = await enqueue(store, queue, ordering_key="b")
    assert await run_all(Hand(store, queue)) == [talkative[0], quiet, *talkative[1:]]


async def test_equal_keys_of_two_queues_know_nothing_of_each_other(store: RedisStore, queue: str) -> None:
    other = f"{queue}-2"
    await enqueue(store, queue, ordering_key="k")
    (free,) = await enqueue(store, other, ordering_key="k")
    assert await states(store, other, [free]) == ["waiting"]
    assert (await store.obliterate(other)).is_done


@pytest.mark.parametrize("how", ["retry", "snooze", "release"])
async def test_a_job_that_comes_back_kept_its_key(store: RedisStore, queue: str, how: str) -> None:
    ids = await enqueue(store, queue, 3, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await (hand.release(claim) if how == "release" else hand.retry(claim, 0) if how == "retry" else hand.snooze(claim, 0))
    assert await states(store, queue, ids[1:]) == ["blocked", "blocked"]
    (late,) = await enqueue(store, queue, ordering_key="k")
    await store.promote(queue)
    assert await run_all(hand) == [*ids, late]


@pytest.mark.parametrize("how", ["complete", "bury", "cancel", "cancel while it waits", "delete while it waits", "stall limit"])
async def test_a_job_that_leaves_hands_its_key_to_the_next(store: RedisStore, queue: str, how: str) -> None:
    first, second, third = await enqueue(store, queue, 3, ordering_key="k")
    hand = Hand(store, queue)
    if how == "cancel while it waits":
        await store.cancel(queue, first, "why")
    elif how == "delete while it waits":
        await store.delete(queue, first, "why")
    else:
        (claim,) = await hand.claim()
        if how == "stall limit":
            await hand.lapse(claim)
            await reclaim(store, queue, stall_limit=0)
        else:
            assert await (hand.complete if how == "complete" else hand.bury if how == "bury" else hand.cancel)(claim) == []
    assert await states(store, queue, [second, third]) == ["waiting", "blocked"]
    assert await lines(store, queue) == {"k": [second, third]}
    assert await run_all(hand) == [second, third]


async def test_many_keys_handed_over_in_one_call_each_go_to_their_next(store: RedisStore, queue: str) -> None:
    firsts: list[str] = []
    seconds: list[str] = []
    for n in range(40):
        firsts += await enqueue(store, queue, ordering_key=f"k{n}")
    for n in range(0, 40, 2):
        seconds += await enqueue(store, queue, ordering_key=f"k{n}")
    hand = Hand(store, queue)
    claims = await hand.claim(50)
    assert sorted(c.id for c in claims) == sorted(firsts)
    await hand.complete(*claims)
    assert sorted(c.id for c in await hand.claim(50)) == sorted(seconds)
    assert await raw(store, queue, "HLEN", "keys") == 20


async def test_a_key_may_hold_any_text(store: RedisStore, queue: str) -> None:
    keys = ["a;b", "ção\n", "%d{}", "x" * 512, "'\"\\", "0", "nil"]
    for key in keys:
        first, second = await enqueue(store, queue, 2, ordering_key=key)
        assert await run_all(Hand(store, queue, f"w-{keys.index(key)}")) == [first, second]


async def test_a_thousand_blocked_jobs_come_out_in_order(store: RedisStore, queue: str) -> None:
    ids: list[str] = []
    for _ in range(10):
        ids += await enqueue(store, queue, 100, ordering_key="k")
    hand = Hand(store, queue)
    ran, claims = [], await hand.claim()
    while claims:  # settle and claim in one call, as a worker does
        ran += [c.id for c in claims]
        for claim in claims:
            hand.settles.complete(claim)
        claims = await hand.claim()
    assert ran == ids


@pytest.mark.parametrize(
    "key", ["} engine:{other}:meta", "line:", "*", "\r\nFLUSHALL\r\n", "\0", "é😀", "{", "x" * 512], ids=range(8)
)
async def test_no_key_of_a_job_leads_out_of_its_queues_key_space(store: RedisStore, queue: str, key: str) -> None:
    before = {name for name in await store.link.call("KEYS", "*") if not name.startswith(b"engine:{q-")}
    await enqueue(store, queue, 12, ordering_key=key, dedup_key="", priority=5)
    await enqueue(store, queue, dedup_key=key, dedup_window_ms=1_000)
    assert {name for name in await store.link.call("KEYS", "*") if not name.startswith(b"engine:{q-")} == before
    hand = Hand(store, queue)
    while claims := await hand.claim(5):
        assert {claim.envelope.key for claim in claims} <= {key, ""}
        assert await hand.complete(*claims) == []
    assert (await store.counts(queue)).completed == 13
