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

        async def renewed_long_ago() -> bool:
            pending = await crew.store.link.call(
                "XPENDING", f"{prefix(crew.queue)}ready:5", GROUP, "IDLE", int(1500 * SHORT), "-", "+", 10
            )
            return len(pending) == 4  # and for half a short lease its reclaimer, which looks every eighth, has left them alone

        await until(renewed_long_ago, bool)
        assert len(crew.journal.starts()) == 4
        assert not old.notes("lease.lost")
        old.kill()
        await new.noted("jobs.reclaimed")
        crew.open(gate)
        counts = await crew.all_ended()
        assert (counts.completed, counts.stalled) == (4, 4)
        await assert_each_ended_once(crew, ids)
