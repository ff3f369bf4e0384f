"""What machines and networks do: a processor that is held, a slow line, hung-up connections, a full disk, deploys at any moment."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import EnqueueUnknown, StoreRefused, StoreUnreachable
from tests.support.faults import Proxy
from tests.support.laws import assert_conserved
from tests.support.running import until
from tests.support.worker_main import Config

from .checks import assert_each_ended_once, assert_in_order
from .crew import Crew, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow


async def test_a_handler_that_lets_no_thread_run_for_three_leases_is_fenced_and_its_job_runs_elsewhere(crew: Crew) -> None:
    """C code that keeps Python's lock: the lease keeper can't run either, so the lease is lost, and with it the right to settle."""
    members = [await crew.start(), await crew.start()]  # before the job: who starts meanwhile may come too late on a busy machine
    job = await crew.job("hold", "ok", seconds=3.3)
    first, second = await crew.started(times=2)
    assert first.pid != second.pid
    (held,) = [member for member in members if member.pid == first.pid]
    counts = await crew.all_ended()
    assert (counts.stalled, counts.completed) == (1, 1)
    (lost,) = await held.noted("lease.lost")
    assert lost["id"] == job
    (told,) = await held.noted("loop.blocked")
    assert told["seconds"] >= 3.0
    assert [line.n for line in crew.journal.starts()] == [0, 0]
    await assert_each_ended_once(crew, [job])


async def test_deploys_at_random_moments_under_load_start_no_job_twice_and_use_no_attempt(crew: Crew) -> None:
    chance = random.Random(11)
    ids = [handle.id for handle in await crew.add(*numbered(400, seconds=0.01, keys=("a", "b", None, None)))]
    here = [await crew.start(lease=60.0), await crew.start(lease=60.0)]  # only what is given back can run again in time
    for _ in range(4):
        done = (await crew.counts()).completed
        await crew.completed(min(done + chance.randrange(1, 60), 400))
        leaving = here.pop(0)
        here.append(await crew.start(lease=60.0))
        assert await leaving.stop() == 0
    counts = await crew.all_ended()
    starts = crew.journal.starts()
    assert sorted(line.n for line in starts) == list(range(400))
    assert {line.attempt for line in starts} == {1}
    assert counts.stalled == 0
    await assert_each_ended_once(crew, ids)
    await assert_in_order(crew)


@pytest.mark.parametrize(("each_way", "lease", "longest", "jobs"), [(0.1, 2.0, 2.5, 12), (0.4, 10.0, 0.0, 2)])
async def test_a_slow_line_makes_everything_late_and_nothing_else(
    config: Config, each_way: float, lease: float, longest: float, jobs: int
) -> None:
    """A fifth of a second there and back, with a job that outlasts its lease; and nearly a second, as by satellite."""
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        worker = await crew.start(url=proxy.url, lease=lease)
        proxy.slow(each_way)
        ids = [await crew.job("ok", n=0, seconds=longest)]
        ids += [handle.id for handle in await crew.add(*numbered(jobs, "fail", "ok", first=1, keys=("a", None, None)))]
        await crew.started(timeout=20.0)
        before = proxy.came
        counts = await crew.all_ended(30.0)
        assert counts.stalled == 0
        assert len(crew.journal.starts()) == 1 + 2 * jobs
        assert proxy.came <= before + 2, "slow is not broken: connections stay"
        assert not worker.notes("lease.lost")
        await assert_each_ended_once(crew, ids)


async def test_connections_hung_up_again_and_again_cost_nothing(crew: Crew) -> None:
    await crew.start()
    await crew.start()
    handles = await crew.add(*numbered(300, seconds=0.01, keys=("a", "b", None)))

    async def hang_up_on_all() -> int:
        await crew.store.link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return (await crew.counts()).completed

    hits = await until(hang_up_on_all, lambda done: done == 300, 30.0, every=0.15)
    assert hits == 300
    assert sorted(line.n for line in crew.journal.starts()) == list(range(300))
    assert (await crew.counts()).stalled == 0
    await assert_each_ended_once(crew, [handle.id for handle in handles])
    await assert_in_order(crew)


@asynccontextmanager
async def cramped(kind: str, fsync: str, directory: Path) -> AsyncIterator[tuple[Crew, OwnServer]]:
    """A crew on a server whose files can be kept from growing."""
    with OwnServer(kind, "--appendfsync", fsync) as server:
        config = Config(
            url=server.url, queue=f"q-{uuid.uuid4().hex[:10]}", journal=str(directory / "journal"), enqueue_timeout=1.0
        )
        async with Crew(config) as crew:
            yield crew, server
            await assert_conserved(crew.store, crew.queue)


async def filled(crew: Crew, ids: list[str], error: type[Exception]) -> list[EnqueueUnknown]:
    """Enqueue one after another, adding to `ids`, until it is refused with `error`; those of which nobody knows, on the way."""
    unknown: list[EnqueueUnknown] = []
    while True:
        try:
            ids += [await crew.job("ok", n=len(ids) + len(unknown))]
        except EnqueueUnknown as one:
            unknown.append(one)
        except error:
            return unknown


async def test_a_full_disk_refuses_enqueues_and_keeps_what_ended_until_there_is_room(server_kind: str, tmp_path: Path) -> None:
    async with cramped(server_kind, "everysec", tmp_path) as (crew, server):
        await crew.start()
        gate = crew.gate()
        ids = [await crew.job("gate", n=n, gate=gate) for n in range(3)]
        for n in range(3):
            await crew.started(n)
        server.fill_disk()
        unknown = await filled(crew, ids, StoreRefused)  # what came before the first write that failed is in
        with pytest.raises(StoreRefused, match="can't write its data to disk"):
            await crew.job("ok")
        crew.open(gate)
        await until(crew.ends, lambda ends: {0, 1, 2} <= {line.n for line in ends})
        assert (await crew.counts()).completed < len(ids)
        server.empty_disk()
        ids += [handle.id for one in unknown for handle in await one.repeat()]
        await crew.all_ended()
        await crew.store.link.call("BGREWRITEAOF")  # docs/operations.md: a file with a hole in it would not be read again
        await until(
            lambda: crew.store.link.call("INFO", "persistence"),
            lambda said: b"rewrite_in_progress:0" in said and b"rewrite_scheduled:0" in said,
        )
        server.kill()
        server.start()
        counts = await crew.counts()
        assert (counts.completed, counts.stalled) == (len(ids), 0)
        await assert_each_ended_once(crew, ids)


async def test_a_server_that_ends_itself_on_a_full_disk_has_kept_all_it_acknowledged(server_kind: str, tmp_path: Path) -> None:
    async with cramped(server_kind, "always", tmp_path) as (crew, server):
        ids = [await crew.job("ok", n=n) for n in range(20)]
        server.fill_disk(room=2000)
        unknown = await filled(crew, ids, StoreUnreachable)
        assert len(ids) > 20
        assert server.has_ended()
        server.start()  # there is room again
        await crew.start()
        ids += [handle.id for one in unknown for handle in await one.repeat()]
        counts = await crew.all_ended()
        assert counts.completed == len(ids)
        await assert_each_ended_once(crew, ids)
