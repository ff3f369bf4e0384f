"""Enqueue: each job once however often the call is sent, refused whole or taken whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from engine.errors import StoreFull, StoreRefused
from engine.job import State
from engine.keys import prefix
from engine.store.base import text
from engine.store.producing import Enqueued, Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, body, enqueue, raw, states, usurp


def numbers(job_id: str) -> tuple[int, int]:
    ms, _, seq = job_id.partition("-")
    return int(ms), int(seq)


async def test_ids_rise_within_a_call_and_from_call_to_call(store: RedisStore, queue: str) -> None:
    ids = [*await enqueue(store, queue, 3), *await enqueue(store, queue, 3), *await enqueue(store, queue, 1, delay_ms=HOUR)]
    assert all(re.fullmatch(r"\d{13}-\d+", one) for one in ids)
    assert sorted(ids, key=numbers) == ids
    assert len(set(ids)) == 7


async def test_the_same_number_again_adds_nothing_and_gives_the_same_answer(store: RedisStore, queue: str) -> None:
    entries = [
        Entry(body(), dedup_key="d", dedup_window_ms=HOUR),
        Entry(body()),
        Entry(body(), dedup_key="d", dedup_window_ms=HOUR),
    ]
    first = await store.enqueue(queue, "p", 1, entries)
    assert [one.duplicate for one in first] == [False, False, True]
    assert first[2].id == first[0].id
    for _ in range(2):
        assert await store.enqueue(queue, "p", 1, entries) == first
    assert (await store.counts(queue)).enqueued == 2


async def test_twenty_copies_of_one_call_at_once_add_it_once(store: RedisStore, queue: str) -> None:
    copies = await asyncio.gather(*(store.enqueue(queue, "p", 7, [Entry(body())] * 5) for _ in range(20)))
    assert all(copy == copies[0] for copy in copies)
    assert (await store.counts(queue)).waiting == 5


async def test_a_call_older_than_one_already_answered_is_refused(store: RedisStore, queue: str) -> None:
    await store.enqueue(queue, "p", 2, [Entry(body())])
    with pytest.raises(StoreRefused, match="older") as caught:
        await store.enqueue(queue, "p", 1, [Entry(body())])
    assert caught.value.code == "STALE"
    assert (await store.counts(queue)).enqueued == 1


async def test_producers_number_their_calls_apart(store: RedisStore, queue: str) -> None:
    one, two = [await store.enqueue(queue, name, 1, [Entry(body())]) for name in ("p", "q")]
    assert one != two
    assert (await store.counts(queue)).enqueued == 2


async def test_a_job_goes_where_its_options_say(store: RedisStore, queue: str) -> None:
    now = (await store.counts(queue)).now_ms
    entries = [
        Entry(body(), ordering_key="k"),
        Entry(body(), ordering_key="k"),
        Entry(body(), delay_ms=HOUR, ordering_key="k"),
        Entry(body(), at_ms=now + HOUR),
        Entry(body(), at_ms=now - HOUR),
    ]
    ids = [one.id for one in await store.enqueue(queue, "p", 1, entries)]
    assert await states(store, queue, ids) == ["waiting", "blocked", "scheduled", "scheduled", "waiting"]


async def test_a_delay_is_counted_by_the_servers_clock_to_the_millisecond(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    (job_id,) = await enqueue(timed, queue, delay_ms=1500)
    assert int(await raw(store, queue, "ZSCORE", "scheduled", job_id)) == now.ms + 1500


async def test_the_body_arrives_byte_for_byte(store: RedisStore, queue: str) -> None:
    data = bytes(range(256)) + b";;;\r\n\x00"
    await enqueue(store, queue, data=data, ordering_key="São;Paulo\n1")
    (claim,) = await Hand(store, queue).claim()
    assert claim.envelope.body == data
    assert claim.envelope.key == "São;Paulo\n1"


@pytest.mark.parametrize("suffix", ["scheduled", "jobs", "where", "keys", "blocked"])
async def test_a_foreign_type_stops_a_call_before_its_first_write(store: RedisStore, queue: str, suffix: str) -> None:
    await enqueue(store, queue, 2, ordering_key="k")
    mixed = [Entry(body()), Entry(body(), delay_ms=HOUR), Entry(body(), ordering_key="k"), Entry(body(), ordering_key="m")]
    restore = await usurp(store, queue, suffix)
    with pytest.raises(StoreRefused, match="another type"):
        await store.enqueue(queue, "p", 1, mixed)
    await restore()
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.difference) == (2, 0)
    await store.enqueue(queue, "p", 1, mixed)
    counts = await store.counts(queue)
    assert (counts.waiting, counts.blocked, counts.scheduled, counts.difference) == (3, 2, 1, 0)


async def test_ids_are_not_given_again_when_the_counter_went_back(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    before = await raw(store, queue, "HMGET", "meta", "ms", "seq") if await enqueue(timed, queue) else []
    given = set(await enqueue(timed, queue, 50))
    await raw(store, queue, "HSET", "meta", "ms", before[0], "seq", before[1])
    await store.link.call("XTRIM", f"{prefix(queue)}ready:5", "MAXLEN", 0)  # the tail of the file was lost with it
    await store.link.call("XGROUP", "DESTROY", f"{prefix(queue)}ready:5", "w")
    await store.link.call("DEL", f"{prefix(queue)}ready:5")
    await raw(store, queue, "HDEL", "meta", "tags", "enqueued")
    again = set(await enqueue(timed, queue, 50))
    assert not given & again


async def test_a_clock_that_was_set_back_keeps_ids_rising(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    (first,) = await enqueue(timed, queue)
    now.ms -= HOUR
    second, third = await enqueue(timed, queue, 2)
    assert [first, second, third] == sorted([first, second, third], key=numbers)


@pytest.fixture
async def lost(store: RedisStore, queue: str) -> AsyncIterator[str]:
    """A queue that loses its meta: the law can't be kept by then, so it is not checked."""
    name = f"{queue}-lost"
    yield name
    await enqueue(store, name)  # names the streams again, so that they can be removed
    while not (await store.obliterate(name, force=True)).is_done:
        continue
    for key in await store.link.call("KEYS", f"{prefix(name)}*"):
        await store.link.call("DEL", key)


