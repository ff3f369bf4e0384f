"""Workers of one queue with different leases, as in a deploy that shortens the lease: no job starts a second time for it."""

from __future__ import annotations

import msgspec
import pytest

from engine.keys import GROUP, prefix
from tests.support.running import until
from tests.support.worker_main import Config

from .checks import assert_each_ended_once
from .crew import Crew

pytestmark = pytest.mark.slow

LONG, SHORT = 6.0, 1.0
"""Seconds; the long lease is renewed every 2 s, so that each job is older than the short lease for half of the time."""


async def grow_old(crew: Crew) -> None:
    """Returns when the entries of the four jobs, from young ones on, have become so old that the worker with the short lease, which
    looks every eighth of it, has looked four times at them and left them alone; or when it has not."""

    async def ages() -> list[int]:
        rows = await crew.store.link.call("XPENDING", f"{prefix(crew.queue)}ready:5", GROUP, "-", "+", 10)
        return [idle_ms for _, _, idle_ms, _ in rows]

    await until(ages, lambda found: len(found) < 4 or max(found) < 1000 * SHORT)
    await until(ages, lambda found: len(found) < 4 or min(found) > 1500 * SHORT)


async def test_a_worker_with_a_shorter_lease_starts_none_of_anothers_jobs_and_takes_them_when_it_is_killed(
    config: Config,
) -> None:
    async with Crew(msgspec.structs.replace(config, lease=LONG)) as crew:
        old = await crew.start(lease=LONG)
        gate = crew.gate()
        ids = [await crew.job("gate", n=n, gate=gate) for n in range(4)]
        for n in range(4):
            await crew.started(n)
        new = await crew.start(lease=SHORT)

        await grow_old(crew)  # by then the new one has looked, and begun its grace
        await until(crew.counts, lambda counts: counts.grace_until_ms == 0)
        await grow_old(crew)
        assert (await crew.counts()).stalled == 0
        assert len(crew.journal.starts()) == 4
        assert not old.notes("lease.lost")
        old.kill()
        await new.noted("jobs.reclaimed")
        crew.open(gate)
        counts = await crew.all_ended()
        assert (counts.completed, counts.stalled) == (4, 4)
        await assert_each_ended_once(crew, ids)
