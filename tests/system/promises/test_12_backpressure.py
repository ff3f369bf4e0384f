"""Promise 12, backpressure is visible: how old the oldest waiting job is, what is overdue, what was lost, what blocked."""

from __future__ import annotations

import signal

import pytest

from tests.support.faults import Proxy, calls
from tests.support.running import until
from tests.support.worker_main import Config

from .crew import Crew, numbered

pytestmark = pytest.mark.slow


async def test_the_age_of_the_oldest_waiting_job_grows_and_ends_with_it(crew: Crew) -> None:
    assert (await crew.counts()).oldest_waiting_ms == 0
    job = await crew.job("ok", n=0)
    oldest_ms = int(job.rpartition("/")[2].partition("-")[0])
    assert (await crew.counts()).oldest_waiting_ms == oldest_ms
    await crew.add(*numbered(5, first=1))

    async def age() -> float:
        return (await crew.app.client.stats()).queues[crew.queue].oldest_waiting_seconds or 0.0

    first = await until(age, lambda seconds: seconds > 0)
    await until(age, lambda seconds: seconds > first + 0.05)
    assert (await crew.counts()).oldest_waiting_ms == oldest_ms
    await crew.start()
    await crew.all_ended()
    assert (await crew.counts()).oldest_waiting_ms == 0


async def test_a_full_pool_leaves_the_rest_waiting_in_sight(crew: Crew) -> None:
    await crew.start(concurrency=2)
    gate = crew.gate()
    for n in range(2):
        await crew.job("gate", n=n, gate=gate)
    await crew.when(lambda c: c.active == 2)
    waiting = await crew.job("ok", n=2)
    counts = await crew.counts()
    assert (counts.waiting, counts.active) == (1, 2)
    assert counts.oldest_waiting_ms == int(waiting.rpartition("/")[2].partition("-")[0])
    crew.open(gate)
    await crew.all_ended()


async def test_stalls_lost_leases_and_a_blocked_loop_are_told(crew: Crew) -> None:
    worker = await crew.start()
    await crew.job("block", n=0, seconds=1.6)
    (blocked,) = await worker.noted("loop.blocked")
    assert blocked["seconds"] >= 1.0
    await crew.job("hang", "ok", n=1)
    await crew.started(1)
    worker.signal(signal.SIGSTOP)
    other = await crew.start()
    await crew.all_ended()
    worker.signal(signal.SIGCONT)
    assert (await crew.counts()).stalled == 1
    assert await worker.noted("lease.lost")
    assert sum(note["moved"] for note in await other.noted("jobs.reclaimed")) == 1


async def test_a_worker_that_dies_at_its_first_job_was_known_and_can_be_forgotten(config: Config) -> None:
    """Its consumer and its call's number stay behind; what nobody lists, no sweep finds: a crash loop would fill the server."""
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        proxy.cut(calls("heartbeat"), "before")
        await crew.add(*numbered(1))
        assert await crew.launch(url=proxy.url, die="claimed").ended() == -9
        known = {row.worker for row in await crew.store.workers(crew.queue, (await crew.counts()).now_ms)}
        assert {row.worker for row in await crew.store.consumers(crew.queue)} == known != set()
        await crew.start()
        await crew.all_ended()


async def test_jobs_that_are_overdue_because_nobody_works_are_counted_as_scheduled(crew: Crew) -> None:
    await crew.add(*numbered(3), delay=0.001)
    counts = await crew.when(lambda c: c.scheduled == 3)
    view = (await crew.app.client.stats()).queues[crew.queue]
    assert (counts.workers, view.workers) == (0, 0)
    await crew.start()
    await crew.all_ended()
