"""Acts: what operators do moves jobs exactly as said, once, and the conservation law holds after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.job import State
from engine.keys import prefix
from engine.store.acts import Removal
from engine.store.rows import Place

from .seed import Hand, dead, enqueue, foreign

if TYPE_CHECKING:
    from engine.store.redis_store import RedisStore

HOUR = 3_600_000


async def ids_in(store: RedisStore, queue: str, state: State) -> list[str]:
    assert (await store.counts(queue)).difference == 0
    return [row.id for row in (await store.page(queue, state, limit=500)).rows]


@pytest.mark.parametrize("act", ["cancel", "delete"])
@pytest.mark.parametrize("state", [State.WAITING, State.SCHEDULED, State.RETRYING, State.BLOCKED])
async def test_a_job_that_waits_can_be_taken_out(store: RedisStore, queue: str, act: str, state: State) -> None:
    if state is State.BLOCKED:
        job_id = (await enqueue(store, queue, 2, ordering_key="c1"))[1]
    elif state is State.SCHEDULED:
        (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    else:
        (job_id,) = await enqueue(store, queue)
    if state is State.RETRYING:
        hand = Hand(store, queue)
        (claim,) = await hand.step(want=1)
        await hand.retry(claim, HOUR)
    assert job_id in await ids_in(store, queue, state)
    take = store.cancel if act == "cancel" else store.delete
    assert await take(queue, job_id, "typo") is Removal.DONE
    assert job_id not in await ids_in(store, queue, state)
    assert await take(queue, job_id, "typo") is Removal.UNKNOWN
    counts = await store.counts(queue)
    assert (counts.cancelled, counts.removed) == ((1, 0) if act == "cancel" else (0, 1))


@pytest.mark.parametrize("act", ["cancel", "delete"])
async def test_taking_out_the_holder_of_a_key_hands_it_over(store: RedisStore, queue: str, act: str) -> None:
    holder, follower, last = await enqueue(store, queue, 3, ordering_key="c1")
    await (store.cancel if act == "cancel" else store.delete)(queue, holder, "typo")
    assert await ids_in(store, queue, State.WAITING) == [follower]
    assert await ids_in(store, queue, State.BLOCKED) == [last]


async def test_cancel_of_an_active_job_is_a_request_that_its_settle_obeys(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.step(want=1)
    assert await store.cancel(queue, claim.id, "stop it") is Removal.REQUESTED
    assert await store.cancel(queue, claim.id, "stop it") is Removal.REQUESTED
    assert await store.delete(queue, claim.id, "typo") is Removal.ACTIVE
    await hand.retry(claim, HOUR)
    assert await ids_in(store, queue, State.CANCELLED) == [claim.id]


async def test_a_dead_job_is_deleted_not_cancelled(store: RedisStore, queue: str) -> None:
    (job_id,) = await dead(store, queue)
    assert await store.cancel(queue, job_id, "typo") is Removal.DEAD
    assert await store.delete(queue, job_id, "typo") is Removal.DONE
    assert await ids_in(store, queue, State.DEAD) == []


async def test_an_unreadable_entry_that_waits_can_be_deleted(store: RedisStore, queue: str) -> None:
    entry = await foreign(store, queue, b"\xff no envelope")
    assert await store.delete(queue, entry, "garbage") is Removal.DONE
    assert len((await store.page(queue, State.WAITING)).rows) == 1


async def test_hasten_makes_a_timed_job_runnable_and_nothing_else(store: RedisStore, queue: str) -> None:
    (later,) = await enqueue(store, queue, delay_ms=HOUR)
    assert await store.hasten(queue, later)
    assert await ids_in(store, queue, State.WAITING) == [later]
    assert not await store.hasten(queue, later)
    assert not await store.hasten(queue, "1-1")


async def test_requeue_gives_dead_jobs_a_fresh_start_once(store: RedisStore, queue: str) -> None:
    ids = await dead(store, queue, 3)
    assert await store.requeue(queue, [*ids, "1-1"]) == 3
    assert await store.requeue(queue, ids) == 0
    assert await store.requeue(queue, []) == 0
    assert await ids_in(store, queue, State.WAITING) == ids
    assert [claim.envelope.attempt for claim in await Hand(store, queue, "w2").step(want=3)] == [1, 1, 1]
    counts = await store.counts(queue)
    assert (counts.dead, counts.requeued, counts.difference) == (0, 3, 0)


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    assert await store.pause(queue, "token; revoked")
    assert not await store.pause(queue, "token; revoked")
    assert await store.pause(queue, "token; revoked again"), "another reason is a change"
    pause = (await store.counts(queue)).paused
    assert pause is not None
    assert (pause.until_ms, pause.reason) == (0, "token; revoked again")
    hand = Hand(store, queue)
    assert await hand.step(want=1) == []
    assert await store.resume(queue)
    assert not await store.resume(queue)
    assert len(await hand.step(want=1)) == 1


async def test_a_timed_pause_and_a_gate_say_until_when(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await store.pause(queue, "lunch", for_ms=HOUR)
    assert await store.gate(queue, HOUR)
    assert not await store.gate(queue, 1000)
    counts = await store.counts(queue)
    assert counts.paused is not None
    assert 0 < counts.paused.until_ms - counts.now_ms <= HOUR
    assert 0 < counts.gate_until_ms - counts.now_ms <= HOUR
    await store.resume(queue)
    assert len(await Hand(store, queue).step(want=1)) == 1  # whoever resumes opens the gate as well


async def test_old_records_go_and_only_of_the_kind_that_was_named(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    cancelled = await enqueue(store, queue, 5)
    for job_id in cancelled:
        await store.cancel(queue, job_id, "typo")
    await enqueue(store, queue, 6)
    for _ in range(3):
        await hand.complete(*await hand.step(want=2))
    now_ms = (await store.counts(queue)).now_ms
    assert (await store.sweep_done(queue, now_ms - HOUR)).dropped == 0
    bite = await store.sweep_done(queue, now_ms + HOUR, kind="completed", limit=3)
    assert (bite.dropped, bite.is_more) == (0, True)  # it looked at three cancelled ones
    dropped = 0
    while bite.is_more:
        bite = await store.sweep_done(queue, now_ms + HOUR, kind="completed", limit=3, cursor=bite.cursor)
        dropped += bite.dropped
    assert dropped == 6
    assert len(await ids_in(store, queue, State.CANCELLED)) == 5
    assert await ids_in(store, queue, State.COMPLETED) == []
    assert (await store.counts(queue)).completed == 6  # flows are kept


async def test_only_the_newest_records_are_kept(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    ids = await enqueue(store, queue, 10)
    for _ in range(10):
        await hand.complete(*await hand.step(want=1))
    while (await store.sweep_done(queue, 0, keep=3, limit=4)).is_more:
        pass
    assert await ids_in(store, queue, State.COMPLETED) == ids[:-4:-1]


async def test_old_dead_jobs_go_with_all_that_led_to_them(store: RedisStore, queue: str) -> None:
    await dead(store, queue, 3)
    await foreign(store, queue, b"\xff no envelope")
    await Hand(store, queue).claim_only(2)
    await store.reclaim(queue, "rescuer", 0, 0, {}, grace=False)  # buries the unreadable one, and the other at its first stall
    now_ms = (await store.counts(queue)).now_ms
    assert (await store.sweep_dead(queue, now_ms - HOUR)).dropped == 0
    dropped = 0
    while (bite := await store.sweep_dead(queue, now_ms + HOUR, limit=2)).dropped:
        dropped += bite.dropped
    assert dropped == 5
    assert await store.link.call("HLEN", f"{prefix(queue)}where") == 0
    assert await ids_in(store, queue, State.DEAD) == []


async def test_silent_workers_are_forgotten_unless_they_hold_something(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 2)
    await Hand(store, queue, "holds").step(want=1)
    for worker in ("holds", "empty"):
        await store.heartbeat(queue, worker, b"\x80")
    rest = await store.sweep_rest(queue, -1, -1)
    assert (rest.workers, rest.cursor) == (1, "0")
    assert [row.worker for row in await store.workers(queue, 0)] == ["holds"]


async def test_obliterate_leaves_no_key_and_refuses_while_jobs_are_active(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    await dead(store, queue)
    await enqueue(store, queue, 300, ordering_key="c1")
    await enqueue(store, queue, delay_ms=HOUR, dedup_key="d", dedup_window_ms=HOUR)
    await hand.step(want=1)
    refused = await store.obliterate(queue)
    assert (refused.is_done, refused.active) == (False, 1)
    assert (await store.counts(queue)).enqueued == 302
    bites = 1
    while not (await store.obliterate(queue, force=True, limit=50)).is_done:
        bites += 1
        assert bites < 50
    assert (await store.counts(queue)).enqueued == 0
    assert await store.link.call("KEYS", f"{prefix(queue)}*") == []
    assert (await store.inspect(queue, "1-1")).place is Place.UNKNOWN
