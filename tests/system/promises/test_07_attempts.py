"""Promise 7, attempts are honest: only a start that failed by itself uses one."""

from __future__ import annotations

import signal

import pytest

from engine import State

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered

pytestmark = pytest.mark.slow


async def _attempts(crew: Crew) -> list[int]:
    """The attempt numbers that handlers saw, and that the records have."""
    seen = [x.attempt for x in crew.journal.starts()]
    recorded = [row.attempt for row in await rows(crew, State.COMPLETED)]
    assert recorded[0] == seen[-1]
    return seen


@pytest.mark.parametrize("act", ["snooze", "limit job", "limit queue"])
async def test_a_job_that_was_put_off_keeps_its_attempt(crew: Crew, act: str) -> None:
    await crew.start(attempts=1)
    await crew.job(act, act, act, "ok", seconds=0.05)
    await crew.all_ended()
    assert await _attempts(crew) == [1, 1, 1, 1]


async def test_a_failure_uses_an_attempt_and_the_last_one_ends_dead(crew: Crew) -> None:
    await crew.start(attempts=3)
    await crew.job("fail", "retry", "ok", n=0)
    await crew.all_ended()
    assert await _attempts(crew) == [1, 2, 3]
    await crew.job("fail", n=1)
    assert (await crew.all_ended()).dead == 1
    assert [x.attempt for x in crew.journal.starts(1)] == [1, 2, 3]


async def test_a_job_that_pauses_its_queue_keeps_its_attempt(crew: Crew) -> None:
    await crew.start(attempts=1)
    await crew.job("pause", "ok")
    counts = await crew.when(lambda c: c.paused is not None and c.waiting == 1)
    assert counts.paused is not None
    assert counts.paused.reason == "scripted"
    await crew.app.client.resume(crew.queue)
    await crew.all_ended()
    assert await _attempts(crew) == [1, 1]


async def test_a_job_released_by_sigterm_keeps_its_attempt(crew: Crew) -> None:
    first = await crew.start(attempts=1, drain_timeout=0.2)
    await crew.job("hang", "ok")
    await crew.started()
    assert await first.stop() == 1
    assert (await crew.counts()).waiting == 1
    await crew.start(attempts=1)
    await crew.all_ended()
    assert await _attempts(crew) == [1, 1]
    assert (await crew.counts()).stalled == 0


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_an_innocent_stall_uses_no_attempt(crew: Crew, fault: str) -> None:
    first = await crew.start(attempts=1)
    job = await crew.job("hang", "ok")
    await crew.started()
    first.signal(signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    await crew.start(attempts=1)
    await crew.all_ended()
    first.signal(signal.SIGCONT)
    assert await _attempts(crew) == [1, 1]
    await assert_each_ended_once(crew, [job])


async def test_jobs_that_waited_in_a_killed_workers_prefetch_buffer_keep_their_attempt(crew: Crew) -> None:
    doomed = await crew.start(attempts=1)
    await crew.add(*numbered(300))  # fast ones: the worker learns that it may claim ahead
    await crew.all_ended()
    handles = await crew.add(*numbered(20, "ok", first=300), *numbered(1, "kill", "ok", first=320), *numbered(200, first=400))
    assert await doomed.ended() == -9
    await crew.start(attempts=1)
    counts = await crew.all_ended(40)
    assert counts.stalled > 1, "nothing was claimed ahead"
    assert {row.attempt for row in await rows(crew, State.COMPLETED)} == {1}
    never_started_there = [n for n in range(400, 600) if len(crew.journal.starts(n)) == 1]
    assert len(never_started_there) >= 200 - counts.stalled
    assert {f"{crew.queue}/{row.id}" for row in await rows(crew, State.COMPLETED)} >= {handle.id for handle in handles}


async def test_a_pause_holds_what_waits_and_uses_nothing(crew: Crew) -> None:
    await crew.app.client.pause(crew.queue, "night")
    await crew.start(attempts=1)
    await crew.add(*numbered(20))
    assert (await crew.counts()).waiting == 20
    await crew.app.client.resume(crew.queue)
    await crew.all_ended()
    assert {x.attempt for x in crew.journal.starts()} == {1}
