"""Bounds: nothing that a process keeps in its memory, or keeps of a job, grows without end; docs/limits.md has the list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from engine import BadInput, BadPayload, Clock, Engine, Job, JobDead, Refused, ResultTimeout
from engine.events import HandlerUnknown
from engine.results import Results
from engine.services.notebook import MAX_LINE, MAX_LINES, Notebook
from engine.services.outbox import FULL, Outbox
from engine.services.pool import BATCH
from engine.services.prefetch import AHEAD, CALL_BYTES, Prefetch
from engine.store.redis_store import RedisStore
from engine.store.settles import HEAVY, WEIGHT_BYTES
from tests.support.factory import Hand, claim, enqueue, job, lone_store, raw
from tests.support.faults import Proxy
from tests.support.recorder import Recorder
from tests.support.running import running, until

T = TypeVar("T")


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(server_url) as proxy:
        yield proxy


# --- what a running job keeps ----------------------------------------------------------------------------------------


async def test_log_lines_that_come_faster_than_they_are_written_are_no_more_than_are_kept(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (one,) = await hand.claim()
    notebook = Notebook(store, hand.name, one)
    for n in range(1_000):
        notebook.log(f"line {n} " + "x" * 10_000)
    assert len(notebook._lines) == MAX_LINES
    await notebook.flush()
    kept = await raw(store, queue, "HGETALL", f"notes:{one.id}")
    lines = {int(name[4:]): value.partition(b";")[2] for name, value in kept.items() if name.startswith(b"log:")}
    assert [lines[n].split()[1] for n in sorted(lines)] == [b"%d" % n for n in range(900, 1_000)]
    assert max(map(len, lines.values())) == MAX_LINE


async def test_a_job_keeps_so_many_steps_and_begins_none_beyond(
    store: RedisStore, queue: str, make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.work.MOST_STEPS", 3)
    begun: list[int] = []
    engine = make_engine()

    def effect(n: int) -> int:
        begun.append(n)
        return n

    @engine.queue(queue, attempts=1).handler("walk")
    async def walk(payload: int, job: Job) -> list[int]:
        if payload == 1:  # one after the other
            done = [await job.step(f"s{n}", effect, n) for n in (1, 2, 3, 2)]
            with pytest.raises(BadPayload, match="keeps 3 steps, the most a job may: 's4' was not kept"):
                await job.step("s4", effect, 4)
            return done
        found = await asyncio.gather(*(job.step(f"s{n}", effect, n) for n in range(9)), return_exceptions=True)
        assert sum(isinstance(one, BadPayload) for one in found) == 6  # at once: what is kept is bounded all the same
        return []

    async with engine, running(engine):
        assert await (await walk.enqueue(1)).result(timeout=10) == [1, 2, 3, 2]
        assert begun == [1, 2, 3]
        together = await walk.enqueue(2)
        assert await together.result(timeout=10) == []
        kept = await raw(store, queue, "HGETALL", f"notes:{together.id.partition('/')[2]}")
        assert sum(name.startswith(b"step:") for name in kept) == 3


@pytest.mark.parametrize("numbers", [(10**18, 1), (1, -(10**18))])
async def test_progress_takes_no_endless_numbers(numbers: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="18 digits"):
        await job().progress(*numbers)


async def test_what_a_job_leaves_behind_is_cut_however_much_it_says(
    store: RedisStore, queue: str, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine()
    huge = "no " * 100_000

    @engine.queue(queue, attempts=2, max_payload=2_000).handler("talk")
    async def talk(payload: str, job: Job) -> str:
        if payload == "result":
            return huge
        raise ExceptionGroup(huge, [ValueError(huge), OSError(huge)])

    async with engine, running(engine):
        for payload in ("raise", "result"):
            handle = await talk.enqueue(payload)
            with pytest.raises(JobDead):
                await handle.result(timeout=10)
        entries = await raw(store, queue, "XRANGE", "dead", "-", "+")
        assert len(entries) == 2
        assert max(len(value) for _, fields in entries for value in fields) < 32_768
        for one in (await engine.client.jobs(queue=queue)).jobs:
            assert one.error is not None
            assert len(one.error.message) <= 2_000


# --- what a worker holds ---------------------------------------------------------------------------------------------


async def test_large_jobs_are_claimed_and_held_a_megabyte_at_a_time() -> None:
    prefetch = Prefetch(Clock(), average=lambda: 0.0001, give_back=lambda one: None)
    assert prefetch.ahead(50) == AHEAD

    def claimed(size: int) -> None:
        for _ in range(60):
            prefetch.put(claim(body=bytes(size)))
            prefetch.wake()

    claimed(CALL_BYTES // 16)
    assert prefetch.ahead(50) == prefetch.fitting(BATCH) == 16
    assert prefetch.fitting(3) == 3
    assert prefetch.fitting(0) == 0
    claimed(3 * CALL_BYTES)
    assert prefetch.fitting(BATCH) == 1
    prefetch.close()


async def test_a_bite_of_large_settles_is_a_megabyte() -> None:
    outbox = Outbox()
    large = bytes(CALL_BYTES // 8)
    for n in range(20):
        outbox.fill().retry(claim(entry=f"1-{n}"), 0, "", large)
    for n in range(20, 40):
        outbox.fill().complete_with(claim(entry=f"1-{n}"), large)
    bites = []
    while len(outbox):
        bites.append(len(outbox.take()))
    most = -(-FULL // (HEAVY + len(large) // WEIGHT_BYTES))
    assert max(bites) == most
    assert most * len(large) <= CALL_BYTES


async def test_a_worker_whose_server_is_away_holds_no_more_than_its_slots_and_what_it_claimed_ahead(
    proxy: Proxy, store: RedisStore, queue: str
) -> None:
    engine = Engine(proxy.url)
    ran = 0

    @engine.queue(queue, concurrency=5).handler("greet")
    async def greet(payload: dict[str, int]) -> None:
        nonlocal ran
        ran += 1
        if ran == 500:
            proxy.swallow()

    for _ in range(15):
        await enqueue(store, queue, 100)
    async with engine, running(engine) as worker:
        await until(_answer(lambda: ran), lambda n: n >= 500)
        pool = worker.pools[queue]
        await until(_answer(lambda: (ran, pool._running, len(pool._ready))), lambda now: now[1:] == (0, 0))  # all it had is done
        assert len(pool._outbox) <= len(pool._held) <= 5 + AHEAD + BATCH
        assert len(pool._promised) <= len(pool._held)
        proxy.heal()
        await until(lambda: store.counts(queue), lambda counts: counts.completed == 1_500, timeout=20)
    assert ran == 1_500


def _answer(look: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def ask() -> T:
        return look()

    return ask


async def test_unknown_names_are_told_each_once_up_to_so_many(
    store: RedisStore, queue: str, make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.services.runner.MOST_NAMES", 3)
    engine = make_engine()

    @engine.queue(queue).handler("greet")
    async def greet(payload: dict[str, int]) -> None: ...

    async with engine:
        for n in range(6):
            await engine.client.enqueue(queue, f"unknown-{n}", {})
        with Recorder(engine.events) as recorder:
            async with running(engine):
                await until(lambda: store.counts(queue), lambda counts: counts.scheduled == 6)
            assert len(recorder.all(HandlerUnknown)) == 3


# --- who waits for ends ----------------------------------------------------------------------------------------------


async def test_no_more_callers_may_wait_than_there_is_room_for(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.results.MOST_WAITING", 2)
    results = Results(store, Clock())
    ids = await enqueue(store, queue, 3)
    waits = [asyncio.ensure_future(results.wait(queue, job_id, 10)) for job_id in ids[:2]]
    await until(lambda: raw(store, queue, "HLEN", "flags"), lambda n: n == 2)
    with pytest.raises(Refused, match="2 callers of this process wait for results, and no more may"):
        await results.wait(queue, ids[2], 10)
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim(3))
    assert await asyncio.gather(*waits) == [b"", b""]
    assert await results.wait(queue, ids[2], 10) == b""
    await results.close()


async def test_who_waits_hears_of_an_end_also_when_more_were_told_than_are_kept(
    proxy: Proxy, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.results.KEPT_ENDS", 2)
    ids = await enqueue(store, queue, 6)
    async with lone_store(proxy.url) as far:
        results = Results(far, Clock())
        waits = [asyncio.ensure_future(results.wait(queue, job_id, None)) for job_id in ids]
        await until(lambda: raw(store, queue, "HLEN", "flags"), lambda found: found == 6)
        await until(lambda: store.link.call("INFO", "clients"), lambda info: b"blocked_clients:0" not in info)  # it reads
        proxy.swallow()
        hand = Hand(store, queue)
        for _ in ids:
            await hand.complete(*await hand.claim(1))
        await raw(store, queue, "XTRIM", "settled", "MAXLEN", 2)
        proxy.heal()
        assert await asyncio.wait_for(asyncio.gather(*waits), 10) == [b""] * 6
        await results.close()


async def test_who_waits_hears_of_an_end_that_another_server_forgot_to_tell(
    proxy: Proxy, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.results.BLOCK_SECONDS", 0.3)
    (job_id,) = await enqueue(store, queue)
    async with lone_store(proxy.url) as far:
        results = Results(far, Clock())
        wait = asyncio.ensure_future(results.wait(queue, job_id, None))
        await until(lambda: raw(store, queue, "HLEN", "flags"), lambda n: n == 1)
        hand = Hand(store, queue)
        (one,) = await hand.claim()
        await raw(store, queue, "DEL", "flags")  # as after a failover without its last writes
        await hand.complete(one)
        await proxy.cut_all()
        assert await asyncio.wait_for(wait, 10) == b""
        await results.close()


async def test_who_waits_no_longer_takes_no_room(store: RedisStore, queue: str) -> None:
    results = Results(store, Clock())
    (job_id,) = await enqueue(store, queue)
    with pytest.raises(ResultTimeout):
        await results.wait(queue, job_id, 0.02)
    assert repr(results) == "<Results 0 wait>"
    await results.close()
