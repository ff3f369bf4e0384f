"""Workers of one queue with different leases: each has its own time, whoever of them looks."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from engine.store.redis_store import RedisStore
from tests.support.factory import LEASE_MS, Hand, enqueue, reclaim, tell_lease


async def test_a_worker_with_a_shorter_lease_leaves_a_longer_one_alone_until_it_has_run_out(
    store: RedisStore, queue: str
) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue, "long")
    await tell_lease(store, queue, "long", 60_000)
    (claim,) = await hand.claim()
    await hand.lapse(claim, ms=LEASE_MS + 5000)
    done = await reclaim(store, queue)
    assert done.moved == 0
    assert 40_000 < done.soonest_ms <= 45_000
    assert await hand.complete(claim) == []
    await enqueue(store, queue)
    (claim,) = await hand.claim()
    await hand.lapse(claim, ms=60_001)
    assert (await reclaim(store, queue)).moved == 1


async def test_a_longer_lease_holds_up_nobody_elses_jobs(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 90)
    long, short = Hand(store, queue, "long"), Hand(store, queue, "short")
    await tell_lease(store, queue, "long", 60_000)
    await tell_lease(store, queue, "short", LEASE_MS)
    for hand in (long, short, long):
        await hand.lapse(*await hand.claim(30), ms=LEASE_MS + 5000)
    moved, cursors = 0, dict[str, str]()
    for _ in range(20):
        done = await store.reclaim(queue, "r", LEASE_MS, 3, cursors, limit=4, grace=False)
        moved, cursors = moved + done.moved, done.cursors
        assert done.moved <= 4
    assert moved == 30
    assert [one.pending for one in await store.consumers(queue) if one.worker == "long"] == [60]


@pytest.mark.parametrize("told", [None, "soon", 1])
async def test_a_worker_that_told_no_lease_or_a_shorter_one_has_the_callers(store: RedisStore, queue: str, told: object) -> None:
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    await tell_lease(store, queue, "w1", told)
    young, old = await hand.claim(2)
    await hand.lapse(young, ms=LEASE_MS - 5000)
    await hand.lapse(old, ms=LEASE_MS + 5)
    assert (await reclaim(store, queue)).moved == 1


@pytest.mark.parametrize("beat", [b"\xc1 of another version", b"\x93", b"x"])
async def test_a_heartbeat_that_nobody_can_read_stops_no_reclaim(store: RedisStore, queue: str, beat: bytes) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    await store.heartbeat(queue, "w1", beat)
    await hand.lapse(*await hand.claim())
    assert (await reclaim(store, queue)).moved == 1


async def test_a_longer_lease_is_left_alone_while_the_clock_moves_within_the_script(store: RedisStore, queue: str) -> None:
    """Redis 7.0 tells each command of a script another time. Between the look at who is how old and the taking this one reads rows
    of workers that take it 0.2 s, in which an entry with a long lease becomes older than the lease of who looks."""
    others = 12
    await enqueue(store, queue, 1 + others)
    long = Hand(store, queue, "long")
    await tell_lease(store, queue, "long", 60_000)
    (claim,) = await long.claim()
    slow = msgspec.msgpack.encode({"lease_ms": LEASE_MS, "names": [f"handler-{n}" for n in range(100_000)]})
    for n in range(others):
        hand = Hand(store, queue, f"short-{n}")
        await store.heartbeat(queue, hand.name, slow)
        await hand.lapse(*await hand.claim())
    await long.lapse(claim, ms=LEASE_MS - 50)
    done = await reclaim(store, queue)
    assert done.moved == others
    assert (await long.renew(claim))[0] == []
    assert await long.complete(claim) == []


async def test_what_has_lapsed_among_longer_leases_is_taken_bite_by_bite_without_a_gap(store: RedisStore, queue: str) -> None:
    """Four a bite, which looks at forty."""
    await enqueue(store, queue, 90)
    long, short = Hand(store, queue, "long"), Hand(store, queue, "short")
    await tell_lease(store, queue, "long", 60_000)
    await tell_lease(store, queue, "short", LEASE_MS)
    for hand, n in ((long, 10), (short, 20), (long, 60)):
        await hand.lapse(*await hand.claim(n), ms=LEASE_MS + 5000)
    moved, cursors = list[int](), dict[str, str]()
    for _ in range(6):
        done = await store.reclaim(queue, "r", LEASE_MS, 3, cursors, limit=4, grace=False)
        cursors = done.cursors
        moved.append(done.moved)
    assert moved == [4, 4, 4, 4, 4, 0]


async def test_more_longer_leases_than_a_bite_looks_at_hide_nobody_behind_them(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 500)
    long, short = Hand(store, queue, "long"), Hand(store, queue, "short")
    await tell_lease(store, queue, "long", 60_000)
    for hand, n in ((long, 450), (short, 50)):
        claims = [claim for _ in range(n // 50) for claim in await hand.claim(50)]
        await asyncio.gather(*(hand.lapse(claim, ms=LEASE_MS + 5000) for claim in claims))
    moved, cursors = list[int](), dict[str, str]()
    for _ in range(3):
        done = await store.reclaim(queue, "r", LEASE_MS, 3, cursors, limit=40, grace=False)
        cursors = done.cursors
        moved.append(done.moved)
    assert moved == [0, 40, 10]
