"""Step: settles once, claims in order, and answers the same call again without doing it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.errors import StoreRefused
from engine.keys import prefix
from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, enqueue, fall_asleep, raw, read, reclaim, states, usurp
from tests.support.laws import lines

Settle = Callable[[Hand, Claim], Awaitable[list[str]]]

SETTLES: dict[str, tuple[Settle, str]] = {
    "complete": (lambda hand, claim: hand.complete(claim), "completed"),
    "retry": (lambda hand, claim: hand.retry(claim), "retrying"),
    "snooze": (lambda hand, claim: hand.snooze(claim), "scheduled"),
    "release": (lambda hand, claim: hand.release(claim), "waiting"),
    "bury": (lambda hand, claim: hand.bury(claim), "dead"),
    "cancel": (lambda hand, claim: hand.cancel(claim), "cancelled"),
}
every_settle = pytest.mark.parametrize("how", list(SETTLES))


@every_settle
async def test_a_settle_moves_the_job_to_its_state(store: RedisStore, queue: str, how: str) -> None:
    settle, state = SETTLES[how]
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    assert await states(store, queue, [job_id]) == ["active"]
    assert await settle(hand, claim) == []
    assert await states(store, queue, [job_id]) == [state]


@every_settle
async def test_a_settle_whose_reply_was_lost_is_answered_again_and_done_once(store: RedisStore, queue: str, how: str) -> None:
    settle, state = SETTLES[how]
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await settle(hand, claim)
    before = await store.counts(queue)
    for _ in range(2):
        reply = await hand.again()
        assert (reply.status, reply.lost) == ("again", [])
    after = await store.counts(queue)
    assert await states(store, queue, [job_id]) == [state]
    assert (after.retried, after.snoozed, after.released, after.died) == (
        before.retried,
        before.snoozed,
        before.released,
        before.died,
    )


@every_settle
async def test_a_settle_after_the_lease_was_lost_is_refused_and_changes_nothing(store: RedisStore, queue: str, how: str) -> None:
    settle, _ = SETTLES[how]
    (job_id,) = await enqueue(store, queue, ordering_key="k")
    (follower,) = await enqueue(store, queue, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.lapse(claim)
    await reclaim(store, queue)
    assert await settle(hand, claim) == [claim.entry]
    assert (await hand.again()).lost == [claim.entry]
    assert await states(store, queue, [job_id, follower]) == ["waiting", "blocked"]


@every_settle
async def test_a_second_settle_of_the_same_entry_is_refused(store: RedisStore, queue: str, how: str) -> None:
    settle, state = SETTLES[how]
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await settle(hand, claim)
    assert await hand.complete(claim) == [claim.entry]
    assert await hand.bury(claim) == [claim.entry]
    assert await states(store, queue, [job_id]) == [state]


async def test_one_call_settles_everything_and_names_only_what_was_lost(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 9)
    hand = Hand(store, queue)
    a, b, c, d, e, f, g, h, i = await hand.claim(9)
    await Hand(store, queue, "other").complete(b, d)  # for the call below the same as a reclaim
    for one in (a, b, c):
        hand.settles.complete(one)
    hand.settles.retry(d, HOUR, "no", d.repacked(attempt=2))
    hand.settles.retry(e, HOUR, "no", e.repacked(attempt=2))
    hand.settles.snooze(f, HOUR, f.repacked())
    hand.settles.release(g, g.repacked())
    hand.settles.bury(h, b"", "f00d", "why not", h.repacked())
    hand.settles.cancel(i, "asked", i.repacked())
    assert sorted((await hand.step()).lost) == sorted([b.entry, d.entry])
    expected = ["completed", "completed", "completed", "completed", "retrying", "scheduled", "waiting", "dead", "cancelled"]
    assert await states(store, queue, ids) == expected
    counts = await store.counts(queue)
    assert (counts.completed, counts.retried, counts.snoozed, counts.released, counts.died, counts.cancelled) == (
        4,
        1,
        1,
        1,
        1,
        1,
    )


async def test_a_bulk_settle_tells_lost_entries_from_ones_that_wait_again(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 3)
    hand = Hand(store, queue)
    claims = await hand.claim(2)
    await store.link.call("XGROUP", "DESTROY", f"{prefix(queue)}ready:5", "w")
    assert await hand.complete(*claims) == [c.entry for c in claims]
    again = await hand.claim(3)  # finds the group gone, makes it anew and looks once more
    assert [c.id for c in again] == ids
    assert await hand.complete(*again) == []


async def test_a_late_settle_cannot_end_an_entry_that_waits_in_a_group_made_anew(store: RedisStore, queue: str) -> None:
    first, second = await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    claims = await hand.claim(2)
    await store.link.call("XGROUP", "DESTROY", f"{prefix(queue)}ready:5", "w")
    other = Hand(store, queue, "w2")
    (again,) = await other.claim()
    assert again.id == first
    assert await hand.complete(claims[1]) == [second]
    assert await states(store, queue, [first, second]) == ["active", "waiting"]


async def test_a_claim_whose_reply_was_lost_is_answered_from_the_pending_list(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 3)
    hand = Hand(store, queue)
    first = await hand.step(want=3)
    again = await hand.again()
    assert again.status == "again"
    assert again.rows == first.rows
    assert [c.id for c in read(queue, again)] == ids
    assert (await store.counts(queue)).active == 3


async def test_an_older_copy_of_a_call_is_stale_and_does_nothing(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    hand.number = 0
    hand.settles.complete(claim)
    await hand.step(want=1)  # number 1 again: answered, not executed
    assert (await store.counts(queue)).completed == 0
    hand.number = 1
    (second,) = await hand.claim()
    hand.number = 0
    hand.settles.complete(second)
    reply = await hand.step(want=5)
    assert (reply.status, reply.rows, reply.lost) == ("stale", [], [])
    assert (await store.counts(queue)).active == 2


async def test_copies_of_one_call_that_race_take_effect_once(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 20)
    hand = Hand(store, queue)
    await hand.step(want=5)
    replies = await asyncio.gather(*(hand.again() for _ in range(10)))
    assert all(len(r.rows) == 5 for r in replies)
    assert (await store.counts(queue)).active == 5


async def test_workers_number_their_calls_apart(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    one, two = Hand(store, queue, "w1"), Hand(store, queue, "w2")
    (a,), (b,) = await one.claim(), await two.claim()
    assert a.id != b.id
    assert (await store.last_call(queue, "w1"), await store.last_call(queue, "nobody")) == (1, 0)


async def test_want_is_never_exceeded_over_all_streams(store: RedisStore, queue: str) -> None:
    for priority in (1, 5, 9):
        await enqueue(store, queue, 3, priority=priority)
    for want in (1, 2, 4):
        reply = await Hand(store, queue, f"w{want}").step(want=want)
        assert len(reply.rows) == want
    assert len((await Hand(store, queue, "w0").step(want=0)).rows) == 0
    assert len((await Hand(store, queue, "w9").step(want=50)).rows) == 2


async def test_a_step_says_when_something_is_due_next(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    assert (await hand.step()).next_due_ms == 0
    await enqueue(store, queue, delay_ms=HOUR)
    await enqueue(store, queue)
    reply = await hand.step(want=1)
    due = reply.next_due_ms
    assert 0 < due - reply.now_ms <= HOUR + 1  # from the end of the millisecond it was enqueued in
    (claim,) = read(queue, reply)
    await hand.retry(claim, 1000)
    assert (await hand.step()).next_due_ms < due


async def test_a_settle_that_makes_something_due_sooner_rings_the_bell(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    before = await store.last_ids(queue)
    await hand.retry(claim, 1000)
    assert (await store.last_ids(queue))["bell"] != before["bell"]


async def test_a_step_that_takes_all_it_made_runnable_wakes_nobody(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    before = await store.last_ids(queue)
    hand.settles.complete(claim)
    assert len((await hand.step(want=5)).rows) == 1  # the handover went to itself
    assert (await store.last_ids(queue))["bell"] == before["bell"]


async def test_a_handover_to_somebody_else_rings_the_bell(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await fall_asleep(store, queue)
    before = await store.last_ids(queue)
    await hand.complete(claim)
    assert (await store.last_ids(queue))["bell"] != before["bell"]


async def test_counts_of_metrics_move_with_the_settles_once(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    hand.settles.complete(claim)
    hand.settles.count("ended|greet|completed")
    hand.settles.count("run_ms|greet|5", 2)
    await hand.step()
    await hand.again()
    assert await raw(store, queue, "HGETALL", "metrics") == {b"ended|greet|completed": b"1", b"run_ms|greet|5": b"2"}


async def test_a_result_is_kept_with_the_job_and_may_go_after_its_time(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue, notes_ms=0)
    (claim,) = await hand.claim()
    hand.settles.complete_with(claim, b"\x2a")
    await hand.step()
    assert await raw(store, queue, "HGET", f"notes:{claim.id}", "result") == b"\x2a"
    assert (await store.sweep_rest(queue, HOUR, HOUR)).notes == 1
    assert await raw(store, queue, "HGET", f"notes:{claim.id}", "result") is None


async def test_who_waits_for_an_end_is_told_of_each_kind(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 4)
    hand = Hand(store, queue)
    a, b, c, d = await hand.claim(4)
    waits = [await store.await_end(queue, job_id) for job_id in ids]
    assert {w[0] for w in waits} == {"waiting"}
    for one in (a, d):
        hand.settles.complete(one)
    await hand.step()
    await hand.bury(b)
    await hand.cancel(c)
    entries = await raw(store, queue, "XRANGE", "settled", waits[0][1], "+")
    told = {fields[1].decode(): fields[3].decode() for _, fields in entries}
    assert told == {a.id: "completed", d.id: "completed", b.id: "dead", c.id: "cancelled"}
    assert [(await store.await_end(queue, job_id))[0] for job_id in ids] == ["ended", "dead", "ended", "ended"]
    assert not await raw(store, queue, "EXISTS", "flags")


@pytest.mark.parametrize("suffix", ["scheduled", "retrying", "jobs", "where", "dead", "noted", "blocked", "keys", "flags"])
async def test_a_foreign_type_leaves_no_half_settled_call(store: RedisStore, queue: str, suffix: str) -> None:
    ids = [*await enqueue(store, queue, 4), *await enqueue(store, queue, 2, ordering_key="k")]
    await store.await_end(queue, ids[0])  # makes flags
    hand = Hand(store, queue)
    a, b, c, d, keyed = await hand.claim(5)
    before = await store.counts(queue)
    restore = await usurp(store, queue, suffix)
    for one in (a, keyed):
        hand.settles.complete(one)
    hand.settles.retry(b, 1000, "no", b.repacked(attempt=2))
    hand.settles.bury(c, b"", "f00d", "why", c.repacked())
    hand.settles.complete_with(d, b"\x01")
    with pytest.raises(StoreRefused, match="another type"):
        await hand.step()
    await restore()
    after = await store.counts(queue)
    assert (after.active, after.completed, after.difference) == (before.active, 0, 0)
    reply = await hand.again()
    assert (reply.status, reply.lost) == ("ok", [])
    assert await states(store, queue, ids) == ["completed", "retrying", "dead", "completed", "completed", "waiting"]


@pytest.mark.parametrize("suffix", ["done", "metrics", "bell", "events", "settled"])
async def test_a_foreign_type_where_nothing_depends_on_it_stops_nothing(store: RedisStore, queue: str, suffix: str) -> None:
    ids = [*await enqueue(store, queue, 3), *await enqueue(store, queue, 2, ordering_key="k")]
    await store.await_end(queue, ids[0])
    restore = await usurp(store, queue, suffix)
    hand = Hand(store, queue)
    claims = await hand.claim(9)
    hand.settles.complete(claims[0])
    hand.settles.complete(claims[3])
    hand.settles.cancel(claims[1], "asked", claims[1].repacked())
    hand.settles.retry(claims[2], 0, "no", claims[2].repacked(attempt=2))
    hand.settles.count("ended|greet|completed", 2)
    assert (await hand.step()).lost == []
    counts = await store.counts(queue)
    assert (counts.completed, counts.cancelled, counts.retrying, counts.waiting, counts.difference) == (2, 1, 1, 1, 0)
    await restore()


async def test_a_foreign_type_at_one_jobs_line_or_notes_costs_no_other_job_anything(store: RedisStore, queue: str) -> None:
    keyed, *short, follower, last = await enqueue(store, queue, 11, ordering_key="k")
    for job_id in short:  # those that stand in the key's row: behind them is only its list
        await store.cancel(queue, job_id, "why")
    plain, noted = await enqueue(store, queue, 2)
    hand = Hand(store, queue)
    claims = {c.id: c for c in await hand.claim(3)}
    restore = [await usurp(store, queue, suffix) for suffix in ("line:k", f"notes:{noted}")]
    hand.settles.complete(claims[keyed])
    hand.settles.complete(claims[plain])
    hand.settles.complete_with(claims[noted], b"\x01")
    assert (await hand.step()).lost == []
    counts = await store.counts(queue)
    assert (counts.completed, counts.blocked, counts.difference) == (3, 2, 0)
    for put_back in restore:
        await put_back()
    assert await states(store, queue, [keyed, plain, noted, follower, last]) == ["completed"] * 3 + ["blocked"] * 2
    await enqueue(store, queue, ordering_key="k")  # takes the free key, and hands it to who was left in the line
    await hand.complete(*await hand.claim())
    assert await lines(store, queue) == {"k": [follower, last]}


async def test_a_flag_to_cancel_is_obeyed_at_every_way_back_and_is_gone_after_every_end(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    for how, state in {
        "retry": "cancelled",
        "snooze": "cancelled",
        "release": "cancelled",
        "complete": "completed",
        "bury": "dead",
    }.items():
        (job_id,) = await enqueue(store, queue, ordering_key="k")
        (claim,) = await hand.claim()
        await store.cancel(queue, job_id, "asked")
        assert await hand.renew(claim) == ([], [job_id])
        await SETTLES[how][0](hand, claim)
        assert await states(store, queue, [job_id]) == [state]
        assert not await raw(store, queue, "EXISTS", "flags")
        assert await raw(store, queue, "HLEN", "keys") == 0


async def test_an_expired_job_is_counted_as_expired_and_cancelled(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await hand.cancel(claim, reason="expired")
    counts = await store.counts(queue)
    assert (counts.cancelled, counts.expired) == (1, 1)


async def test_no_row_of_a_job_is_left_once_it_ended(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 3, ordering_key="k")
    hand = Hand(store, queue)
    for _ in range(3):
        (claim,) = await hand.claim()
        await hand.retry(claim, 0)
        await store.promote(queue)
        (claim,) = await hand.claim()
        await hand.release(claim)
        (claim,) = await hand.claim()
        assert claim.moved_id
        await hand.complete(claim)
    assert not await raw(store, queue, "XLEN", "blocked")
    for suffix in ("where", "jobs", "keys", "line:k", "scheduled", "retrying", "flags"):
        assert not await raw(store, queue, "EXISTS", suffix), suffix
