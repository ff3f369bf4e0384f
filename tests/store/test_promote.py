"""Promote: what is due moves to where it can run, never early, in bites, and behind its key."""

from __future__ import annotations

import asyncio

import pytest

from engine import Clock
from engine.errors import StoreRefused
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, enqueue, fall_asleep, raw, states, usurp
from tests.support.laws import lines


async def test_nothing_is_promoted_a_millisecond_early(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    (job_id,) = await enqueue(timed, queue, delay_ms=1000)
    due = now.ms + 1000
    now.forward(999)
    done = await timed.promote(queue)
    assert (done.moved, done.next_due_ms, done.now_ms) == (0, due, due - 1)
    now.forward(1)
    done = await timed.promote(queue)
    assert (done.moved, done.next_due_ms) == (1, 0)
    assert await states(store, queue, [job_id]) == ["waiting"]


async def due_ms(store: RedisStore, queue: str, suffix: str, job_id: str) -> int:
    """When a job that was put off may run."""
    return int(await raw(store, queue, "ZSCORE", suffix, job_id))


@pytest.mark.parametrize("act", ["enqueue", "retry", "snooze"])
async def test_a_delay_counts_from_the_instant_of_the_call_and_not_from_its_millisecond(
    store: RedisStore, queue: str, act: str
) -> None:
    async def now_us() -> int:
        seconds, us = await store.link.call("TIME")
        return int(seconds) * 1_000_000 + int(us)

    hand = Hand(store, queue)
    for _ in range(20):  # one call may happen at a whole millisecond
        ids = await enqueue(store, queue) if act != "enqueue" else []
        claims = await hand.claim() if ids else []
        before_us = await now_us()
        if act == "enqueue":
            ids = await enqueue(store, queue, delay_ms=HOUR)
        else:
            await (hand.retry if act == "retry" else hand.snooze)(claims[0], HOUR)
        after_us = await now_us()
        due_us = 1000 * await due_ms(store, queue, "retrying" if act == "retry" else "scheduled", ids[0])
        assert before_us + 1000 * HOUR <= due_us < after_us + 1000 * (HOUR + 1)


async def test_a_bite_is_bounded_and_says_that_more_is_due(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, 70, delay_ms=1)
    now.forward(10)
    first = await timed.promote(queue)
    assert first.moved == 50
    assert 0 < first.next_due_ms <= first.now_ms
    second = await timed.promote(queue)
    assert (second.moved, second.next_due_ms) == (20, 0)


class LongGaps(Clock):
    """Nearly the widest gap between the ids of two calls, so that their numbers grow by a digit."""

    def random(self) -> float:
        """Of a gap of 20 bits."""
        return 0.9


async def test_what_is_due_at_one_instant_comes_in_the_order_of_enqueue(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = RedisStore(store.link, LongGaps(), test_now_ms=lambda: now.ms)
    ids = [job_id for _ in range(20) for job_id in await enqueue(timed, queue, 2, delay_ms=1000, ordering_key="k")]
    now.forward(1000)
    assert (await timed.promote(queue)).moved == 40
    assert (await lines(store, queue))["k"] == ids


async def test_what_is_due_at_one_instant_keeps_its_order_however_long_the_clock_stays_set_back(
    store: RedisStore, queue: str
) -> None:
    now = Now()
    timed = RedisStore(store.link, LongGaps(), test_now_ms=lambda: now.ms)
    await enqueue(timed, queue)
    now.ms -= HOUR
    due, ids = now.ms + 1000, list[str]()
    for _ in range(120):  # more than a millisecond has ids for
        ids += await enqueue(timed, queue, delay_ms=1000, ordering_key="k")
    plain = [job_id for _ in range(120) for job_id in await enqueue(timed, queue)]  # numbered in another place of the script
    assert ids + plain == sorted(ids + plain), "as text, which is how the server orders them"
    assert {await due_ms(store, queue, "scheduled", job_id) for job_id in ids} == {due}
    now.forward(1000)
    while (await timed.promote(queue)).moved:
        continue
    assert (await lines(store, queue))["k"] == ids
    now.forward(HOUR)
    (later,) = await enqueue(timed, queue)
    assert later.startswith(f"{now.ms}-1"), "as soon as the clock is there again, ids are of its milliseconds"


async def test_retrying_and_scheduled_share_a_bite_and_the_sooner_is_next(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    (failing,) = await enqueue(timed, queue)
    hand = Hand(timed, queue)
    (claim,) = await hand.claim()
    (later,) = await enqueue(timed, queue, delay_ms=5000)
    await hand.retry(claim, 2000)
    assert (await timed.promote(queue)).next_due_ms == now.ms + 2000
    now.forward(2000)
    done = await timed.promote(queue)
    assert (done.moved, done.next_due_ms) == (1, now.ms + 3000)
    now.forward(3000)
    assert (await timed.promote(queue)).moved == 1
    assert await states(store, queue, [failing, later]) == ["waiting", "waiting"]


async def test_a_retried_job_comes_back_with_its_next_attempt_at_its_priority(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, priority=3)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.retry(claim, 0)
    await store.promote(queue)
    (again,) = await hand.claim()
    assert (again.id, again.tag, again.envelope.attempt) == (job_id, "3", 2)


async def test_a_delayed_job_joins_the_line_of_its_key_only_when_due(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    (delayed,) = await enqueue(timed, queue, delay_ms=1000, ordering_key="k")
    first, second = await enqueue(timed, queue, 2, ordering_key="k")
    now.forward(1000)
    await timed.promote(queue)
    assert await states(store, queue, [delayed, first, second]) == ["blocked", "waiting", "blocked"]
    hand = Hand(timed, queue)
    ran = []
    for _ in range(3):
        (claim,) = await hand.claim()
        ran.append(claim.id)
        await hand.complete(claim)
    assert ran == [first, second, delayed]


async def test_many_promoters_at_once_move_each_job_once(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    ids = await enqueue(timed, queue, 60, delay_ms=1)
    now.forward(5)
    done = await asyncio.gather(*(timed.promote(queue, 20) for _ in range(10)))
    assert sum(one.moved for one in done) == 60
    assert await states(store, queue, ids) == ["waiting"] * 60


async def test_a_promotion_rings_the_bell_and_an_empty_one_does_not(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, delay_ms=1000)
    await fall_asleep(store, queue)
    before = await store.last_ids(queue)
    await timed.promote(queue)
    assert await store.last_ids(queue) == before
    now.forward(1000)
    await timed.promote(queue)
    assert await store.last_ids(queue) != before


async def test_hastening_a_delayed_keyed_job_joins_the_end_of_its_line(store: RedisStore, queue: str) -> None:
    (delayed,) = await enqueue(store, queue, delay_ms=HOUR, ordering_key="k")
    (first,) = await enqueue(store, queue, ordering_key="k")
    assert await store.hasten(queue, delayed)
    assert await states(store, queue, [first, delayed]) == ["waiting", "blocked"]


async def test_hastening_a_retry_or_a_snooze_keeps_attempt_and_key(store: RedisStore, queue: str) -> None:
    job_id, follower = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    for settle, attempt in ((hand.retry, 2), (hand.snooze, 2)):
        (claim,) = await hand.claim()
        await settle(claim)
        assert await store.hasten(queue, job_id)
        assert await states(store, queue, [job_id, follower]) == ["waiting", "blocked"]
        ((_, fields),) = await raw(store, queue, "XRANGE", "ready:5", "-", "+")
        assert fields[1].startswith(f"{attempt};0;5;{job_id};1;0;k".encode())


@pytest.mark.parametrize("suffix", ["jobs", "where", "keys", "blocked", "retrying"])
@pytest.mark.parametrize("act", ["promote", "hasten"])
async def test_a_foreign_type_leaves_the_job_where_it_was(store: RedisStore, queue: str, act: str, suffix: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, ordering_key="k")
    (job_id,) = await enqueue(timed, queue, delay_ms=1, ordering_key="k")
    now.forward(10)
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await (timed.promote(queue) if act == "promote" else timed.hasten(queue, job_id))
    await restore()
    assert await states(store, queue, [job_id]) == ["scheduled"]
    assert (await timed.promote(queue)).moved == 1
    assert await states(store, queue, [job_id]) == ["blocked"]


async def test_a_job_that_was_given_back_is_as_old_as_before(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    since = (await timed.counts(queue)).oldest_waiting_ms
    hand = Hand(timed, queue)
    for _ in range(3):
        now.forward(5000)
        (claim,) = await hand.claim()
        await hand.release(claim)
        assert (await timed.counts(queue)).oldest_waiting_ms == since


async def test_the_oldest_of_those_given_back_counts_whoever_came_back_first(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    since = (await timed.counts(queue)).oldest_waiting_ms
    now.forward(5000)
    await enqueue(timed, queue)
    hand = Hand(timed, queue)
    older, younger = await hand.claim(2)
    await hand.release(younger)
    await hand.release(older)
    assert (await timed.counts(queue)).oldest_waiting_ms == since


async def test_a_due_job_that_somebody_damaged_does_not_hold_up_those_after_it(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    gone, unreadable, sound = [(await enqueue(timed, queue, delay_ms=ms))[0] for ms in (1, 2, 3)]
    await raw(store, queue, "HDEL", "jobs", gone)
    await raw(store, queue, "HSET", "jobs", unreadable, b"rubbish")
    now.forward(10)
    assert (await timed.promote(queue)).moved == 3
    assert await states(store, queue, [gone, unreadable, sound]) == ["-", "dead", "waiting"]
    counts = await store.counts(queue)
    assert (counts.removed, counts.dead, counts.scheduled) == (1, 1, 0)
    assert await raw(store, queue, "HGET", "where", gone) is None
