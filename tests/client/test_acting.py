"""Acting: one job or one queue at a time; every refusal names the state and the way out."""

from __future__ import annotations

import pytest

from engine.client import Client
from engine.client.acting import clean_reason
from engine.declared import QueueSpec
from engine.errors import BadInput, JobNotFound, StoreUnanswered, UnknownQueue, WrongState
from engine.job import State
from engine.store.redis_store import RedisStore
from tests.store.seed import Hand, dead, enqueue, foreign, ids_ahead
from tests.support.factory import Now, at_time

HOUR = 3_600_000


async def test_cancel_and_cancel_again_answer_the_same(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    for _ in range(2):
        assert (await client.cancel(f"{queue}/{job_id}", "typo")).outcome == "cancelled"
    job = await client.job(f"{queue}/{job_id}")
    assert (job.state, job.cancel_reason) == (State.CANCELLED, "typo")


async def test_an_act_whose_reply_was_lost_is_reported_as_done(
    client: Client, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await enqueue(store, queue)
    real, calls = store.cancel, []

    async def reply_lost(*args: str) -> object:
        calls.append(args)
        answer = await real(*args)
        if len(calls) == 1:
            raise StoreUnanswered("the reply was lost on the way")
        return answer

    monkeypatch.setattr(store, "cancel", reply_lost)
    assert (await client.cancel(f"{queue}/{job_id}")).outcome == "cancelled"
    assert len(calls) == 2


@pytest.mark.parametrize("is_set_back", [False, True], ids=["", "the clock was set back"])
@pytest.mark.parametrize("act", ["cancel", "delete"])
async def test_an_act_that_never_arrived_is_not_reported_as_done_when_the_job_has_ended_meanwhile(
    client: Client, store: RedisStore, queue: str, act: str, is_set_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sending is lost on its way up, and nobody can know; the second finds no such job: it is completed, not cancelled."""
    if is_set_back:
        await ids_ahead(store, queue)
    (job_id,) = await enqueue(store, queue)
    real, hand = getattr(store, act), Hand(store, queue)
    calls: list[object] = []

    async def request_lost(*args: str) -> object:
        calls.append(args)
        if len(calls) == 1:
            (claim,) = await hand.step(want=1)
            await hand.complete(claim)
            raise StoreUnanswered("the request was lost on the way")
        return await real(*args)

    monkeypatch.setattr(store, act, request_lost)
    with pytest.raises(WrongState, match="is completed"):
        await getattr(client, act)(f"{queue}/{job_id}")
    assert len(calls) == 2


async def test_a_deletion_whose_reply_was_lost_is_reported_as_done(
    client: Client, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await enqueue(store, queue)
    real, calls = store.delete, []

    async def reply_lost(*args: str) -> object:
        calls.append(args)
        answer = await real(*args)
        if len(calls) == 1:
            raise StoreUnanswered("the reply was lost on the way")
        return answer

    monkeypatch.setattr(store, "delete", reply_lost)
    assert (await client.delete(f"{queue}/{job_id}")).outcome == "deleted"
    assert len(calls) == 2


async def test_each_act_refuses_the_wrong_state_by_name(client: Client, store: RedisStore, queue: str) -> None:
    (dead_id,) = await dead(store, queue)
    hand = Hand(store, queue)
    await enqueue(store, queue)
    (done,) = await hand.step(want=1)
    await hand.complete(done)
    await enqueue(store, queue)
    (active,) = await hand.step(want=1)
    for act, job_id, said in (
        (client.cancel, dead_id, "is dead"),
        (client.cancel, done.id, "is completed"),
        (client.delete, done.id, "is completed"),
        (client.delete, active.id, "is active: cancel it instead"),
        (client.promote, active.id, "is active: only a scheduled or retrying job"),
        (client.promote, dead_id, "is dead"),
        (client.requeue, active.id, "is active: only a dead job"),
        (client.requeue, done.id, "is completed"),
    ):
        with pytest.raises(WrongState, match=said):
            await act(f"{queue}/{job_id}")
    for act in (client.cancel, client.delete, client.promote, client.requeue):
        with pytest.raises(JobNotFound):
            await act(f"{queue}/1-1")
    assert (await client.cancel(f"{queue}/{active.id}")).outcome == "requested"


async def test_promote_delete_and_requeue_do_what_they_say(client: Client, store: RedisStore, queue: str) -> None:
    (later,) = await enqueue(store, queue, delay_ms=HOUR)
    assert (await client.promote(f"{queue}/{later}")).outcome == "promoted"
    assert (await client.job(f"{queue}/{later}")).state is State.WAITING
    assert (await client.delete(f"{queue}/{later}")).outcome == "deleted"
    (dead_id,) = await dead(store, queue)
    assert (await client.requeue(f"{queue}/{dead_id}")).outcome == "requeued"
    assert (await client.job(f"{queue}/{dead_id}")).state is State.WAITING


async def test_an_unreadable_dead_entry_is_deleted_not_requeued(client: Client, store: RedisStore, queue: str) -> None:
    entry = await foreign(store, queue, b"\xff no envelope")
    await Hand(store, queue).claim_only(2)
    await store.reclaim(queue, "rescuer", 0, 3, {}, grace=False)
    with pytest.raises(WrongState, match="can't be read"):
        await client.requeue(f"{queue}/{entry}")
    assert (await client.delete(f"{queue}/{entry}")).outcome == "deleted"


async def test_pause_and_resume_say_whether_anything_changed(client: Client, queue: str) -> None:
    (first,) = await client.pause(queue, "maintenance", for_seconds=3600)
    (second,) = await client.pause(queue, "maintenance")
    (third,) = await client.pause(queue, "maintenance")
    assert (first.changed, second.changed, third.changed) == (True, True, False), "another end time is a change"
    assert first.until is not None
    assert second.until is None
    assert [view.changed for view in [*await client.resume(queue), *await client.resume(queue)]] == [True, False]


async def test_a_pause_with_a_part_of_a_millisecond_is_not_shorter_than_was_said(store: RedisStore, queue: str) -> None:
    now = Now()
    await Client(at_time(store, now), {queue: QueueSpec(queue)}).pause(queue, "lunch", for_seconds=1.0004)
    paused = (await at_time(store, now).counts(queue)).paused
    assert paused is not None
    assert paused.until_ms == now.ms + 1001


async def test_a_pause_answers_with_the_reason_and_the_end_that_hold_now(client: Client, queue: str) -> None:
    (first,) = await client.pause(queue, "token of +5511987654321 revoked", for_seconds=3600)
    (bare,) = await client.pause(queue)
    assert (first.changed, bare.changed) == (True, False)
    assert bare.reason == first.reason == "token of +55•••••••••21 revoked"
    assert bare.until == first.until
    (longer,) = await client.pause(queue, for_seconds=7200)
    assert (longer.changed, longer.reason) == (True, bare.reason)
    assert longer.until != bare.until
    (other,) = await client.pause(queue, "lunch")
    assert (other.changed, other.reason, other.until) == (True, "lunch", None)


async def test_pause_refuses_a_queue_that_is_none_and_a_time_that_is_none(client: Client, store: RedisStore, queue: str) -> None:
    with pytest.raises(UnknownQueue):
        await client.pause(f"{queue}-typo")
    assert (await store.counts(f"{queue}-typo")).paused is None
    for seconds in (0, -1):
        with pytest.raises(BadInput):
            await client.pause(queue, for_seconds=seconds)


async def test_pausing_all_pauses_what_was_never_declared_here(client: Client, store: RedisStore, queue: str) -> None:
    other = f"{queue}-other"
    await store.register_queue(other, 1)
    try:
        assert {queue, other} <= {view.queue for view in await client.pause(None, "maintenance")}
        assert (await store.counts(other)).paused is not None
        await client.resume(None)
        assert (await store.counts(other)).paused is None
    finally:
        await client.obliterate(other)


def test_a_reason_is_one_readable_line() -> None:
    assert clean_reason("a\nb\x1b[31m\t c\udcff") == "a b [31m c?"
    assert len(clean_reason("x" * 10_000)) == 500
