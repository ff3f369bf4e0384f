"""Clocks: the server's clock jumps, a worker's is a day off. Nothing is lost, started twice or early, and nothing waits for the jump."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.errors import WrongState
from tests.support.laws import assert_conserved
from tests.support.running import until
from tests.support.skew import Skew
from tests.support.worker_main import Config, Script

from .checks import assert_each_ended_once
from .crew import Crew, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow

LEASE = 1.0
GRACE = 1.5 * LEASE
"""Seconds for which nothing is taken after a jump."""
SOON = GRACE + LEASE + 2.5
"""Seconds within which a lost job starts anew: the grace, its lease, the reclaimer's period, and a busy machine."""


@pytest.fixture
def skew() -> Iterator[Skew]:
    with Skew() as skew:
        yield skew


@pytest.fixture
async def jumpy(server_kind: str, skew: Skew, tmp_path: Path) -> AsyncIterator[Crew]:
    """A crew whose server has a clock that may be set."""
    with OwnServer(server_kind, env=skew.env) as server:
        config = Config(url=server.url, queue=f"q-{uuid.uuid4().hex[:10]}", journal=str(tmp_path / "journal"), lease=LEASE)
        async with Crew(config) as crew:
            yield crew
            await assert_conserved(crew.store, crew.queue)


async def test_jobs_under_way_start_once_though_the_servers_clock_jumps_an_hour_and_back(jumpy: Crew, skew: Skew) -> None:
    crew = jumpy
    await crew.start()
    await crew.start()
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(8)]
    for n in range(8):
        await crew.started(n)
    late = await crew.add(*numbered(1, first=100), delay=7200.0)
    for turn, hours in enumerate((1.0, 0.0), start=1):
        before = {member.pid: len(member.notes("jobs.reclaimed")) for member in crew.members}
        skew.set(hours)
        await until(partial(_grace_is_over, crew, before), bool)  # all that a jump could have cost was taken by now
        ids += [handle.id for handle in await crew.add(*numbered(1, "fail", "ok", first=10 * turn))]
        ids += [handle.id for handle in await crew.add(*numbered(1, first=10 * turn + 1), delay=0.3)]
        await crew.started(10 * turn, times=2, timeout=3.0)
        await crew.started(10 * turn + 1, timeout=3.0)
    assert (await crew.counts()).scheduled == 1, "two hours are two hours by no clock yet"
    await crew.app.client.cancel(late[0].id)
    crew.open(gate)
    counts = await crew.all_ended()
    assert counts.stalled == 0
    assert len(crew.journal.starts()) == 8 + 2 * 3
    await assert_each_ended_once(crew, [*ids, late[0].id])


async def _grace_is_over(crew: Crew, before: dict[int, int]) -> bool:
    """Every worker has told of a grace and of its end, after so many notes."""
    told = [[note["grace"] for note in member.notes("jobs.reclaimed")[before[member.pid] :]] for member in crew.members]
    return all(True in graces and not graces[-1] for graces in told)


async def test_a_job_lost_while_the_servers_clock_was_ahead_does_not_wait_for_that_hour_again(jumpy: Crew, skew: Skew) -> None:
    crew = jumpy
    skew.set(1.0)
    doomed = await crew.start()
    job = await crew.job("hang", "ok")
    await crew.started()
    doomed.kill()
    skew.set(0.0)
    await crew.start()
    await crew.started(times=2, timeout=SOON)
    await crew.all_ended()
    await assert_each_ended_once(crew, [job])


@pytest.mark.parametrize("back_s", [2.0, 3600.0])
async def test_who_waits_for_a_job_hears_of_its_end_though_the_servers_clock_is_set_back(
    jumpy: Crew, skew: Skew, back_s: float
) -> None:
    """Ids go on from where they were; ends are recorded at the time that it is then, before the jobs' ids."""
    crew = jumpy
    await crew.start()
    gate = crew.gate()
    handles = await crew.add(*[Script(n=n, plan=("gate",), gate=gate) for n in range(3)])
    skew.set(-back_s / 3600)
    handles += await crew.add(*[Script(n=n, plan=("gate",), gate=gate) for n in range(3, 6)])
    crew.open(gate)
    await crew.all_ended()  # by the time that anybody asks
    for handle in handles:
        await handle.result(timeout=5.0)
        with pytest.raises(WrongState, match="is completed"):
            await crew.app.client.cancel(handle.id)
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_workers_whose_clocks_are_a_day_off_start_nothing_early_and_take_nothing_from_one_another(crew: Crew) -> None:
    with Skew(24.0) as ahead, Skew(-24.0) as behind:
        doomed, _ = await crew.start(env=ahead.env), await crew.start(env=behind.env)
        asked, wall_s = time.monotonic(), time.time()
        ids = [handle.id for handle in await crew.add(*numbered(20, "fail", "ok", keys=("a", "b", None)), delay=0.5)]
        gate = crew.gate()
        ids += [await crew.job("gate", n=n, gate=gate) for n in range(20, 24)]
        for n in range(20, 24):
            await crew.started(n)
        await crew.completed(20)
        starts = crew.journal.starts()
        assert len(starts) == 2 * 20 + 4
        assert min(line.mono for line in starts if line.n < 20) - asked >= 0.5
        assert (await crew.counts()).stalled == 0
        held = [line.n for line in starts if line.n >= 20 and line.pid == doomed.pid]
        doomed.kill()
        crew.open(gate)
        for n in held:
            await crew.started(n, times=2, timeout=SOON)
        counts = await crew.all_ended()
        assert counts.stalled == len(held)
        off = {round((line.at_ms / 1000 - wall_s - (line.mono - asked)) / 3600) for line in starts}
        assert off == {24, -24}, "their clocks were off"
        await assert_each_ended_once(crew, ids)
