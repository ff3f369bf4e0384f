"""Promise 4, every request is idempotent: whichever reply is lost, or request cut, the same call again takes effect once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine import State, StoreUnanswered, StoreUnreachable
from engine.worker import Worker
from tests.support.faults import FaultyStore, Proxy, calls
from tests.support.running import running, until
from tests.support.worker_main import Config, Script

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("when", ["before", "after"])
async def test_every_third_step_cut_starts_each_job_as_often_as_planned(config: Config, when: Any) -> None:
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        cut = proxy.cut(calls("step"), when, every=3, times=1_000_000)
        scripts = [
            *numbered(40, "ok", seconds=0.005),
            *numbered(10, "fail", "ok", first=40),
            *numbered(10, "snooze", "ok", first=50),
            *numbered(10, "discard", first=60),
            *numbered(30, "ok", first=70, keys=("a", "b", "c")),
        ]
        handles = await crew.add(*scripts)
        await crew.start(url=proxy.url)
        counts = await crew.all_ended()
        assert cut.done > 5
        assert (counts.completed, counts.dead, counts.stalled) == (90, 10, 0)
        assert (counts.retried, counts.snoozed) == (10, 10)
        starts = [x.n for x in crew.journal.starts()]
        assert sorted(starts) == sorted([*range(100), *range(40, 60)])
        await assert_each_ended_once(crew, [handle.id for handle in handles])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_cut_calls_of_the_services_do_no_harm(config: Config, when: Any) -> None:
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        cuts = [proxy.cut(calls(name), when, every=2, times=1_000_000) for name in ("promote", "renew", "heartbeat")]
        await crew.start(url=proxy.url)
        handles = await crew.add(*numbered(30), delay=0.2)
        handles += await crew.add(*numbered(3, "ok", first=30, seconds=1.7), delay=0.1)  # longer than the lease
        counts = await crew.all_ended()
        assert (counts.completed, counts.stalled) == (33, 0)
        assert sorted(x.n for x in crew.journal.starts()) == list(range(33))
        assert all(cut.seen > 0 for cut in cuts)
        await assert_each_ended_once(crew, [handle.id for handle in handles])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_reply_of_reclaim_counts_each_stall_once(config: Config, when: Any) -> None:
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        cut = proxy.cut(calls("reclaim"), when, every=2, times=1_000_000)
        doomed = await crew.start()
        handles = await crew.add(*numbered(5, "hang", "ok"))
        for n in range(5):
            await crew.started(n)
        await crew.start(url=proxy.url)
        doomed.kill()
        counts = await crew.all_ended()
        assert (counts.completed, counts.stalled) == (5, 5)
        assert len(crew.journal.starts()) == 10
        assert cut.done > 0
        await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_requests_held_up_in_the_network_are_done_once_when_they_arrive_late(config: Config) -> None:
    """The worker gives up waiting and sends again; then all copies arrive at once, the old ones after the new."""
    patient = msgspec.structs.replace(config, lease=5.0)  # a busy machine outlasts 1 s
    async with Proxy(config.url) as proxy, Crew(patient) as crew:
        await crew.start(url=proxy.url, socket_timeout=0.2)
        handles = await crew.add(*numbered(100, "ok", seconds=0.01))
        for part in (10, 30, 50):
            await crew.completed(part)
            await proxy.hold(0.7)  # three time limits: several copies of one call are under way
        counts = await crew.all_ended()
        assert (counts.completed, counts.stalled) == (100, 0)
        assert sorted(x.n for x in crew.journal.starts()) == list(range(100))
        await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_an_old_copy_of_a_call_does_nothing(config: Config) -> None:
    """It asked for jobs, and there are jobs: done now, it would claim them for a worker that does not know."""
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        proxy.keep(calls("step"))
        await crew.start(url=proxy.url, concurrency=2)
        gate = crew.gate()
        ids = []
        for n in range(2):  # one after the other, so that each is claimed by a call of its own
            ids.append(await crew.job("gate", n=n, gate=gate))
            await crew.started(n)
        ids += [handle.id for handle in await crew.add(*numbered(10, first=2))]
        before = await crew.counts()
        old_ones = {one for one in proxy.kept if one != proxy.kept[-1]}
        assert old_ones
        for old in old_ones:
            assert b"stale" in await proxy.replay(old)
        after = await crew.counts()
        assert (after.waiting, after.active) == (before.waiting, before.active) == (10, 2)
        crew.open(gate)
        await crew.all_ended()
        await assert_each_ended_once(crew, ids)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("verb", ["step", "promote", "reclaim"])
async def test_a_verb_that_fails_three_times_is_asked_again(
    config: Config, monkeypatch: pytest.MonkeyPatch, verb: str, after: bool
) -> None:
    """In this process, so that every kind of error can be given: here that nothing was sent, or that no answer came."""
    monkeypatch.setattr("engine.connection.RedisStore", FaultyStore)
    async with Crew(config) as crew:
        assert isinstance(crew.store, FaultyStore)
        error = StoreUnanswered("no answer") if after else StoreUnreachable("not sent")
        failed = crew.store.fail(verb, error, times=3, after=after)
        async with running(crew.app):
            handles = await crew.add(*numbered(20, "fail", "ok"))
            counts = await crew.all_ended()
            await until(crew.counts, lambda _: failed() == 3)
        assert (counts.completed, counts.stalled, counts.retried) == (20, 0, 20)
        assert len(crew.journal.starts()) == 40
        await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_acts_of_operators_whose_reply_was_lost_take_effect_once(config: Config) -> None:
    async with Proxy(config.url) as proxy, Crew(msgspec.structs.replace(config, url=proxy.url)) as crew:
        client = crew.app.client
        dead, other, waiting = (handle.id for handle in await crew.add(*numbered(2, "discard"), Script(n=2)))
        await crew.start(url=config.url)
        await crew.all_ended()
        for member in crew.members:
            await member.stop()
        for name in ("requeue", "remove", "pause", "hasten"):
            proxy.cut(calls(name), "after")
        await client.requeue(dead)
        await client.pause(crew.queue, "look")
        later = (await crew.add(Script(n=3), delay=3600))[0].id
        await client.promote(later)
        await client.delete(other)
        counts = await crew.counts()
        assert (counts.requeued, counts.removed, counts.dead, counts.waiting) == (1, 1, 0, 2)
        assert counts.paused is not None
        assert waiting.endswith((await rows(crew, State.COMPLETED))[0].id)


async def test_a_burst_worker_outlasts_a_look_that_fails(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks whether anything is left, and a server that is away for a moment says neither yes nor no."""
    monkeypatch.setattr("engine.connection.RedisStore", FaultyStore)
    async with Crew(config) as crew:
        assert isinstance(crew.store, FaultyStore)
        handles = await crew.add(*numbered(5))
        failed = crew.store.fail("counts", StoreUnreachable("not sent"), times=3)
        async with asyncio.timeout(20):
            assert await Worker(crew.app, burst=True).run()
        assert failed() == 3
        await assert_each_ended_once(crew, [handle.id for handle in handles])
