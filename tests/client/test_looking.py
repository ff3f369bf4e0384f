"""Looking: an operator is told the truth about a job, in one sentence, and nobody's phone number."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from engine.client import Client, Filter
from engine.errors import BadInput, BadName, JobNotFound, UnknownQueue
from engine.job import State
from engine.store.redis_store import RedisStore
from tests.store.seed import Hand, dead, enqueue, foreign
from tests.support.running import until

HOUR = 3_600_000


async def why(client: Client, queue: str, job_id: str) -> str:
    return (await client.job(f"{queue}/{job_id}")).why or ""


async def alive(store: RedisStore, queue: str, *names: str) -> None:
    """A worker that knows these names says that it lives."""
    await store.heartbeat(queue, "w1", msgspec.msgpack.encode({"host": "h1", "pid": 7, "concurrency": 5, "names": names}))


# --- one job ---------------------------------------------------------------------------------------------------------


async def test_a_dead_job_tells_its_whole_story(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, payload={"content": "Oi, tudo bem?", "senderNumber": "+5511987654321"})
    hand = Hand(store, queue)
    (claim,) = await hand.step(want=1)
    await hand.retry(claim, 0, "OSError: first")
    await store.promote(queue)
    await hand.step(want=1)
    await store.reclaim(queue, "rescuer", 0, 3, {}, grace=False)
    (claim,) = await Hand(store, queue, "w2").step(want=1)
    await Hand(store, queue, "w2", calls=1).bury(claim, message="no account at +5511987654321")
    job = await client.job(f"{queue}/{job_id}")
    assert (job.state, job.name, job.attempt, job.attempts, job.stalls, job.why) == (State.DEAD, "greet", 2, 3, 1, None)
    assert job.error is not None
    assert (job.error.type, job.error.fingerprint, job.error.reason) == ("OSError", "abc123", "attempts used up")
    assert sorted(step.outcome for step in job.history) == ["dead", "retry", "stalled"]
    said = msgspec.json.encode(job).decode()
    assert "987654321" not in said
    assert "tudo bem" not in said
    open_job = await client.job(f"{queue}/{job_id}", reveal=True)
    assert open_job.payload == {"content": "Oi, tudo bem?", "senderNumber": "+5511987654321"}


async def test_a_completed_job_shows_its_result_and_run(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.step(want=1)
    hand.settles.complete_with(claim, msgspec.msgpack.encode({"sent": 3}))
    await hand.step(record=msgspec.msgpack.encode((hand.name, [(claim.id, "greet", 1, 1_700_000_000_000, 250)])))
    job = await client.job(f"{queue}/{job_id}")
    assert (job.state, job.result, job.run_seconds, job.worker) == (State.COMPLETED, {"sent": 3}, 0.25, "hand")
    assert job.started_at == "2023-11-14T22:13:20.000Z"
    (listed,) = (await client.jobs(queue=queue, state=State.COMPLETED)).jobs
    assert (listed.id, listed.result) == (job.id, {"sent": 3})
    assert "history" not in msgspec.json.decode(msgspec.json.encode(listed))


async def test_an_active_job_shows_progress_steps_and_log(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue, "w1").step(want=1)
    for field, value in (("progress", b"3;10"), ("step:send", b"\xc0"), ("log", b"asked +5511987654321"), ("log", b"waiting")):
        assert await store.note(queue, "w1", claim.tag, claim.entry, claim.id, field, value)
    job = await client.job(f"{queue}/{claim.id}")
    assert msgspec.to_builtins(job.progress) == {"done": 3, "total": 10}
    assert job.steps == ("send",)
    assert [line.split(" ", 1)[1] for line in job.log] == ["asked +55•••••••••21", "waiting"]


async def test_an_unreadable_entry_is_shown_as_bounded_text(client: Client, store: RedisStore, queue: str) -> None:
    entry = await foreign(store, queue, b"\x1b[31m\xff" + b"A" * 500)
    job = await client.job(f"{queue}/{entry}")
    assert (job.name, job.payload) == ("", None)
    assert job.raw is not None
    assert job.raw.isprintable()
    assert job.raw.endswith("and 306 bytes more")


@pytest.mark.parametrize(
    "full_id", ["", "messages", "messages/", "/1-1", "messages/x", "messages/1-1; DROP", "a b/1-1", "messages/1-1\n"]
)
async def test_what_is_no_id_is_said_to_be_none(client: Client, full_id: str) -> None:
    with pytest.raises(BadName):
        await client.job(full_id)


async def test_a_job_nobody_knows_is_not_found(client: Client, queue: str) -> None:
    with pytest.raises(JobNotFound, match="never enqueued, deleted, or finished"):
        await client.job(f"{queue}/1-1")


# --- why it waits ----------------------------------------------------------------------------------------------------


async def test_why_names_the_place_in_line(client: Client, store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 3)
    await alive(store, queue, "greet")
    assert [await why(client, queue, job_id) for job_id in ids] == [
        "next in line",
        "1 job is in front of it",
        "2 jobs are in front of it",
    ]


async def test_why_says_that_nobody_serves_the_queue_or_knows_the_name(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    assert f"no live worker serves queue '{queue}'" in await why(client, queue, job_id)
    await alive(store, queue, "other")
    assert "no live worker knows the handler 'greet' (they know other)" in await why(client, queue, job_id)
    await alive(store, queue, "greet")
    assert await why(client, queue, job_id) == "next in line"


async def test_why_names_a_pause_with_reason_and_end(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    await client.pause(queue, "token revoked", for_seconds=3600)
    sentence = await why(client, queue, job_id)
    assert sentence.startswith(f"queue '{queue}' is paused (token revoked) until 20")
    assert f"`engine resume {queue}`" in sentence
    await client.resume(queue)
    await store.gate(queue, HOUR)
    assert "waits out a rate limit" in await why(client, queue, job_id)


async def test_why_names_the_holder_of_the_key(client: Client, store: RedisStore, queue: str) -> None:
    holder, _, third = await enqueue(store, queue, 3, ordering_key="c1")
    await alive(store, queue, "greet")
    assert await why(client, queue, third) == f"behind its ordering key 'c1', number 2 in its line; {queue}/{holder} has it"


async def test_why_says_until_when_and_after_what(client: Client, store: RedisStore, queue: str) -> None:
    (later,) = await enqueue(store, queue, delay_ms=HOUR)
    assert (await why(client, queue, later)).startswith("scheduled until 20")
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.step(want=1)
    await hand.retry(claim, HOUR, "OSError: no way")
    sentence = await why(client, queue, job_id)
    assert sentence.startswith("attempt 2 starts at 20")
    assert sentence.endswith("after OSError: no way")


async def test_why_says_that_a_suspect_runs_alone(client: Client, store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    await Hand(store, queue).step(want=1)
    await store.reclaim(queue, "rescuer", 0, 3, {}, grace=False)
    await alive(store, queue, "greet")
    assert "it stalled once, so it will run alone" in await why(client, queue, job_id)


async def test_an_active_job_waits_for_nothing_unless_something_is_odd(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue, "w1").step(want=1)
    assert (await client.job(f"{queue}/{claim.id}")).why is None
    await store.link.call("XCLAIM", f"engine:{{{queue}}}:ready:5", "w", "w1", 0, claim.entry, "IDLE", 60_000, "JUSTID")
    await client.cancel(f"{queue}/{claim.id}")
    sentence = await why(client, queue, claim.id)
    assert "its cancel was asked" in sentence
    assert "has not renewed its lease for 1m" in sentence


async def test_a_worker_is_silent_after_its_own_lease_where_that_is_longer(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue, "w1").step(want=1)
    await store.link.call("XCLAIM", f"engine:{{{queue}}}:ready:5", "w", "w1", 0, claim.entry, "IDLE", 60_000, "JUSTID")
    await store.heartbeat(queue, "w2", msgspec.msgpack.encode({"lease_ms": 600_000}))
    for lease_ms, is_silent in ((90_000, False), (5_000, True), (0, True)):
        await store.heartbeat(queue, "w1", msgspec.msgpack.encode({"lease_ms": lease_ms}))
        assert ("has not renewed" in ((await client.job(f"{queue}/{claim.id}")).why or "")) == is_silent


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_a_list_over_all_states_has_each_job_once(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 3)
    await enqueue(store, queue, 5)
    await enqueue(store, queue, 4, delay_ms=HOUR)
    await enqueue(store, queue, 3, ordering_key="c1")
    await Hand(store, queue).step(want=2)
    seen, cursor = [], ""
    for _ in range(50):
        page = await client.jobs(queue=queue, limit=4, cursor=cursor)
        seen += [(job.state, job.id) for job in page.jobs]
        cursor = page.cursor
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 15
    assert seen[0][0] is State.ACTIVE
    assert seen[-1][0] is State.DEAD


async def test_a_list_filters_by_name_without_losing_any(client: Client, store: RedisStore, queue: str) -> None:
    for _ in range(3):
        await enqueue(store, queue, 10, name="common")
        await enqueue(store, queue, 1, name="rare")
    found, cursor = [], ""
    for _ in range(50):
        page = await client.jobs(queue=queue, state=State.WAITING, name="rare", limit=2, cursor=cursor)
        found += page.jobs
        cursor = page.cursor
        if not cursor:
            break
    assert [job.name for job in found] == ["rare"] * 3


async def test_a_list_refuses_nonsense(client: Client, queue: str) -> None:
    with pytest.raises(BadInput, match="cursor"):
        await client.jobs(queue=queue, cursor="nonsense")
    with pytest.raises(BadInput, match="limit"):
        await client.jobs(queue=queue, limit=0)
    with pytest.raises(UnknownQueue, match=f"did you mean '{queue}'"):
        await client.jobs(queue=f"{queue}x")


async def test_failures_are_grouped_by_cause(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 4, fingerprint="aaa", message="no account at +5511987654321")
    ids = await dead(store, queue, 2, fingerprint="bbb", kind="TimeoutError", message="late")
    found = await client.failures(Filter(queue=queue))
    assert [(group.fingerprint, group.count, group.type) for group in found.groups] == [
        ("aaa", 4, "OSError"),
        ("bbb", 2, "TimeoutError"),
    ]
    assert found.groups[0].message == "no account at +55•••••••••21"
    assert found.groups[1].samples == [f"{queue}/{job_id}" for job_id in reversed(ids)]
    assert (found.matched, found.looked_at, found.is_cut) == (6, 6, False)
    assert [group.count for group in (await client.failures(Filter(queue=queue, error="timeouterror"))).groups] == [2]
    assert (await client.failures(Filter(queue=queue, name="other"))).groups == []
    assert (await client.failures(Filter(queue=queue, since_ms=HOUR))).matched == 6


async def test_failures_say_when_they_did_not_look_at_all(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 3)
    assert (await client.failures(Filter(queue=queue), most=3)).is_cut is False
    await dead(store, queue, 500)
    assert (await client.failures(Filter(queue=queue), most=200)).is_cut is True


async def test_stats_can_be_checked_by_anyone(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, 3)
    await alive(store, queue, "greet")
    await client.pause(queue, "call +5511987654321")
    view = (await client.stats()).queues[queue]
    parts = (
        view.waiting,
        view.active,
        view.scheduled,
        view.retrying,
        view.blocked,
        view.completed,
        view.dead,
        view.cancelled,
        view.removed,
    )
    assert view.enqueued == sum(parts) == 3
    assert (view.paused, view.pause_reason, view.workers) == (True, "call +55•••••••••21", 1)
    (audit,) = [one for one in await client.audit() if one.queue == queue]
    assert (audit.enqueued, audit.accounted, audit.difference) == (3, 3, 0)


async def test_a_worker_of_two_queues_is_one_worker(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue, "greet")
    (worker,) = await client.workers(queue)
    assert (worker.worker, worker.host, worker.is_alive) == ("w1", "h1", True)
    assert [(one.queue, one.concurrency, one.names) for one in worker.queues] == [(queue, 5, ("greet",))]


async def test_the_tail_tells_what_happens_from_now_on(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue)  # before it began to listen
    tail = client.tail([queue], poll_seconds=0.005)
    reading = asyncio.ensure_future(anext(tail))

    async def is_heard() -> bool:
        await store.pause(queue, "maintenance")
        return reading.done()

    await until(is_heard, bool)
    assert (await reading).kind == "paused"
    await store.resume(queue)
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.complete(*await hand.step(want=1))
    kinds = []
    while (event := await anext(tail)).kind != "completed":
        kinds.append(event.kind)
    assert event.id == f"{queue}/{job_id}"
    assert "died" not in kinds
    await tail.aclose()
