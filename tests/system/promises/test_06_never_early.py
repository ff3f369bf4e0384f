"""Promise 6, never early: no delayed, snoozed or retried job starts before its time, nor much after it on an idle queue."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.worker_main import Script

from .crew import Crew, numbered

pytestmark = pytest.mark.slow


def _share(values: list[int], share: float) -> int:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def test_two_hundred_delayed_jobs_start_never_early_and_soon_after_they_are_due(crew: Crew) -> None:
    await crew.start()
    chance = random.Random(3)
    delays = {n: round(chance.uniform(0.4, 3.0), 3) for n in range(200)}
    handles = await asyncio.gather(*(crew.do.enqueue(Script(n=n), delay=delay) for n, delay in delays.items()))
    due_ms = {
        n: int(handle.id.rpartition("/")[2].partition("-")[0]) + round(delays[n] * 1000) for n, handle in enumerate(handles)
    }
    await crew.all_ended()
    late = [line.at_ms - due_ms[line.n] for line in crew.journal.starts()]
    assert len(late) == 200
    p50, p99, most = _share(late, 0.5), _share(late, 0.99), max(late)
    print(f"lateness of 200 delayed jobs: p50 {p50} ms, p99 {p99} ms, most {most} ms, earliest {min(late)} ms")
    assert min(late) >= 0, f"started {-min(late)} ms early"
    assert p99 <= 100  # promised are 25 ms on an idle machine; this one may be shared


@pytest.mark.parametrize("act", ["snooze", "retry", "limit job", "limit queue"])
async def test_a_job_that_was_put_off_starts_again_never_early(crew: Crew, act: str) -> None:
    await crew.start()
    await crew.add(*numbered(5, act, "ok", seconds=0.4))
    await crew.all_ended()
    for n in range(5):
        first, second = crew.journal.runs(n)
        assert first.end is not None
        waited = second.start.at_ms - first.end.at_ms
        # whoever runs into the queue's limit closes it for the others: five take five turns
        most = 5 * 400 + 1000 if act == "limit queue" else 1400
        assert 400 <= waited <= most, f"waited {waited} ms for 400"


async def test_a_job_put_off_by_a_worker_that_is_gone_is_started_on_time_by_another(crew: Crew) -> None:
    first = await crew.start()
    other = await crew.start()
    await crew.job("snooze", "ok", seconds=1.0)
    (line,) = await crew.started()
    await crew.when(lambda c: c.scheduled == 1)
    (first if line.pid == first.pid else other).kill()
    await crew.all_ended()
    waited = crew.journal.starts()[1].at_ms - crew.journal.ends()[0].at_ms
    assert 1000 <= waited <= 1500


async def test_an_earlier_job_wakes_a_worker_that_sleeps_for_a_later_one(crew: Crew) -> None:
    await crew.start()
    await crew.add(Script(n=0), delay=30.0)
    await crew.when(lambda c: c.scheduled == 1)
    handle = (await crew.add(Script(n=1), delay=0.3))[0]
    (line,) = await crew.started(1)
    due_ms = int(handle.id.rpartition("/")[2].partition("-")[0]) + 300
    assert 0 <= line.at_ms - due_ms <= 200
