"""Together: a thousand jobs that fail at once do not come back at once; hundreds of workers that come and go leave nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from engine import Engine, Exponential, State
from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, enqueue, raw, reclaim
from tests.support.running import running, until

JOBS, FIRST = 1000, 40.0
"""Jobs that fail, and seconds of their backoff, of which up to half is taken away by chance."""
WORKERS = 300


async def test_jobs_that_fail_together_are_due_apart(make_engine: Callable[..., Engine], queue: str, store: RedisStore) -> None:
    engine = make_engine()

    @engine.queue(queue, concurrency=50, attempts=2, backoff=Exponential(initial=FIRST)).handler("send")
    async def send(n: int) -> None:
        raise ConnectionError("the provider is away")

    async with engine:
        await send.enqueue_many(list(range(JOBS)))
        async with running(engine):
            await until(lambda: store.counts(queue), lambda counts: counts.retrying == JOBS)
        failed_by_ms = (await store.counts(queue)).now_ms
        due: list[int] = []
        cursor = ""
        while True:
            page = await store.page(queue, State.RETRYING, cursor=cursor, limit=500)
            due += [row.due_ms for row in page.rows]
            cursor = page.cursor
            if not cursor:
                break
    assert len(due) == JOBS
    assert failed_by_ms < min(due) + FIRST * 500
    assert max(due) <= failed_by_ms + FIRST * 1000
    seconds = Counter((at - min(due)) // 1000 for at in due)
    mean = JOBS / (FIRST / 2)
    assert max(seconds.values()) <= 2 * mean, "no second has more than twice its share"


@pytest.mark.parametrize("how", ["leaves", "is killed", "is killed with a job"])
async def test_workers_that_come_and_go_leave_nothing_behind(store: RedisStore, queue: str, how: str) -> None:
    now = Now()
    timed = at_time(store, now)
    steady = Hand(timed, queue, "steady")

    async def come_and_go(n: int) -> None:
        await enqueue(timed, queue)
        hand = Hand(timed, queue, f"host:{n}:abc")
        await timed.heartbeat(queue, hand.name, b"x")
        (claim,) = await hand.claim()
        if how == "is killed with a job":
            await hand.lapse(claim)
            await reclaim(timed, queue)
            (again,) = await steady.claim()
            assert await steady.complete(again) == []
            return
        await hand.complete(claim)
        if how == "leaves":
            await timed.leave(queue, hand.name)

    async def traces() -> tuple[int, int, int]:
        """Call numbers, consumers and rows, of those workers."""
        numbers = [field for field in await raw(store, queue, "HKEYS", "meta") if field.startswith(b"w:host:")]
        consumers = {one.worker for one in await store.consumers(queue) if one.worker.startswith("host:")}
        return len(numbers), len(consumers), await raw(store, queue, "HLEN", "workers")

    for n in range(WORKERS):
        await come_and_go(n)
    if how != "leaves":
        assert (await traces())[2] == WORKERS, "they were known"
        now.forward(HOUR)
        while (await timed.sweep_rest(queue, HOUR // 6, HOUR)).workers:
            continue
    assert await traces() == (0, 0, 0)
    assert (await store.counts(queue)).completed == WORKERS
    _, keys = await store.link.call("SCAN", 0, "MATCH", prefix(queue) + "*", "COUNT", 100_000)
    assert len(keys) < 12, keys
