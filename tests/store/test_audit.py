"""Audit: rows damaged by hand are found by kind, mended, and the jobs behind them run again; sound rows are never touched."""

from __future__ import annotations

import pytest

from engine.errors import StoreRefused
from engine.keys import prefix
from engine.store.audit import Kind, Row, Verdict
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, enqueue, envelope, raw, states, usurp
from tests.support.laws import lines


async def wrong(store: RedisStore, queue: str, *, mend: bool = False) -> dict[Kind, set[str]]:
    """What the audit finds wrong, each kind with what it is about."""
    found: dict[Kind, set[str]] = {}
    async for rows in store.rows(queue, most=10_000, mend=mend):
        verdicts = await store.examine(queue, rows, mend=mend)
        for row, verdict in zip(rows, verdicts, strict=True):
            if verdict is not Verdict.SOUND:
                found.setdefault(row.kind, set()).add(row.about)
    return found


async def drained(store: RedisStore, queue: str) -> list[str]:
    """Run everything that can run now, in the order of its claims."""
    hand, ran = Hand(store, queue, "drainer"), []
    while claims := await hand.claim(10):
        ran += [claim.id for claim in claims]
        assert await hand.complete(*claims) == []
    return ran


@pytest.fixture
async def busy(store: RedisStore, queue: str) -> Hand:
    """A queue with jobs in every state; its worker holds two."""
    hand = Hand(store, queue)
    await enqueue(store, queue, 4)
    first, second, third, fourth = await hand.claim(4)
    await hand.retry(first)
    await hand.release(second)
    await hand.bury(third)
    await hand.snooze(fourth)
    await enqueue(store, queue, 3, ordering_key="k")
    await enqueue(store, queue, 12, ordering_key="many")
    await enqueue(store, queue, 2, delay_ms=HOUR)
    await hand.claim(2)
    return hand


async def test_a_queue_with_jobs_in_every_state_is_sound_and_stays_as_it_is(store: RedisStore, queue: str, busy: Hand) -> None:
    keys = sorted(await store.link.call("KEYS", prefix(queue) + "*"))
    before = [await store.link.call("DUMP", key) for key in keys if not key.endswith(b"meta")]
    assert await wrong(store, queue) == {}
    assert await wrong(store, queue, mend=True) == {}
    after = [await store.link.call("DUMP", key) for key in keys if not key.endswith(b"meta")]
    assert before == after


