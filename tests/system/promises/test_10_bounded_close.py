"""Promise 10, bounded close: SIGTERM claims no more, finishes within the drain time, cancels the rest gives it back at once."""

from __future__ import annotations

import signal
import time

import pytest

from engine import State
from engine.worker import CANCEL_GRACE, LEAVE_TIMEOUT
from tests.support.worker_main import Script

from .checks import assert_each_ended_once, rows
from .crew import Crew, Member, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow

BUSY = 1.5
"""Seconds that a process may take for its own end on a busy machine."""
WIND_UP = CANCEL_GRACE + LEAVE_TIMEOUT + BUSY
"""Seconds beyond the drain time that a worker may take in the worst case: handlers that don't listen."""


async def _stop(member: Member) -> tuple[int, float]:
    """SIGTERM; exit code and seconds it took."""
    began = time.monotonic()
    code = await member.stop(timeout=30.0)
    return code, time.monotonic() - began


async def test_what_ends_within_the_drain_time_is_finished_and_nothing_new_is_claimed(crew: Crew) -> None:
    worker = await crew.start(concurrency=2)
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(2)]
    for n in range(2):
        await crew.started(n)
    ids += [handle.id for handle in await crew.add(*numbered(10, first=2))]
    worker.signal(signal.SIGTERM)
    await crew.when(lambda c: c.workers == 1)
    crew.open(gate)
    assert await worker.ended() == 0
    counts = await crew.counts()
    assert (counts.completed, counts.waiting, counts.active, counts.workers) == (2, 10, 0, 0)
    (stopped,) = worker.notes("worker.stopped")
    assert stopped["drained"] is True
    await crew.start()
    await crew.all_ended()
    await assert_each_ended_once(crew, ids)


async def test_what_does_not_end_is_cancelled_and_given_back_at_once(crew: Crew) -> None:
    """With a lease of a minute: only a release can make the job run again in time."""
    worker = await crew.start(drain_timeout=0.3, lease=60.0)
    job = await crew.job("hang", "ok")
    await crew.started()
    code, took = await _stop(worker)
    assert code == 1
    assert took < 0.3 + 1.0
    assert (await crew.told()).text == "cancelled=True"
    await crew.start(lease=60.0)
    await crew.all_ended(timeout=3.0)
    assert [x.attempt for x in crew.journal.starts()] == [1, 1]
    await assert_each_ended_once(crew, [job])


async def test_jobs_claimed_ahead_are_given_back_in_front_of_the_line(crew: Crew) -> None:
    worker = await crew.start(concurrency=1, lease=60.0)
    await crew.add(*numbered(200))  # fast ones: it learns that it may claim ahead
    await crew.all_ended()
    gate = crew.gate()
    await crew.job("gate", n=200, gate=gate)
    handles = await crew.add(*numbered(100, first=201))
    await crew.started(200)
    crew.open(gate)
    await _stop(worker)
    await crew.start(concurrency=1, lease=60.0)
    await crew.all_ended(timeout=5.0)
    assert len(handles) == 100
    assert sorted({x.n for x in crew.journal.starts()}) == list(range(301))
    assert {row.attempt for row in await rows(crew, State.COMPLETED)} == {1}


async def test_a_second_signal_ends_the_wait(crew: Crew) -> None:
    worker = await crew.start(drain_timeout=60.0, lease=60.0)
    await crew.job("hang", "ok")
    await crew.started()
    worker.signal(signal.SIGTERM)
    await worker.noted("worker.draining")
    code, took = await _stop(worker)
    assert code == 1
    assert took < BUSY
    assert (await crew.counts()).waiting == 1


@pytest.mark.parametrize("name", ["do", "thread"])
async def test_handlers_that_do_not_listen_cannot_hold_the_process(crew: Crew, name: str) -> None:
    worker = await crew.start(drain_timeout=0.2)
    await crew.handlers[name].enqueue(Script(n=0, plan=("swallow", "ok"), seconds=3600.0))
    await crew.started()
    code, took = await _stop(worker)
    assert code == 1
    assert took < 0.2 + WIND_UP
    assert (await crew.counts()).waiting + (await crew.counts()).active == 1  # given back, or its lease runs out


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_a_server_that_is_away_cannot_hold_the_process(own_crew: Crew, own_server: OwnServer, how: str) -> None:
    """Gone, there is nothing to wait for beyond the drain time; silent, and nobody has noticed yet, the last calls have their 2 s."""
    crew = own_crew
    worker = await crew.start(drain_timeout=0.2, socket_timeout=30.0)
    job = await crew.job("hang", "ok")
    await crew.started()
    if how == "gone":
        own_server.kill()
        await worker.noted("store.down")
    else:
        own_server.freeze()
    code, took = await _stop(worker)
    (own_server.start if how == "gone" else own_server.thaw)()
    assert code == 1
    assert took < 0.2 + BUSY + (0 if how == "gone" else LEAVE_TIMEOUT)
    await crew.start()
    await crew.all_ended()
    await assert_each_ended_once(crew, [job])


async def test_a_worker_that_finds_nothing_left_ends_by_itself(crew: Crew) -> None:
    handles = await crew.add(*numbered(20, "fail", "ok"))
    worker = await crew.start(burst=True)
    assert await worker.ended() == 0
    counts = await crew.counts()
    assert (counts.completed, counts.workers) == (20, 0)
    await assert_each_ended_once(crew, [handle.id for handle in handles])
