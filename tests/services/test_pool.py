"""Pool: what is not seen from outside: a slot outlives whatever its handlers answer, and stopping needs nobody's help."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine import Clock, Discard, RateLimited, Snooze
from engine.events import Events, JobCancelled, JobCompleted, JobDied, JobReleased, JobSnoozed, JobStarted, LeaseLost
from engine.job import State
from engine.services.holdings import Holdings
from engine.services.outage import Outage
from engine.services.pool import Pool
from engine.services.pulse import Pulse
from engine.store.redis_store import RedisStore
from engine.store.work import StepReply
from tests.support.factory import Hand, body, enqueue, enqueue_foreign, handler, read, reclaim, spec, states
from tests.support.recorder import Recorder
from tests.support.running import until


class Bench:
    """A pool that runs inside the block, with a recorder of its events."""

    def __init__(self, store: RedisStore, queue: str, *handlers: Any, **fields: Any) -> None:
        self.events = Events(Clock())
        self.recorder = Recorder(self.events)
        self.holdings = Holdings()
        self.pulse = Pulse(asyncio.get_running_loop())
        self.pool = Pool(
            spec(queue, *handlers, **fields),
            store,
            worker="w1",
            clock=Clock(),
            events=self.events,
            holdings=self.holdings,
            outage=Outage(Clock(), self.events),
            resources={},
            pulse=self.pulse,
        )

    async def __aenter__(self) -> Bench:
        self.task = asyncio.ensure_future(self.pool.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pool.stop()
        try:
            async with asyncio.timeout(5):
                await self.task
        finally:
            self.pulse.close()
            self.recorder.close()


async def test_jobs_run_and_are_recorded(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 5)
    async with Bench(store, queue) as bench:
        for job_id in ids:
            await bench.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
    assert await states(store, queue, ids) == ["completed"] * 5
    assert (await store.page(queue, State.COMPLETED)).rows[0].worker == "w1"


async def test_stopping_gives_back_what_was_not_started_with_its_attempt(store: RedisStore, queue: str) -> None:
    release = asyncio.Event()

    async def wait(payload: Any) -> None:
        await release.wait()

    ids = await enqueue(store, queue, 3)
    async with Bench(store, queue, handler(wait), concurrency=1) as bench:
        await bench.recorder.next(JobStarted)
        bench.pool.stop()
        release.set()
    assert await states(store, queue, ids) == ["completed", "waiting", "waiting"]
    (claim, *_) = await Hand(store, queue, "w2").claim(2)
    assert claim.envelope.attempt == 1


async def test_an_abandoned_pool_ends_although_its_handler_answers_late(store: RedisStore, queue: str) -> None:
    swallowed = asyncio.Event()

    async def stubborn(payload: Any) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if bench.is_left:
                    raise
                swallowed.set()

    class Left(Bench):
        is_left = False

        async def __aexit__(self, *error: object) -> None:
            self.is_left = True
            await super().__aexit__(*error)

    await enqueue(store, queue)
    bench = Left(store, queue, handler(stubborn), concurrency=1)
    async with bench:
        await bench.recorder.next(JobStarted)
        bench.pool.stop()
        bench.pool.cancel_running()
        await asyncio.wait_for(swallowed.wait(), 5)
        bench.pool.abandon()
    assert (await store.counts(queue)).active == 1
    for tag, entry in [(row.tag, row.entry) for row in (await store.page(queue, State.ACTIVE)).rows]:
        await store.link.call("XCLAIM", f"engine:{{{queue}}}:ready:{tag}", "w", "w1", 0, entry, "IDLE", 99_999, "JUSTID")
    assert (await reclaim(store, queue)).moved == 1


async def test_a_cancelled_job_is_told_and_ends_as_cancelled(store: RedisStore, queue: str) -> None:
    async def wait(payload: Any) -> None:
        await asyncio.Event().wait()

    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(wait)) as bench:
        await bench.recorder.next(JobStarted)
        await store.cancel(queue, job_id, "why")
        bench.pool.tell(bench.pool.held_by_ids({job_id}), "cancel")
        await bench.recorder.next(JobCancelled)
    assert await states(store, queue, [job_id]) == ["cancelled"]


async def test_a_job_whose_lease_is_lost_is_stopped_and_nothing_is_written(store: RedisStore, queue: str) -> None:
    async def wait(payload: Any) -> None:
        await asyncio.Event().wait()

    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(wait), concurrency=1) as bench:
        await bench.recorder.next(JobStarted)
        (claim,) = bench.pool.held_by_ids({job_id})
        bench.pool.stop()
        await Hand(store, queue, "w1").lapse(claim)
        await reclaim(store, queue)
        bench.pool.tell([claim], "lost")
        await bench.recorder.next(LeaseLost)
    assert await states(store, queue, [job_id]) == ["waiting"]


async def test_what_may_have_been_lost_before_it_could_start_is_asked_about_first(store: RedisStore, queue: str) -> None:
    """The answer that gave it out lay unread for longer than a lease: a handler blocked the loop, or the process stood still."""
    started: list[str] = []

    async def note(payload: Any) -> None:
        started.append("started")

    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(note), concurrency=1, lease_ms=200) as bench:
        real, hand = store.step, Hand(store, queue, "w1")

        async def lies_unread(*args: Any, **more: Any) -> StepReply:
            reply = await real(*args, **more)
            if reply.rows and reply.rows[0][0] != "s":
                await hand.lapse(*read(queue, reply))
                await reclaim(store, queue)
                await asyncio.sleep(0.25)
            return reply

        store.step = lies_unread  # type: ignore[method-assign]  # this store is the test's own
        await bench.recorder.next(LeaseLost, id=f"{queue}/{job_id}")
        assert started == []
        bench.pool.look()  # there is no bell here
        await bench.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
    assert started == ["started"]


async def test_what_was_asked_about_and_is_still_ours_runs(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, concurrency=1, lease_ms=200) as bench:
        real, real_renew, asked = store.step, store.renew, []

        async def renew(*args: Any) -> tuple[list[str], list[str]]:
            asked.append(args)
            return await real_renew(*args)

        async def lies_unread(*args: Any, **more: Any) -> StepReply:
            reply = await real(*args, **more)
            await asyncio.sleep(0.25 if reply.rows else 0)
            return reply

        store.step = lies_unread  # type: ignore[method-assign]  # this store is the test's own
        store.renew = renew  # type: ignore[method-assign, assignment]  # likewise
        await bench.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        assert len(asked) == 1
        assert bench.recorder.all(LeaseLost) == []


async def test_a_cancel_that_only_that_answer_tells_of_is_obeyed_before_the_start(store: RedisStore, queue: str) -> None:
    started: list[str] = []

    async def note(payload: Any) -> None:
        started.append("started")

    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(note), concurrency=1, lease_ms=200) as bench:
        real = store.step

        async def lies_unread(*args: Any, **more: Any) -> StepReply:
            reply = await real(*args, **more)
            if reply.rows:
                await store.cancel(queue, job_id, "why")
                await asyncio.sleep(0.25)
            return reply

        store.step = lies_unread  # type: ignore[method-assign]  # this store is the test's own
        await bench.recorder.next(JobCancelled, id=f"{queue}/{job_id}")
    assert started == []
    assert await states(store, queue, [job_id]) == ["cancelled"]


async def test_a_settle_that_is_refused_is_told_as_a_lost_lease_not_as_a_completion(store: RedisStore, queue: str) -> None:
    release = asyncio.Event()

    async def wait(payload: Any) -> None:
        await release.wait()

    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue, "w0")
    await hand.release(*await hand.claim())  # its entry differs from its id now
    async with Bench(store, queue, handler(wait), concurrency=1) as bench:
        await bench.recorder.next(JobStarted)
        (claim,) = bench.pool.held_by_ids({job_id})
        bench.pool.stop()
        await enqueue(store, queue, ordering_key="k")  # nothing to do with it
        await Hand(store, queue, "w1").lapse(claim)
        await reclaim(store, queue)
        release.set()
        await bench.recorder.next(LeaseLost)
        assert bench.recorder.all(JobCompleted) == []
    assert await states(store, queue, [job_id]) == ["waiting"]


async def test_a_refused_completion_is_not_listed_as_completed(store: RedisStore, queue: str) -> None:
    """Beside it, in the same call, another completion is accepted, so that a record is written."""
    release, both = asyncio.Event(), asyncio.Event()
    started = 0

    async def wait(payload: Any) -> None:
        nonlocal started
        started += 1
        if started == 2:
            both.set()
        await release.wait()

    ids = await enqueue(store, queue, 2)
    hand = Hand(store, queue, "w0")
    await hand.release(*await hand.claim(2))
    async with Bench(store, queue, handler(wait), concurrency=2) as bench:
        await both.wait()
        (claim,) = bench.pool.held_by_ids({ids[0]})
        bench.pool.stop()
        await Hand(store, queue, "w1").lapse(claim)
        await reclaim(store, queue)
        release.set()
        await bench.recorder.next(JobCompleted, id=f"{queue}/{ids[1]}")
    assert await states(store, queue, ids) == ["waiting", "completed"]


async def test_an_undecodable_entry_is_dead_as_raw_bytes_and_the_next_job_runs(store: RedisStore, queue: str) -> None:
    entry = await enqueue_foreign(store, queue, b"\xff garbage")
    (after,) = await enqueue(store, queue)
    async with Bench(store, queue) as bench:
        died = await bench.recorder.next(JobDied)
        await bench.recorder.next(JobCompleted, id=f"{queue}/{after}")
    assert (died.id, died.reason) == (f"{queue}/{entry}", "undecodable")
    (row,) = (await store.page(queue, State.DEAD)).rows
    assert row.raw == b"\xff garbage"


async def test_a_payload_that_does_not_fit_is_dead_without_an_attempt(store: RedisStore, queue: str) -> None:
    async def typed(payload: dict[str, int]) -> None:
        return None

    (job_id,) = await enqueue(store, queue, data=body("greet", "no dict"))
    async with Bench(store, queue, handler(typed)) as bench:
        died = await bench.recorder.next(JobDied)
    assert died.reason == "undecodable"
    assert await states(store, queue, [job_id]) == ["dead"]


async def test_a_name_nobody_knows_is_put_off_with_its_attempt(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, data=body("unheard-of"))
    async with Bench(store, queue) as bench:
        await until(lambda: states(store, queue, [job_id]), lambda now: now == ["scheduled"])
        assert bench.recorder.all(JobStarted) == []
    await store.hasten(queue, job_id)
    (claim,) = await Hand(store, queue, "w2").claim()
    assert claim.envelope.attempt == 1


async def test_a_snooze_and_a_rate_limit_use_no_attempt_and_the_queues_gate_closes(store: RedisStore, queue: str) -> None:
    async def busy(payload: Any) -> None:
        raise Snooze(3600)

    async def limited(payload: Any) -> None:
        raise RateLimited(3600, scope="queue")

    handlers = (handler(busy, "busy"), handler(limited, "limited"))
    ids = [*await enqueue(store, queue, data=body("busy")), *await enqueue(store, queue, data=body("limited"))]
    async with Bench(store, queue, *handlers, concurrency=1) as bench:
        for job_id in ids:
            await bench.recorder.next(JobSnoozed, id=f"{queue}/{job_id}")
        (held_up,) = await enqueue(store, queue, data=body("busy"))
        bench.pool.look()
        assert (await store.counts(queue)).gate_until_ms > 0
    assert await states(store, queue, [*ids, held_up]) == ["scheduled", "scheduled", "waiting"]
    for job_id in ids:
        await store.hasten(queue, job_id)
    rows = (await store.page(queue, State.WAITING)).rows
    assert {row.attempt for row in rows} == {1}


async def test_a_handler_cancelled_by_a_stop_gives_its_attempt_back_even_if_it_answers_with_an_error(
    store: RedisStore, queue: str
) -> None:
    async def touchy(payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("connection closed") from None

    (job_id,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(touchy)) as bench:
        await bench.recorder.next(JobStarted)
        bench.pool.stop()
        bench.pool.cancel_running()
        await bench.recorder.next(JobReleased)
    (row,) = (await store.page(queue, State.WAITING)).rows
    assert (row.id, row.attempt) == (job_id, 1)


class Speechless(Exception):
    """An exception that fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Fussy(msgspec.Struct):
    """A payload whose own check fails in a way of its own."""

    n: int

    def __post_init__(self) -> None:
        raise KeyError("not in the table")


async def speechless(payload: Any) -> None:
    raise Speechless


async def fussy(payload: Fussy) -> None:
    return None


async def garbled(payload: Any) -> None:
    raise OSError("no such file: \udcff.txt")


async def garbled_at_the_end(payload: Any) -> None:
    raise Discard("\udcff.txt")


@pytest.mark.parametrize(
    ("fn", "state"), [(speechless, "retrying"), (fussy, "dead"), (garbled, "retrying"), (garbled_at_the_end, "dead")]
)
async def test_code_of_a_guest_that_fails_in_an_odd_way_costs_no_slot(store: RedisStore, queue: str, fn: Any, state: str) -> None:
    ids = await enqueue(store, queue, 3, data=body("odd"))
    (after,) = await enqueue(store, queue)
    async with Bench(store, queue, handler(fn, "odd"), handler(), concurrency=1) as bench:
        await bench.recorder.next(JobCompleted, id=f"{queue}/{after}")
    assert await states(store, queue, ids) == [state] * 3
