"""What frees a slot without a settle wakes the pool: jobs that wait do not wait for its next glance, which never comes here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from engine import Clock
from engine.events import JobCompleted, JobStarted
from engine.services import rest
from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from engine.store.work import StepReply
from tests.services.test_idle_pools import Process
from tests.services.test_idle_pools import running as running_process
from tests.services.test_pool import Bench
from tests.support.factory import Hand, body, enqueue, handler, read, reclaim
from tests.support.running import until


@pytest.fixture(autouse=True)
def no_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "GLANCE", 3600.0)


async def test_a_slot_whose_claim_was_lost_before_its_start_goes_on_at_once(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer lay unread for longer than the lease, and others have taken what it brought."""
    hand, is_late = Hand(store, queue, "w1"), False
    ids = await enqueue(store, queue, 3)
    async with Bench(store, queue, concurrency=1, lease_ms=200) as bench:
        step: Callable[..., Awaitable[StepReply]] = store.step

        async def lies_unread(*args: Any) -> StepReply:
            nonlocal is_late
            reply = await step(*args)
            if reply.rows and not is_late:
                is_late = True
                await hand.lapse(*read(queue, reply))
                await reclaim(store, queue)
                await asyncio.sleep(0.25)
            return reply

        monkeypatch.setattr(store, "step", lies_unread)
        for _ in ids:
            await bench.recorder.next(JobCompleted)
    assert is_late


async def test_a_slot_whose_claim_the_keeper_found_lost_while_it_asked_goes_on_at_once(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool looks before the slot has its answer, and finds no room."""
    renew, asked = store.renew, 0

    async def is_told_meanwhile(name: str, worker: str, claims: Iterable[Claim]) -> tuple[list[str], list[str]]:
        nonlocal asked
        asked += 1
        bench.pool.tell(claims, "lost")
        await asyncio.sleep(0.01)
        return await renew(name, worker, claims)

    monkeypatch.setattr(store, "renew", is_told_meanwhile)
    await enqueue(store, queue, 2)
    async with Bench(store, queue, concurrency=1) as bench:
        monkeypatch.setattr(bench.pool._doubt, "about", lambda claim: not asked)
        await bench.recorder.next(JobCompleted)
    assert asked == 1


async def test_a_lost_claim_that_waited_ahead_takes_no_place_from_the_next(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool looks while it still lies there: its slot winds up after a cancellation of its handler's own making."""
    is_first = True
    await enqueue(store, queue, 3)
    async with Bench(store, queue, concurrency=1) as bench:
        run = bench.pool._runner.run

        async def cancels_itself(*args: Any) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                ahead = await Hand(store, queue, "w2").claim()
                bench.pool._ready.put(ahead[0])
                bench.pool.tell(ahead, "lost")
                asyncio.current_task().cancel()  # type: ignore[union-attr]  # a slot is a task
                await asyncio.sleep(0)
            await run(*args)

        monkeypatch.setattr(bench.pool._runner, "run", cancels_itself)
        await bench.recorder.next(JobCompleted)


async def test_a_slot_goes_on_at_once_after_a_fault_of_ours(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = 0
    await enqueue(store, queue, 3)
    async with Bench(store, queue, concurrency=1) as bench:
        run = bench.pool._runner.run

        async def faulty(*args: Any) -> None:
            nonlocal faults
            if not faults:
                faults += 1
                raise RuntimeError("a fault of ours")
            await run(*args)

        monkeypatch.setattr(bench.pool._runner, "run", faulty)
        for _ in range(2):
            await bench.recorder.next(JobCompleted)
    assert faults == 1


async def test_a_suspect_starts_at_once_when_the_other_queues_last_job_is_lost(store: RedisStore, queue: str) -> None:
    other = f"{queue}-other"

    async def run(payload: str) -> None:
        if payload == "long":
            await asyncio.Event().wait()

    await enqueue(store, other, data=body(payload="suspect"))
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim())
    async with running_process(Process(store, queue, other, handlers=(handler(run),))) as process:
        (long,) = await enqueue(store, queue, data=body(payload="long"))
        await process.recorder.next(JobStarted)
        await reclaim(store, other)
        process.pools[other].look()

        async def turn() -> str | None:
            return process.holdings.solo

        await until(turn, lambda name: name == other)
        (claim,) = process.pools[queue].held_by_ids({long})
        hand = Hand(store, queue, "w1")
        await hand.lapse(claim)
        await reclaim(store, queue)
        process.pools[queue].tell([claim], "lost")
        await process.recorder.next(JobCompleted)


async def test_a_pool_that_is_cut_off_starts_nothing_more(store: RedisStore, queue: str) -> None:
    """Its handler swallows the cancellation that ends the slot, and jobs wait ahead."""
    started = 0

    async def swallows(payload: Any) -> None:
        nonlocal started
        started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    await enqueue(store, queue, 2)
    bench = Bench(store, queue, handler(swallows), concurrency=1)
    pool = asyncio.ensure_future(bench.pool.run())
    await bench.recorder.next(JobStarted)
    (ahead,) = await Hand(store, queue, "w2").claim()
    ahead.renewed_mono = Clock().mono()
    bench.pool._ready.put(ahead)
    pool.cancel()
    await asyncio.wait({pool}, timeout=5)
    bench.pulse.close()
    bench.recorder.close()
    assert started == 1
