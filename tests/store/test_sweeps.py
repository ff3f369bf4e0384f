"""Sweeps: retention by age and by number, in bites; nothing that is alive is dropped."""

from __future__ import annotations

import asyncio

from engine.job import State
from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, enqueue, raw, reclaim, states

DAY = 24 * HOUR


async def finish(store: RedisStore, queue: str, n: int) -> list[str]:
    """Complete `n` jobs, one record each."""
    ids = await enqueue(store, queue, n)
    hand = Hand(store, queue, f"finisher-{ids[0]}")
    for _ in range(n):
        await hand.complete(*await hand.claim())
    return ids


async def kept(store: RedisStore, queue: str, state: State) -> list[str]:
    return [row.id for row in (await store.page(queue, state, limit=500)).rows]


async def test_completed_jobs_beyond_the_newest_so_many_are_dropped_oldest_first(store: RedisStore, queue: str) -> None:
    ids = await finish(store, queue, 8)
    bite = await store.sweep_done(queue, 0, keep=5)
    assert (bite.dropped, bite.is_more) == (3, False)
    assert await kept(store, queue, State.COMPLETED) == ids[:2:-1]
    assert (await store.sweep_done(queue, 0, keep=5)).dropped == 0
    assert (await store.counts(queue)).completed == 8


async def test_completed_jobs_past_their_age_are_dropped_however_few(store: RedisStore, queue: str) -> None:
    await finish(store, queue, 3)
    now_ms = (await store.counts(queue)).now_ms
    assert (await store.sweep_done(queue, now_ms - DAY, keep=5)).dropped == 0
    assert (await store.sweep_done(queue, now_ms + DAY, keep=5)).dropped == 3
    assert await raw(store, queue, "HGET", "meta", "done_kept") is None


async def test_a_bite_of_records_is_bounded_and_goes_on_from_its_cursor(store: RedisStore, queue: str) -> None:
    ids = await finish(store, queue, 7)
    await store.cancel(queue, (await enqueue(store, queue))[0], "why")
    now_ms = (await store.counts(queue)).now_ms + DAY
    dropped, cursor, calls, more = 0, "", 0, True
    while more:
        bite = await store.sweep_done(queue, now_ms, limit=3, kind="completed", cursor=cursor)
        dropped, cursor, more, calls = dropped + bite.dropped, bite.cursor, bite.is_more, calls + 1
        assert bite.dropped <= 3
    assert (dropped, calls) == (len(ids), 3)
    assert len(await kept(store, queue, State.CANCELLED)) == 1


async def test_sweepers_at_once_drop_each_record_once(store: RedisStore, queue: str) -> None:
    await finish(store, queue, 12)
    now_ms = (await store.counts(queue)).now_ms + DAY
    bites = await asyncio.gather(*(store.sweep_done(queue, now_ms, limit=4) for _ in range(6)))
    assert sum(b.dropped for b in bites) == 12


