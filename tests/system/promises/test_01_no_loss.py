"""Promise 1, no loss: what `enqueue` acknowledged is in one state until it ends, through killed workers and servers."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from engine import EnqueueUnknown, Handle, State
from tests.support.faults import Proxy, calls
from tests.support.worker_main import Config, Die, Script

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("moment", "starts"),
    [("claimed", 1), ("before settle", 2), ("after settle", 1)],
)
async def test_a_worker_killed_at_any_step_loses_nothing(crew: Crew, moment: Die, starts: int) -> None:
    doomed = await crew.start(die=moment)
    job = await crew.job("ok")
    assert await doomed.ended() == -9
    await crew.start()
    counts = await crew.all_ended()
    assert counts.completed == 1
    assert len(crew.journal.starts()) == starts
    assert counts.stalled == (0 if moment == "after settle" else 1)
    await assert_each_ended_once(crew, [job])


async def test_a_worker_killed_in_the_handler_loses_nothing(crew: Crew) -> None:
    doomed = await crew.start()
    job = await crew.job("kill", "ok")
    assert await doomed.ended() == -9
    await crew.start()
    assert (await crew.all_ended()).completed == 1
    assert [(x.text, x.attempt) for x in crew.journal.starts()] == [("kill", 1), ("ok", 1)]
    await assert_each_ended_once(crew, [job])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_enqueue_whose_connection_is_cut_adds_its_jobs_once(config: Config, when: Any) -> None:
    async with Proxy(config.url) as proxy, Crew(msgspec.structs.replace(config, url=proxy.url)) as crew:
        cut = proxy.cut(calls("enqueue"), when, times=3)
        handles = await crew.add(*numbered(250))
        assert cut.done == 3
        assert len({handle.id for handle in handles}) == 250
        assert (await crew.counts()).enqueued == 250
        await crew.start(url=config.url)
        await crew.all_ended()
        await assert_each_ended_once(crew, [handle.id for handle in handles])
        assert sorted(x.n for x in crew.journal.starts()) == list(range(250))


async def test_an_enqueue_without_an_answer_says_so_and_may_be_repeated(config: Config) -> None:
    hasty = {"socket_timeout": 0.2, "enqueue_timeout": 0.5}
    async with Proxy(config.url) as proxy, Crew(msgspec.structs.replace(config, url=proxy.url, **hasty)) as crew:
        await crew.job("ok", n=1)
        proxy.swallow()
        with pytest.raises(EnqueueUnknown) as unknown:
            await crew.job("ok", n=2)
        proxy.heal()
        told, again = await unknown.value.repeat(), await unknown.value.repeat()
        assert isinstance(told, list)  # `crew.job` enqueues a list of one
        assert isinstance(again, list)
        assert [handle.id for handle in told] == [handle.id for handle in again]
        await crew.job("ok", n=3)
        counts = await crew.counts()
        assert counts.enqueued == counts.waiting == 3


async def test_what_was_acknowledged_survives_the_death_of_the_server(own_crew: Crew, own_server: OwnServer) -> None:
    crew = own_crew
    acknowledged: list[str] = []
    killed: list[int] = []

    async def produce() -> None:
        for n in range(100_000):
            handle = await crew.do.enqueue(Script(n=n))
            acknowledged.append(handle.id)
            if killed and len(acknowledged) >= killed[0] + 50:
                return

    producing = asyncio.create_task(produce())
    await crew.when(lambda c: c.enqueued >= 200)
    own_server.kill()
    killed.append(len(acknowledged))
    own_server.start()
    await producing  # the call without an answer was asked again and took effect once
    waiting = [f"{crew.queue}/{row.id}" for row in await rows(crew, State.WAITING)]
    assert sorted(acknowledged) == sorted(waiting)


async def test_workers_go_on_after_a_killed_server_is_back(own_crew: Crew, own_server: OwnServer) -> None:
    crew = own_crew
    await crew.start()
    handles = await crew.add(*numbered(300, "ok", seconds=0.01))
    await crew.when(lambda c: c.completed >= 50)
    for _ in range(3):
        own_server.kill()
        own_server.start()
    await crew.all_ended()
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_each_of_several_callers_is_told_of_its_own_job_when_it_repeats(config: Config) -> None:
    """They go together in one call, and share its unknown outcome."""
    hasty = {"socket_timeout": 0.2, "enqueue_timeout": 0.5}
    async with Proxy(config.url) as proxy, Crew(msgspec.structs.replace(config, url=proxy.url, **hasty)) as crew:
        await crew.job("ok", n=1)
        is_enqueue, sent = calls("enqueue"), itertools.count()
        cut = proxy.cut(lambda command: is_enqueue(command) and next(sent) > 0, "after", times=10_000)  # not the first: alone
        asked = [crew.do.enqueue(Script(n=n)) for n in (2, 3)] + [crew.do.enqueue_many([Script(n=4), Script(n=5)])]
        second, *others = await asyncio.gather(*asked, return_exceptions=True)
        cut.times = 0
        told: list[Any] = [await one.repeat() for one in others if isinstance(one, EnqueueUnknown)]
        third, more = told
        assert isinstance(second, Handle)
        ids = [handle.id for handle in (second, third, *more)]
        assert all(isinstance(handle, Handle) for handle in (second, third, *more))
        await crew.start(url=config.url)
        await crew.all_ended()
        started = {line.n: line.job for line in crew.journal.starts()}
        assert ids == [started[n] for n in (2, 3, 4, 5)]
