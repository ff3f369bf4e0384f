"""Promise 3, at least once and settled once: of all starts of a job one outcome is recorded; who lost the lease is told."""

from __future__ import annotations

import signal

import pytest

from engine import State
from tests.support.faults import Proxy, calls
from tests.support.worker_main import Config

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("act", ["gate", "hang"])
async def test_a_frozen_worker_records_nothing_and_its_handler_is_told(crew: Crew, act: str) -> None:
    frozen = await crew.start()
    job = await crew.job(act, "ok", gate=crew.gate())
    await crew.started()
    frozen.signal(signal.SIGSTOP)
    second = await crew.start()
    await crew.all_ended()
    crew.open(crew.gate())
    frozen.signal(signal.SIGCONT)
    (lost,) = await frozen.noted("lease.lost")
    assert lost["id"] == job
    if act == "hang":
        assert (await crew.told()).text == "cancelled=True"
    assert await frozen.stop() == 0
    assert [x.pid for x in crew.journal.starts()] == [frozen.pid, second.pid]
    (record,) = await rows(crew, State.COMPLETED)
    assert f":{second.pid}:" in record.worker
    await assert_each_ended_once(crew, [job])


@pytest.mark.parametrize("late", ["gate", "gate, fail"])
async def test_a_late_settle_is_refused_by_the_fence_alone(config: Config, late: str) -> None:
    """The first worker's renewals never arrive, so nothing but the fence can stop its settle."""
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        proxy.cut(calls("renew"), "before", times=1_000_000)
        first = await crew.start(url=proxy.url)
        job = await crew.job(late, "ok", gate=crew.gate())
        await crew.started()
        await crew.start()
        await crew.all_ended()
        before = await crew.counts()
        crew.open(crew.gate())
        (lost,) = await first.noted("lease.lost")
        assert lost["id"] == job
        after = await crew.counts()
        assert (after.completed, after.retried, after.retrying) == (before.completed, 0, 0) == (1, 0, 0)
        await assert_each_ended_once(crew, [job])


async def test_two_workers_never_start_one_job_twice_while_leases_hold(crew: Crew) -> None:
    for _ in range(3):
        await crew.start()
    handles = await crew.add(*numbered(40, "ok", seconds=0.4))  # with 15 slots: more than a lease in all
    await crew.all_ended()
    assert sorted(x.n for x in crew.journal.starts()) == list(range(40))
    assert (await crew.counts()).stalled == 0
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_a_step_that_was_recorded_is_not_done_again_by_the_next_attempt(crew: Crew) -> None:
    first = await crew.start()
    await crew.job("step, kill", "step")
    assert await first.ended() == -9
    await crew.start()
    await crew.all_ended()
    assert len(crew.journal.starts()) == 2
    assert [x.text for x in crew.journal.lines("note", n=0) if x.text == "step ran"] == ["step ran"]


async def test_the_step_of_a_worker_that_lost_the_job_has_no_effect(config: Config) -> None:
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        proxy.cut(calls("renew"), "before", times=1_000_000)
        first = await crew.start(url=proxy.url)
        await crew.job("gate, step", "step", gate=crew.gate())
        await crew.started()
        await crew.start()
        await crew.all_ended()
        crew.open(crew.gate())
        await first.noted("lease.lost")
        assert [x.pid for x in crew.journal.lines("note", n=0) if x.text == "step ran" and x.pid == first.pid] == []
