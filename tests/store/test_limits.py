"""Limits: how many jobs may wait in a queue, and what becomes of one beyond that. Exact whatever comes at once, and in one step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from engine.declared import Limit, WhenFull
from engine.errors import StoreRefused
from engine.store.claim import Claim
from engine.store.producing import Enqueued, Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import (
    HOUR,
    Hand,
    body,
    enqueue,
    enqueue_foreign,
    fall_asleep,
    raw,
    reclaim,
    states,
    usurp,
    whereabouts,
)
from tests.support.laws import lines

PLAIN = Entry(body())
DELAYED = Entry(body(), delay_ms=HOUR)
KEYED = Entry(body(), ordering_key="k")


def once(key: str, **fields: object) -> Entry:
    return Entry(body(), dedup_key=key, dedup_window_ms=HOUR, **fields)  # type: ignore[arg-type]  # fields of Entry


def refused(answers: list[Enqueued]) -> list[bool]:
    return [not one.id for one in answers]


async def ids_of(store: RedisStore, queue: str, state: str) -> list[str]:
    return sorted(job_id for job_id, found in (await whereabouts(store, queue)).items() if found == [state])


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [PLAIN, DELAYED, KEYED, once("d")], ids=["plain", "delayed", "keyed", "deduplicated"])
async def test_what_fits_is_in_and_each_job_beyond_is_refused_for_itself(store: RedisStore, queue: str, entry: Entry) -> None:
    entries = [entry] * 5 if not entry.dedup_key else [once(f"d{n}") for n in range(5)]
    answers = await store.enqueue(queue, "p", 1, entries, Limit(3))
    assert refused(answers) == [False] * 3 + [True] * 2
    assert [one.waiting for one in answers[3:]] == [3, 3]
    again = await store.enqueue(queue, "p", 1, entries, Limit(3))
    assert again == answers
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.kept, counts.refused, counts.dropped) == (3, 3, 2, 0)
    assert refused(await store.enqueue(queue, "p", 2, entries[4:], Limit(3))) == [True]


async def test_all_that_wait_count_whatever_for_and_active_ones_do_not(store: RedisStore, queue: str) -> None:
    first = await enqueue(store, queue, 4, ordering_key="k")
    await enqueue(store, queue, 2, delay_ms=HOUR)
    await enqueue(store, queue, 2, priority=1)
    hand = Hand(store, queue)
    claims = await hand.claim(3)  # two urgent ones, and the holder of the key
    await hand.retry(claims[0])
    await hand.snooze(claims[1])
    counts = await store.counts(queue)
    assert (counts.blocked, counts.scheduled, counts.retrying, counts.active, counts.waiting) == (3, 3, 1, 1, 0)
    assert refused(await store.enqueue(queue, "p", 1, [PLAIN] * 3, Limit(9))) == [False, False, True]
    await hand.complete(*[c for c in claims if c.id == first[0]])
    assert refused(await store.enqueue(queue, "p", 2, [PLAIN], Limit(9))) == [True]  # one ended, but it did not count
    await hand.claim(1)
    assert refused(await store.enqueue(queue, "p", 3, [PLAIN], Limit(9))) == [False]


async def test_jobs_that_come_back_find_room_and_are_counted(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 4)
    hand = Hand(store, queue)
    claims = await hand.claim(4)
    await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(2))
    await hand.release(claims[0])
    await hand.retry(claims[1])
    await hand.bury(claims[2])
    assert await store.requeue(queue, [claims[2].id]) == 1
    await hand.lapse(claims[3])
    assert (await reclaim(store, queue)).moved == 1
    answers = await store.enqueue(queue, "p", 2, [PLAIN], Limit(2))
    assert [one.waiting for one in answers] == [6]
    assert (await store.counts(queue)).kept == 6


async def test_a_duplicate_is_never_refused_and_a_refused_job_leaves_no_key_behind(store: RedisStore, queue: str) -> None:
    (first,) = await store.enqueue(queue, "p", 1, [once("a")], Limit(1))
    answers = await store.enqueue(queue, "p", 2, [once("a"), once("b"), once("b"), once("a")], Limit(1))
    assert [(one.id, one.duplicate) for one in answers] == [(first.id, True), ("", False), ("", False), (first.id, True)]
    assert await store.enqueue(queue, "p", 2, [once("a"), once("b"), once("b"), once("a")], Limit(1)) == answers
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim(1))
    (second,) = await store.enqueue(queue, "p", 3, [once("b")], Limit(1))
    assert (bool(second.id), second.duplicate) == (True, False)


async def test_producers_that_come_at_once_fill_a_queue_to_the_last_place_and_no_further(store: RedisStore, queue: str) -> None:
    async def produce(name: str, entry: Entry, n: int) -> int:
        calls = [await store.enqueue(queue, name, number, [entry] * n, Limit(101)) for number in range(1, 9)]
        return sum(not r for answers in calls for r in refused(answers))

    kinds = [PLAIN, DELAYED, KEYED, Entry(body(), ordering_key="m", priority=2)]
    added = await asyncio.gather(*(produce(f"p{i}", kinds[i % 4], 1 + i % 7) for i in range(24)))
    counts = await store.counts(queue)
    assert sum(added) == counts.kept == counts.enqueued == 101
    assert counts.refused == sum(8 * (1 + i % 7) for i in range(24)) - 101


async def test_a_limit_holds_although_meta_was_lost(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 3)
    kept = await raw(store, queue, "HGETALL", "meta")
    await raw(store, queue, "DEL", "meta")
    assert refused(await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(4))) == [False, True]
    await raw(store, queue, "HSET", "meta", "enqueued", 4)  # what the law needs at the end
    assert kept


async def test_a_refusal_wakes_nobody_and_a_job_that_fits_does(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 1, delay_ms=HOUR)
    await enqueue(store, queue, 1)
    hand = Hand(store, queue, "busy")
    await hand.claim(1)
    await fall_asleep(store, queue)
    bell = await raw(store, queue, "XREVRANGE", "bell", "+", "-", "COUNT", 1)
    await store.enqueue(queue, "p", 1, [PLAIN], Limit(1))
    assert await raw(store, queue, "HGET", "meta", "rung") == b"0"
    assert await raw(store, queue, "XREVRANGE", "bell", "+", "-", "COUNT", 1) == bell
    await store.enqueue(queue, "p", 2, [PLAIN], Limit(2))
    assert await raw(store, queue, "HGET", "meta", "rung") == b"1"
    assert await raw(store, queue, "XREVRANGE", "bell", "+", "-", "COUNT", 1) != bell


# --- the oldest make room --------------------------------------------------------------------------------------------

DROP: WhenFull = "drop-oldest"


async def test_the_oldest_makes_room_and_is_counted_and_told(store: RedisStore, queue: str) -> None:
    old = [one.id for one in await store.enqueue(queue, "p", 1, [PLAIN] * 3, Limit(3, DROP))]
    answers = await store.enqueue(queue, "p", 2, [PLAIN] * 2, Limit(3, DROP))
    assert [one.made_room for one in answers] == [True, True]
    assert await store.enqueue(queue, "p", 2, [PLAIN] * 2, Limit(3, DROP)) == answers
    assert await states(store, queue, [*old, *(one.id for one in answers)]) == ["-", "-", "waiting", "waiting", "waiting"]
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.kept, counts.removed, counts.dropped, counts.refused) == (5, 3, 2, 2, 0)
    feed = await store.events(queue)
    assert [(event.kind, event.id) for event in feed.events] == [("dropped", old[0]), ("dropped", old[1])]


async def test_it_is_the_oldest_of_those_next_in_their_line_whatever_their_priority(store: RedisStore, queue: str) -> None:
    (urgent,) = await enqueue(store, queue, priority=1)
    holder, blocked = await enqueue(store, queue, 2, ordering_key="k")
    (late,) = await enqueue(store, queue, priority=9)
    hand = Hand(store, queue)
    first, active = await hand.claim(2)
    assert [first.id, active.id] == [urgent, holder]
    await hand.release(first)  # to the front of its priority, its age kept
    for number, gone in enumerate([urgent, blocked, late], 1):
        (answer,) = await store.enqueue(queue, "p", number, [Entry(body(), delay_ms=HOUR)], Limit(3, DROP))
        assert answer.made_room
        assert await states(store, queue, [gone]) == ["-"]
    assert await states(store, queue, [holder]) == ["active"]
    assert await lines(store, queue) == {"k": [holder]}
    assert await raw(store, queue, "HGETALL", "where") is not None
    answers = await store.enqueue(queue, "p", 9, [PLAIN], Limit(3, DROP))
    assert refused(answers) == [True]  # nobody is left who could go: one runs, the others have their time to come
    assert (await store.counts(queue)).refused == 1


async def test_a_holder_that_goes_hands_its_key_to_the_next_in_line(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 4, ordering_key="k")
    await store.enqueue(queue, "p", 1, [PLAIN], Limit(4, DROP))
    assert await states(store, queue, ids) == ["-", "waiting", "blocked", "blocked"]
    assert await lines(store, queue) == {"k": ids[1:]}
    await store.enqueue(queue, "p", 2, [PLAIN] * 2, Limit(4, DROP))
    assert await states(store, queue, ids) == ["-", "waiting", "-", "-"]  # behind the plain one in its line: not its turn to go
    await store.enqueue(queue, "p", 3, [PLAIN] * 2, Limit(4, DROP))
    assert await states(store, queue, ids) == ["-"] * 4
    assert await lines(store, queue) == {}
    (one,) = await store.enqueue(queue, "p", 4, [KEYED], Limit(4, DROP))
    assert await states(store, queue, [one.id]) == ["waiting"]


async def test_a_call_larger_than_the_queue_leaves_its_last_jobs(store: RedisStore, queue: str) -> None:
    entries = [KEYED, PLAIN] * 20
    answers = await store.enqueue(queue, "p", 1, entries, Limit(4, DROP))
    assert [one.made_room for one in answers] == [False] * 4 + [True] * 36
    ids = [one.id for one in answers]
    assert await states(store, queue, ids) == ["-"] * 36 + ["waiting", "waiting", "blocked", "waiting"]
    assert await lines(store, queue) == {"k": [ids[36], ids[38]]}
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.kept, counts.dropped) == (40, 4, 36)


async def test_one_goes_for_one_that_comes_also_where_too_many_wait_already(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 10)
    await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(3, DROP))
    counts = await store.counts(queue)
    assert (counts.kept, counts.dropped) == (10, 2)


async def test_a_duplicate_pushes_nobody_out_not_even_of_a_job_that_was(store: RedisStore, queue: str) -> None:
    (first,) = await store.enqueue(queue, "p", 1, [once("a")], Limit(1, DROP))
    (second,) = await store.enqueue(queue, "p", 2, [once("b")], Limit(1, DROP))
    answers = await store.enqueue(queue, "p", 3, [once("a"), once("b")], Limit(1, DROP))
    assert answers == [Enqueued(first.id, True), Enqueued(second.id, True)]
    assert await ids_of(store, queue, "waiting") == [second.id]


async def test_what_a_dropped_job_had_left_elsewhere_goes_with_it(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim(1)
    assert await store.note(queue, hand.name, claim.tag, claim.entry, claim.id, "progress", b"1;2")
    await hand.release(claim)
    assert (await store.await_end(queue, job_id))[0] == "waiting"
    await store.enqueue(queue, "p", 1, [PLAIN], Limit(1, DROP))
    for suffix, field in (("where", job_id), ("flags", f"w{job_id}")):
        assert await raw(store, queue, "HEXISTS", suffix, field) == 0
    assert await raw(store, queue, "EXISTS", f"notes:{job_id}") == 0
    assert await raw(store, queue, "ZCARD", "noted") == 0
    ends = await raw(store, queue, "XRANGE", "settled", "-", "+")
    assert [fields[1:4:2] for _, fields in ends] == [[job_id.encode(), b"removed"]]


async def test_a_suspect_and_what_is_no_job_may_have_to_go_too(store: RedisStore, queue: str) -> None:
    entry = await enqueue_foreign(store, queue, b"no job")
    hand = Hand(store, queue)
    (claim,) = await hand.claim(1)
    await hand.lapse(claim)
    assert (await reclaim(store, queue)).moved == 1  # to the suspects
    answers = await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(2, DROP))
    assert [one.made_room for one in answers] == [True, True]
    assert await states(store, queue, [claim.id, entry]) == ["-", "-"]


async def test_producers_that_come_at_once_never_go_beyond_the_limit(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 5, delay_ms=HOUR)
    hand = Hand(store, queue)

    async def produce(name: str, key: str) -> None:
        for number in range(1, 20):
            await store.enqueue(queue, name, number, [Entry(body(), ordering_key=key)] * 3, Limit(20, DROP))
            assert (await store.counts(queue)).kept <= 20

    async def work() -> None:
        for _ in range(30):
            await hand.complete(*await hand.claim(2))

    await asyncio.gather(*(produce(f"p{i}", f"k{i % 3}" if i else "") for i in range(5)), work())
    counts = await store.counts(queue)
    assert counts.kept <= 20
    assert counts.scheduled == 5
    assert counts.dropped == counts.removed > 0
    while claims := await hand.claim(9):
        await hand.complete(*claims)
    assert (await store.counts(queue)).pending == 5


@pytest.mark.parametrize("suffix", ["scheduled", "where", "keys", "blocked"])
async def test_a_foreign_type_stops_a_full_queues_call_before_its_first_write(store: RedisStore, queue: str, suffix: str) -> None:
    await enqueue(store, queue, 3, ordering_key="k")
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(3, DROP))
    await restore()
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.kept, counts.difference) == (3, 3, 0)
    assert refused(await store.enqueue(queue, "p", 1, [PLAIN] * 2, Limit(3, DROP))) == [False, False]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_in_a_full_queue_no_job_is_in_two_places_and_every_line_is_whole(
    store: RedisStore, queue: str, seed: int
) -> None:
    chance = random.Random(seed)
    limit = Limit(8, DROP if seed % 2 else "refuse")
    hand = Hand(store, queue)
    held: list[Claim] = []
    ids: list[str] = []
    for number in range(1, 81):
        match chance.choice(["enqueue"] * 4 + ["claim", "claim", "settle", "settle", "promote", "cancel", "requeue"]):
            case "enqueue":
                before = await store.counts(queue)
                entries = [
                    Entry(
                        body(),
                        priority=chance.choice([1, 5, 9]),
                        ordering_key=chance.choice(["", "a", "b"]),
                        delay_ms=chance.choice([0, 0, 0, 1, HOUR]),
                    )
                    for _ in range(chance.randint(1, 5))
                ]
                answers = await store.enqueue(queue, "p", number, entries, limit)
                assert await store.enqueue(queue, "p", number, entries, limit) == answers
                ids += [one.id for one in answers if one.id]
                assert (await store.counts(queue)).kept <= max(limit.most, before.kept)
            case "claim":
                held += await hand.claim(chance.randint(1, 3))
            case "settle" if held:
                one = held.pop(chance.randrange(len(held)))
                ways: list[Callable[[Claim], Awaitable[list[str]]]] = [
                    hand.complete,
                    hand.release,
                    hand.bury,
                    hand.retry,
                    hand.snooze,
                ]
                assert await chance.choice(ways)(one) == []
            case "promote":
                await store.promote(queue)
            case "cancel" if ids:
                await store.cancel(queue, chance.choice(ids), "why")
            case "requeue" if ids:
                await store.requeue(queue, chance.sample(ids, min(3, len(ids))))
        assert (await store.counts(queue)).difference == 0
        assert all(len(found) == 1 for found in (await whereabouts(store, queue)).values())
        await lines(store, queue)