async def test_a_retrying_job_whose_place_in_time_is_lost_is_due_at_once(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (job_id,) = await enqueue(store, queue)
    (claim,) = await hand.claim()
    await hand.retry(claim)
    await raw(store, queue, "ZREM", "retrying", job_id)
    assert await wrong(store, queue) == {Kind.TIMED: {job_id}}
    assert await wrong(store, queue, mend=True) == {Kind.TIMED: {job_id}}
    assert await wrong(store, queue) == {}
    assert (await store.promote(queue)).moved == 1
    assert await drained(store, queue) == [job_id]


async def test_a_snoozed_job_that_holds_a_key_keeps_it(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    ids = await enqueue(store, queue, 2, ordering_key="k")
    (claim,) = await hand.claim()
    await hand.snooze(claim)
    await raw(store, queue, "HDEL", "where", ids[0])
    assert await wrong(store, queue, mend=True) == {Kind.TIMED: {ids[0]}}
    assert await raw(store, queue, "HGET", "where", ids[0]) == b"z"
    await store.hasten(queue, ids[0])
    assert await drained(store, queue) == ids


async def test_a_scheduled_job_whose_data_is_gone_is_counted_as_removed(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await raw(store, queue, "HDEL", "jobs", job_id)
    assert await wrong(store, queue, mend=True) == {Kind.TIMED: {job_id}}
    assert await wrong(store, queue) == {}
    assert (await store.counts(queue)).removed == 1


async def test_a_scheduled_job_that_nobody_can_read_is_dead_with_its_bytes(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await raw(store, queue, "HSET", "jobs", job_id, b"\x00rubbish")
    assert await wrong(store, queue, mend=True) == {Kind.TIMED: {job_id}}
    (row,) = (await store.dead(queue)).rows
    assert row.id == job_id
    assert await wrong(store, queue) == {}


async def test_a_copy_left_among_the_scheduled_is_dropped(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (job_id,) = await enqueue(store, queue)
    await hand.release(*await hand.claim())  # re-added, so `where` leads to it
    await raw(store, queue, "ZADD", "scheduled", 1, job_id)
    await raw(store, queue, "HSET", "jobs", job_id, envelope(id=job_id).pack())
    assert await wrong(store, queue, mend=True) == {Kind.TIMED: {job_id}}
    assert await wrong(store, queue) == {}
    assert await drained(store, queue) == [job_id]


async def test_a_row_that_leads_nowhere_is_dropped(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await raw(store, queue, "HSET", "where", "7-7", "5:9-9")
    await raw(store, queue, "HSET", "where", "8-8", "s")
    assert await wrong(store, queue, mend=True) == {Kind.WHERE: {"7-7", "8-8"}}
    assert await raw(store, queue, "EXISTS", "where") == 0


async def test_a_readded_job_is_found_by_its_id_again(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (job_id,) = await enqueue(store, queue)
    await hand.release(*await hand.claim())
    at = (await raw(store, queue, "HGET", "where", job_id)).decode()
    await raw(store, queue, "HDEL", "where", job_id)
    assert await wrong(store, queue) == {Kind.READDED: {at}}
    assert await wrong(store, queue, mend=True) == {Kind.READDED: {at}}
    assert await states(store, queue, [job_id]) == ["waiting"]
    assert (await store.inspect(queue, job_id)).row is not None


async def test_of_two_copies_the_one_that_nobody_runs_is_dropped(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (job_id,) = await enqueue(store, queue)
    await hand.release(*await hand.claim())
    await raw(store, queue, "XADD", "ready:5", "*", "j", envelope(id=job_id).pack())
    await raw(store, queue, "HSETNX", "meta", "tags", "5")
    (kind,) = await wrong(store, queue, mend=True)
    assert kind is Kind.READDED
    assert await drained(store, queue) == [job_id]


async def test_an_active_entry_whose_data_is_gone_is_dropped(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue).claim()
    await raw(store, queue, "XDEL", "ready:5", claim.entry)
    assert await wrong(store, queue, mend=True) == {Kind.PENDING: {f"5:{claim.entry}"}}
    assert (await store.counts(queue)).active == 0
    assert await store.examine(queue, [Row(Kind.COUNTERS, "")]) == [Verdict.WRONG]
    assert await store.examine(queue, [Row(Kind.COUNTERS, "")], mend=True) == [Verdict.MENDED]
    assert (await store.counts(queue)).removed == 1


async def test_a_key_whose_holder_is_gone_goes_to_the_next_in_line(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 3, ordering_key="k")
    await raw(store, queue, "XDEL", "ready:5", ids[0])
    assert await wrong(store, queue, mend=True) == {Kind.KEY: {"k"}}
    assert await wrong(store, queue) == {}
    assert await drained(store, queue) == ids[1:]
    await store.examine(queue, [Row(Kind.COUNTERS, "")], mend=True)


async def test_blocked_jobs_that_stand_in_no_line_join_it_again(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 12, ordering_key="k")
    await raw(store, queue, "DEL", "keys")
    await raw(store, queue, "DEL", "line:k")
    found = await wrong(store, queue, mend=True)
    assert found == {Kind.HELD: {f"5:{ids[0]}"}, Kind.BLOCKED: set(ids[1:])}
    assert await wrong(store, queue) == {}
    assert (await lines(store, queue))["k"] == ids
    assert await drained(store, queue) == ids


async def test_one_who_has_lost_his_place_in_the_middle_of_a_long_line_has_it_again(store: RedisStore, queue: str) -> None:
    ids: list[str] = []
    for at in range(30):
        ids += await enqueue(store, queue, 100, ordering_key="k", producer=f"long-{at}")
    assert await wrong(store, queue) == {}
    ms, seq = (int(part) for part in ids[1500].split("-"))
    assert await raw(store, queue, "ZREM", "line:k", ms.to_bytes(6, "big") + seq.to_bytes(7, "big")) == 1
    assert await wrong(store, queue, mend=True) == {Kind.BLOCKED: {ids[1500]}}
    assert (await lines(store, queue))["k"] == ids


async def test_a_blocked_job_that_nobody_can_read_is_dead(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2, ordering_key="k")
    entry = (await raw(store, queue, "XADD", "blocked", "*", "j", b"rubbish")).decode()
    await raw(store, queue, "HINCRBY", "meta", "enqueued", 1)
    assert await wrong(store, queue, mend=True) == {Kind.BLOCKED: {entry}}
    assert (await store.counts(queue)).dead == 1


async def test_marks_and_notes_of_jobs_that_are_gone_are_let_go(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await raw(store, queue, "HSET", "flags", "c7-7", "1", "w8-8", "1")
    await raw(store, queue, "HSET", "notes:9-9", "progress", "x")
    await raw(store, queue, "ZADD", "noted", "+inf", "9-9")
    assert await wrong(store, queue, mend=True) == {Kind.FLAG: {"c7-7", "w8-8"}, Kind.NOTES: {"9-9"}}
    assert await wrong(store, queue) == {}
    assert float(await raw(store, queue, "ZSCORE", "noted", "9-9")) < float("inf")


async def test_a_stream_that_was_forgotten_is_served_again(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, priority=3)
    await enqueue(store, queue, priority=5)
    await raw(store, queue, "HSET", "meta", "tags", "5")
    assert await wrong(store, queue, mend=True) == {Kind.UNSERVED: {"3"}}
    assert job_id in await drained(store, queue)


async def test_a_key_of_a_foreign_type_stops_the_audit_before_it_mends(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    restore = await usurp(store, queue, "scheduled")
    with pytest.raises(StoreRefused) as raised:
        await store.examine(queue, [Row(Kind.WHERE, "7-7")], mend=True)
    assert raised.value.code == "WRONGTYPE"
    await restore()


async def test_two_thousand_damaged_rows_are_mended_bite_by_bite(store: RedisStore, queue: str) -> None:
    for at in range(20):
        await enqueue(store, queue, 100, delay_ms=HOUR, producer=f"many-{at}")
    await raw(store, queue, "DEL", "where")
    found = await wrong(store, queue, mend=True)
    assert len(found[Kind.TIMED]) == 2_000
    assert await wrong(store, queue) == {}