async def test_without_its_meta_a_queue_goes_on_above_the_ids_it_gave(store: RedisStore, lost: str) -> None:
    now = Now()
    timed = at_time(store, now)
    old = await enqueue(timed, lost, 3)
    (urgent,) = await enqueue(timed, lost, priority=1)
    await raw(store, lost, "DEL", "meta")
    now.ms -= HOUR  # worst case: the clock does not help
    new = await enqueue(timed, lost, 2)
    assert min(map(numbers, new)) > max(map(numbers, [*old, urgent]))
    claims = await Hand(store, lost).claim(9)  # ten would give one place to the lower priorities
    assert [c.id for c in claims] == [urgent, *old, *new]


async def test_without_its_meta_a_queue_still_buries_above_the_entries_of_its_dead(store: RedisStore, lost: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, lost, 2)
    hand = Hand(timed, lost)
    first, second = await hand.claim(2)
    await hand.bury(first)
    await hand.complete(second)
    for suffix in ("meta", "bell", "ready:5"):
        await raw(store, lost, "DEL", suffix)
    now.ms -= HOUR
    await enqueue(timed, lost)
    (claim,) = await hand.claim()
    assert await hand.bury(claim) == []
    assert await raw(store, lost, "XLEN", "dead") == 2


async def test_a_worker_finds_what_waits_although_meta_was_lost(store: RedisStore, lost: str) -> None:
    (job_id,) = await enqueue(store, lost)
    await raw(store, lost, "DEL", "meta")
    hand = Hand(store, lost)
    found = [*await hand.claim(), *await hand.claim()]
    assert [c.id for c in found] == [job_id]


async def test_after_a_flush_old_ids_do_not_come_back_and_late_settles_are_refused(store: RedisStore, lost: str) -> None:
    old = await enqueue(store, lost, 2)
    hand = Hand(store, lost)
    claims = await hand.claim(2)
    epoch = (await store.counts(lost)).epoch
    for key in await store.link.call("KEYS", f"{prefix(lost)}*"):  # what FLUSHALL does to this queue
        await store.link.call("DEL", key)
    assert await hand.complete(*claims) == [c.entry for c in claims]
    new = await enqueue(store, lost, 2)
    assert not set(old) & set(new)
    assert [c.id for c in await hand.claim(5)] == new
    counts = await store.counts(lost)
    assert counts.epoch not in ("", epoch)
    assert (counts.completed, counts.difference) == (0, 0)


async def test_at_maxmemory_enqueue_and_requeue_are_refused_while_work_goes_on(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 4, ordering_key="k")
    (dying,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    claims = {c.id: c for c in await hand.claim(5)}
    await hand.bury(claims[dying])
    await store.link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull, match="maxmemory"):
            await enqueue(store, queue)
        with pytest.raises(StoreFull):
            await store.requeue(queue, [dying])
        assert await hand.renew(claims[ids[0]]) == ([], [])
        assert await hand.complete(claims[ids[0]]) == []
        (second,) = await hand.claim()
        assert await hand.retry(second, 0) == []
        assert (await store.promote(queue)).moved == 1
        (second,) = await hand.claim()
        await hand.lapse(second)
        assert (await store.reclaim(queue, "r", 10_000, 3, {}, grace=False)).moved == 1
        assert text((await store.cancel(queue, ids[2], "full")).value) == "done"
        assert text((await store.delete(queue, dying, "full")).value) == "done"
    finally:
        await store.link.call("CONFIG", "SET", "maxmemory", "0")
    assert await states(store, queue, [*ids, dying]) == ["completed", "waiting", "cancelled", "blocked", "-"]
    assert (await store.counts(queue)).enqueued == 5


async def test_a_queue_is_known_by_name_once_somebody_registered_it(store: RedisStore, queue: str) -> None:
    await store.register_queue(queue, 5)
    await store.register_queue(queue, 9)
    assert queue in await store.queue_names()
    await store.unregister_queue(queue)
    assert queue not in await store.queue_names()


async def test_a_duplicate_answers_with_the_first_jobs_id_whatever_became_of_it(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, dedup_key="d", dedup_window_ms=HOUR)
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim())
    again = await store.enqueue(queue, "other", 1, [Entry(body(), dedup_key="d", dedup_window_ms=HOUR)])
    assert again == [Enqueued(job_id, True)]
    assert (await store.page(queue, State.WAITING)).rows == []
