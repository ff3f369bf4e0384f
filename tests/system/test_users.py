"""The server's users: producers and workers with the rights of their role and no others do a whole application's work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from engine import Discard, Engine, Fixed, Job, JobDead, Settings, Snooze, StoreDenied
from engine.queue import Handler
from engine.store.redis_store import RedisStore
from engine.store.rights import ROLES, rules
from engine.worker import Worker
from tests.support.running import running


@pytest.fixture
async def url_of(store: RedisStore, server_url: str) -> AsyncIterator[Callable[[str], str]]:
    """The address with the user of a role in it."""
    for role in ROLES:
        await store.link.call("ACL", "SETUSER", f"engine-{role}", "reset", "on", ">secret", *rules(role).split())
    yield lambda role: server_url.replace("unix://", f"unix://engine-{role}:secret@")
    await store.link.call("ACL", "DELUSER", *(f"engine-{role}" for role in ROLES))


def application(url: str, queue: str) -> tuple[Engine, Handler[Any, int]]:
    """A handler whose number says what it does: 1 fails once, 2 snoozes once, 3 is discarded."""
    engine = Engine(settings=Settings(redis_url=url))

    @engine.queue(queue, attempts=3, backoff=Fixed(0.01)).handler("ship", ordering_key=lambda n: f"k{n % 2}", dedup_key=str)
    async def ship(number: int, job: Job) -> int:
        await job.progress(1, 2)
        job.log("on its way")
        turn = await job.step("first", lambda: job.attempt)
        if number == 1 and job.attempt == 1:
            raise OSError("not yet")
        if number == 2 and job.id not in snoozed:
            snoozed.add(job.id)
            raise Snooze(after=0.01)
        if number == 3:
            raise Discard("never")
        return number * 2 * turn

    snoozed: set[str] = set()
    return engine, ship


async def test_a_producer_and_a_worker_with_least_rights_do_all_an_application_does(
    url_of: Callable[[str], str], store: RedisStore, queue: str
) -> None:
    (works, _), (produces, ship) = application(url_of("worker"), queue), application(url_of("producer"), queue)
    async with works, running(works), produces:
        handles = await ship.enqueue_many(list(range(10)))
        again = await ship.enqueue(9)
        late = await ship.enqueue(12, delay=0.05)
        assert again.duplicate
        assert [await handles[n].result(timeout=10) for n in (0, 1, 2, 4, 9)] == [0, 2, 4, 8, 18]
        assert await late.result(timeout=10) == 24
        with pytest.raises(JobDead):
            await handles[3].result(timeout=10)
    await store.link.call("HDEL", "engine:queues", queue)


async def test_a_worker_without_a_right_does_not_start_and_names_it(
    url_of: Callable[[str], str], store: RedisStore, queue: str
) -> None:
    engine, _ = application(url_of("worker"), queue)
    await store.link.call("ACL", "SETUSER", "engine-worker", "-xautoclaim")
    async with engine:
        with pytest.raises(StoreDenied, match="refuses our user XAUTOCLAIM, which a worker needs"):
            await Worker(engine).run()


async def test_the_web_role_shows_and_repairs(url_of: Callable[[str], str], store: RedisStore, queue: str) -> None:
    (works, _), (looks, ship) = application(url_of("worker"), queue), application(url_of("web"), queue)
    async with looks:
        handle = await ship.enqueue(3)
        async with works, running(works):
            with pytest.raises(JobDead):
                await handle.result(timeout=10)
        assert (await looks.client.job(handle.id)).state.value == "dead"
        assert (await looks.client.requeue(handle.id)).outcome == "requeued"
        assert (await looks.client.stats()).queues[queue].waiting == 1
        assert (await looks.client.cancel(handle.id)).outcome == "cancelled"
        assert [one.what for one in await looks.client.checkup() if "may not call" in one.what] != []  # asked as a worker
    await store.link.call("HDEL", "engine:queues", queue)
