"""Grace: after a time in which nobody came, each lease is spared for one and a half of itself, whoever comes first."""

from __future__ import annotations

import random
from itertools import pairwise, product

from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from engine.store.work import Reclaimed
from tests.support.factory import LEASE_MS, Hand, Now, at_time, enqueue, raw, tell_lease

LONG_MS = 6 * LEASE_MS


async def come(store: RedisStore, queue: str, lease_ms: int = LEASE_MS) -> Reclaimed:
    """One look at all entries by a worker with that lease."""
    return await store.reclaim(queue, f"r{lease_ms}", lease_ms, 99, {})


async def hold(store: RedisStore, queue: str, lease_ms: int) -> tuple[Hand, Claim]:
    """A worker with that lease, and what it claimed of a job."""
    await enqueue(store, queue)
    hand = Hand(store, queue, f"w{lease_ms}")
    await tell_lease(store, queue, hand.name, lease_ms)
    (claim,) = await hand.claim(1)
    return hand, claim


async def test_after_an_absence_nothing_is_taken_for_a_lease_and_a_half(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LEASE_MS)

    async def bite() -> tuple[int, bool]:
        done = await come(timed, queue)
        return done.moved, done.in_grace

    assert await bite() == (0, False)
    now.forward(LEASE_MS // 2 + 1)  # nobody called meanwhile: the server was away
    await hand.lapse(claim)
    assert await bite() == (0, True)
    assert (await store.counts(queue)).grace_until_ms > 0
    for _ in range(3):
        now.forward(LEASE_MS // 2 - 10)
        assert await bite() == (0, True)
    now.forward(31)
    assert await bite() == (1, False)


async def test_a_clock_that_was_set_back_starts_a_grace_that_ends(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LEASE_MS)
    await come(timed, queue)
    now.forward(LEASE_MS)
    assert (await come(timed, queue)).in_grace
    now.ms -= 600_000
    await hand.lapse(claim)
    assert (await come(timed, queue)).in_grace
    assert (await timed.counts(queue)).grace_until_ms == now.ms + LEASE_MS * 3 // 2
    for _ in range(3):
        now.forward(LEASE_MS // 2 - 1)
        assert (await come(timed, queue)).in_grace
    now.forward(LEASE_MS // 2 - 1)
    assert (await come(timed, queue)).moved == 1


async def test_a_clock_that_was_set_back_by_less_than_a_second_ends_no_grace(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LEASE_MS)
    await come(timed, queue)
    now.forward(LEASE_MS)
    await hand.lapse(claim)
    assert (await come(timed, queue)).in_grace
    now.ms -= 900
    assert (await come(timed, queue)).in_grace


async def test_a_queue_that_nobody_ever_reclaimed_has_no_grace(store: RedisStore, queue: str) -> None:
    hand, claim = await hold(store, queue, LEASE_MS)
    await hand.lapse(claim)
    assert (await come(store, queue)).moved == 1


async def test_a_shorter_lease_that_comes_first_takes_nothing_of_a_longer_one_while_that_is_in_grace(
    store: RedisStore, queue: str
) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LONG_MS)
    await come(timed, queue)
    now.forward(LONG_MS)  # the server was away
    await hand.lapse(claim, ms=2 * LONG_MS)
    back_ms = now.ms
    while now.ms < back_ms + LONG_MS * 3 // 2:
        done = await come(timed, queue)
        assert (done.moved, done.in_grace) == (0, now.ms < back_ms + LEASE_MS * 3 // 2)
        if not done.in_grace:
            assert done.soonest_ms == back_ms + LONG_MS * 3 // 2 - now.ms
        now.forward(LEASE_MS // 2)
    assert (await come(timed, queue)).moved == 1


async def test_a_longer_lease_that_comes_first_neither_ends_a_shorter_ones_grace_nor_prolongs_it(
    store: RedisStore, queue: str
) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LEASE_MS)
    await come(timed, queue)
    now.forward(LONG_MS)  # the server was away
    await hand.lapse(claim, ms=2 * LONG_MS)
    assert (await come(timed, queue, LONG_MS)).in_grace
    for _ in range(3):
        assert (await come(timed, queue)).in_grace
        now.forward(LEASE_MS // 2)
    assert (await come(timed, queue, LONG_MS)).in_grace
    assert (await come(timed, queue)).moved == 1


async def test_a_silence_that_is_nothing_to_a_longer_lease_that_comes_first_is_one_to_a_shorter_lease(
    store: RedisStore, queue: str
) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LEASE_MS)
    await come(timed, queue)
    now.forward(LONG_MS // 3)  # the server was away
    await hand.lapse(claim)
    assert not (await come(timed, queue, LONG_MS)).in_grace
    done = await come(timed, queue)
    assert (done.moved, done.in_grace) == (0, True)


SHORT, LONG = 10_000, 16_000
GAPS = (5_000, 8_000, 14_000)
"""Ms until the next one comes: no silence, one for the shorter lease alone, one for both."""


async def test_in_every_order_of_callers_and_silences_each_lease_has_its_own_grace_and_no_more(
    store: RedisStore, queue: str
) -> None:
    now = Now()
    timed = at_time(store, now)
    hand, claim = await hold(timed, queue, LONG)
    orders = 0
    for order in product(product((SHORT, LONG), GAPS), repeat=4):
        await raw(timed, queue, "HDEL", "meta", "beat", "grace", "silences")
        await hand.lapse(claim, ms=LONG - 999)  # it holds for less than any grace that is left below
        await come(timed, queue, SHORT)
        times = [now.ms]
        for lease_ms, gap_ms in order:
            now.forward(gap_ms)
            times.append(now.ms)
            done = await come(timed, queue, lease_ms)
            where = f"{order}, call {len(times) - 1}"
            assert (done.moved, done.in_grace) == (0, left(lease_ms, times) > 0), where
            if lease_ms == SHORT and not done.in_grace:
                longer = left(LONG, times)
                assert done.soonest_ms == longer if longer else 0 < done.soonest_ms < 1000, where
        orders += 1
    assert orders == 1296


def left(lease_ms: int, times: list[int]) -> int:
    """Ms of grace for a lease, by all the times at which anybody came, of which the last is now."""
    ends = [end for begin, end in pairwise(times) if end - begin > lease_ms / 2]
    return max([0, *(end + lease_ms * 3 // 2 - times[-1] for end in ends)])


async def test_silences_of_no_account_any_more_are_forgotten(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    chosen = random.Random(1)
    longest = 0
    for _ in range(500):
        now.forward(int(LEASE_MS * chosen.random() ** 3) + 1)
        await come(timed, queue, chosen.choice((LEASE_MS, LONG_MS)))
        row = await raw(timed, queue, "HGET", "meta", "silences")
        longest = max(longest, (row or b"").count(b";"))
    assert 1 < longest < 20