async def test_the_dead_go_after_their_time_and_are_counted_as_removed(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    hand = Hand(timed, queue)
    ids = await enqueue(timed, queue, 4)
    claims = await hand.claim(4)
    for claim in claims[:2]:
        await timed.note(queue, "w1", claim.tag, claim.entry, claim.id, "progress", b"1;2")
        await hand.bury(claim)
    now.forward(7 * DAY)
    for claim in claims[2:]:
        await hand.bury(claim)
    assert (await timed.sweep_dead(queue, now.ms - 7 * DAY)).dropped == 0  # dead for exactly so long is not past it
    bite = await timed.sweep_dead(queue, now.ms - 7 * DAY + 1)
    assert (bite.dropped, bite.is_more) == (2, False)
    assert await states(store, queue, ids) == ["-", "-", "dead", "dead"]
    assert (await store.counts(queue)).removed == 2
    assert not await raw(store, queue, "EXISTS", "noted")
    assert await store.link.call("KEYS", f"{prefix(queue)}notes:*") == []


async def test_a_bite_of_the_dead_is_bounded(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 5)
    hand = Hand(store, queue)
    for claim in await hand.claim(5):
        await hand.bury(claim)
    late = (await store.counts(queue)).now_ms + DAY
    bites = [await store.sweep_dead(queue, late, limit=2) for _ in range(3)]
    assert [(b.dropped, b.is_more) for b in bites] == [(2, True), (2, True), (1, False)]


async def test_of_too_many_dead_the_oldest_go(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 7)
    hand = Hand(store, queue)
    for claim in await hand.claim(7):
        await hand.bury(claim)
    bites = [await store.sweep_dead(queue, 1, keep=2, limit=3) for _ in range(3)]
    assert [(b.dropped, b.is_more) for b in bites] == [(3, True), (2, False), (0, False)]
    assert await states(store, queue, ids) == ["-"] * 5 + ["dead"] * 2
    assert (await store.counts(queue)).removed == 5
    assert (await store.sweep_dead(queue, 1, keep=0)).dropped == 2


async def test_a_silent_worker_is_forgotten_but_not_while_it_holds_something(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, 2)
    idle, holder, alive = (Hand(timed, queue, name) for name in ("idle", "holder", "alive"))
    (claim,) = await idle.claim()
    await idle.complete(claim)
    (held,) = await holder.claim()
    for hand in (idle, holder):
        await timed.heartbeat(queue, hand.name, b"x")
    now.forward(HOUR + 1)
    await timed.heartbeat(queue, alive.name, b"x")
    assert (await timed.sweep_rest(queue, HOUR, HOUR)).workers == 1
    assert sorted(w.worker for w in await store.workers(queue, now.ms)) == ["alive", "holder"]
    assert await holder.complete(held) == []  # its entry was not thrown away
    assert (await timed.sweep_rest(queue, HOUR, HOUR)).workers == 1
    assert [c.worker for c in await store.consumers(queue)] == []


async def test_a_gone_worker_is_forgotten_sooner_than_a_producer(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, producer="p1")
    await timed.heartbeat(queue, "w1", b"x")
    now.forward(HOUR // 2)
    rest = await timed.sweep_rest(queue, HOUR // 6, HOUR)
    assert (rest.workers, rest.producers) == (1, 0)
    now.forward(HOUR // 2 + 1)
    assert (await timed.sweep_rest(queue, HOUR // 6, HOUR)).producers == 1


async def test_a_worker_that_leaves_is_forgotten_at_once_unless_it_holds_something(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue)
    await timed.heartbeat(queue, "w1", b"x")
    await timed.heartbeat(queue, "w2", b"x")
    (claim,) = await hand.claim()
    await hand.lapse(claim)
    await timed.leave(queue, "w2")
    await timed.leave(queue, "w1")
    assert (await store.counts(queue)).active == 1
    assert (await reclaim(timed, queue)).moved == 1
    now.forward(HOUR + 1)
    await timed.sweep_rest(queue, HOUR, HOUR)
    assert "w1" not in [c.worker for c in await store.consumers(queue)]


async def test_a_worker_that_left_may_come_back_under_its_name(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    for _ in range(3):
        await hand.step()
    await store.leave(queue, "w1")
    assert len(await Hand(store, queue).claim()) == 1


async def test_a_silent_producer_is_forgotten_and_a_busy_one_is_not(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, producer="old")
    now.forward(HOUR + 1)
    await enqueue(timed, queue, producer="new")
    rest = await timed.sweep_rest(queue, HOUR, HOUR)
    assert (rest.producers, rest.cursor) == (1, "0")
    fields = [f.decode() for f in await raw(store, queue, "HKEYS", "meta")]
    assert [f for f in fields if f.startswith("p:")] == ["p:new"]


async def test_the_notes_of_a_living_job_stay_however_old(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue, notes_ms=HOUR)
    (claim,) = await hand.claim()
    await timed.note(queue, "w1", claim.tag, claim.entry, claim.id, "progress", b"1;2")
    now.forward(400 * DAY)
    assert (await timed.sweep_rest(queue, HOUR, HOUR)).notes == 0
    hand.settles.complete_with(claim, b"")
    await hand.step()
    assert (await timed.sweep_rest(queue, HOUR, HOUR)).notes == 0
    now.forward(HOUR)
    assert (await timed.sweep_rest(queue, HOUR, HOUR)).notes == 1
    assert not await raw(store, queue, "EXISTS", f"notes:{claim.id}")
