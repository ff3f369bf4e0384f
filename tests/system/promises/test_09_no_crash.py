"""Promise 9, a blocked event loop is no crash, and an outage is no crash: nothing is started a second time for either."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from engine.keys import prefix
from tests.support.faults import Proxy
from tests.support.running import until
from tests.support.worker_main import Config

from .checks import assert_each_ended_once
from .crew import Crew, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow

LONGER_THAN_LEASES = 3.3
"""Seconds: three leases and more, of the tests' lease of 1 s."""
OUTAGE = 1.3
"""Seconds: longer than a lease, so that every lease has run out when the server is back."""


async def test_a_loop_blocked_for_three_leases_is_reported_and_its_jobs_start_once(crew: Crew) -> None:
    blocked = await crew.start()
    job = await crew.job("block", seconds=LONGER_THAN_LEASES)
    await crew.started()
    await crew.start()  # somebody who would reclaim it
    counts = await crew.all_ended()
    assert len(crew.journal.starts()) == 1
    assert counts.stalled == 0
    (told,) = await blocked.noted("loop.blocked")
    assert f"handler do ({job})" in told["where"]
    await assert_each_ended_once(crew, [job])


async def test_the_jobs_beside_one_that_blocks_the_loop_are_kept_too(crew: Crew) -> None:
    await crew.start()
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(3)]
    for n in range(3):
        await crew.started(n)
    ids.append(await crew.job("block", n=3, seconds=2.5))
    await crew.started(3)
    await crew.start()
    await crew.when(lambda c: c.completed == 1)
    crew.open(gate)
    counts = await crew.all_ended()
    assert counts.stalled == 0
    assert len(crew.journal.starts()) == 4
    await assert_each_ended_once(crew, ids)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_server_away_for_longer_than_leases_makes_no_second_start(
    own_crew: Crew, own_server: OwnServer, how: str
) -> None:
    crew = own_crew
    workers = [await crew.start(), await crew.start()]
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(8)]
    for n in range(8):
        await crew.started(n)
    ways = {"killed": (own_server.kill, own_server.start), "frozen": (own_server.freeze, own_server.thaw)}
    async with _graced(crew), _away(*ways[how]):
        pass
    crew.open(gate)
    counts = await crew.all_ended()
    assert counts.stalled == 0
    assert sorted(x.n for x in crew.journal.starts()) == list(range(8))
    if how == "killed":  # a frozen server is noticed only by who asks it something
        for worker in workers:
            assert worker.notes("store.down")
            assert await worker.noted("store.up")
    await assert_each_ended_once(crew, ids)


@asynccontextmanager
async def _away(leave: Callable[[], object], come_back: Callable[[], object], *, seconds: float = OUTAGE) -> AsyncIterator[None]:
    """The server is out of reach while the block runs, and then for longer than a lease."""
    leave()
    yield
    await asyncio.sleep(seconds)
    come_back()


@asynccontextmanager
async def _graced(crew: Crew) -> AsyncIterator[None]:
    """An outage in the block; left when the grace that followed is over and a pass has taken what had lapsed by then. The server is
    asked: a worker that began in an earlier grace, as on a machine so busy that nobody looked for half a lease, tells of none."""
    link, meta = crew.store.link, prefix(crew.queue) + "meta"

    async def grace_and_beat() -> tuple[int, int]:
        grace, beat = await link.patient(lambda: link.call("HMGET", meta, "grace", "beat"), timeout=10.0)
        return int(grace or 0), int(beat or 0)

    before, _ = await grace_and_beat()
    yield
    await until(grace_and_beat, lambda now: before < now[0] <= now[1])


async def test_jobs_that_ended_while_the_server_was_away_are_recorded_when_it_is_back(
    own_crew: Crew, own_server: OwnServer
) -> None:
    crew = own_crew
    await crew.start()
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(5)]
    for n in range(5):
        await crew.started(n)
    async with _away(own_server.kill, own_server.start):
        crew.open(gate)
        await until(crew.ends, lambda ends: len(ends) == 5)
    counts = await crew.all_ended()
    assert counts.stalled == 0
    assert len(crew.journal.starts()) == 5
    await assert_each_ended_once(crew, ids)


async def test_a_network_that_swallows_everything_for_longer_than_leases_makes_no_second_start(config: Config) -> None:
    """The lease is 2 s: who asks again last comes 1.25 s after the return, and of a grace of 1.5 s little would be left."""
    config = msgspec.structs.replace(config, lease=2.0)
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        for _ in range(2):
            await crew.start(url=proxy.url, socket_timeout=0.3)
        gate = crew.gate()
        ids = [await crew.job("gate", n=n, gate=gate) for n in range(6)]
        for n in range(6):
            await crew.started(n)
        async with _graced(crew), _away(proxy.swallow, proxy.heal, seconds=2 * OUTAGE):
            pass
        crew.open(gate)
        counts = await crew.all_ended()
        assert counts.stalled == 0
        assert len(crew.journal.starts()) == 6
        await assert_each_ended_once(crew, ids)


async def test_a_worker_that_is_really_gone_is_noticed_within_a_lease_and_a_half(crew: Crew) -> None:
    """The other side of the grace: it must not become the rule."""
    doomed = await crew.start()
    await crew.start()
    await crew.add(*numbered(10, "hang", "ok"))
    for n in range(10):
        await crew.started(n)
    lost = len([x for x in crew.journal.starts() if x.pid == doomed.pid])
    doomed.kill()
    await crew.when(lambda c: c.stalled == lost > 0, timeout=2.0)


async def test_an_idle_worker_that_is_frozen_keeps_no_job_from_another(crew: Crew) -> None:
    frozen = await crew.start()
    await crew.start()
    await crew.when(lambda c: c.workers == 2)
    frozen.signal(signal.SIGSTOP)
    try:
        for n in range(6):
            await crew.job("ok", n=n)
            await crew.started(n, timeout=0.8)  # the lease is 1 s
    finally:
        frozen.signal(signal.SIGCONT)
    counts = await crew.all_ended()
    assert counts.stalled == 0
    assert len(crew.journal.starts()) == 6
