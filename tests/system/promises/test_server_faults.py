"""What operators and accidents do to a live server: SCRIPT FLUSH, FLUSHALL, a removed group, a restart, a rollback."""

from __future__ import annotations

import shutil
import signal

import pytest

from engine.events import DataLoss
from engine.keys import GROUP, prefix

from .checks import assert_each_ended_once
from .crew import Crew, numbered
from .servers import OwnServer

pytestmark = pytest.mark.slow


async def test_scripts_flushed_again_and_again_cost_nothing(crew: Crew) -> None:
    await crew.start()
    handles = await crew.add(*numbered(200, "ok", seconds=0.005, keys=("a", "b", None)))
    while (counts := await crew.counts()).completed < 200:
        await crew.store.link.call("SCRIPT", "FLUSH")
    assert counts.stalled == 0
    assert sorted(x.n for x in crew.journal.starts()) == list(range(200))
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_a_group_removed_under_a_live_worker_loses_no_job(crew: Crew) -> None:
    await crew.start(concurrency=2)
    gate = crew.gate()
    ids = [await crew.job("gate", n=n, gate=gate) for n in range(2)]
    for n in range(2):
        await crew.started(n)
    ids += [handle.id for handle in await crew.add(*numbered(20, first=2))]
    await crew.store.link.call("XGROUP", "DESTROY", prefix(crew.queue) + "ready:5", GROUP)
    crew.open(gate)
    counts = await crew.all_ended()
    assert counts.completed == 22
    await assert_each_ended_once(crew, ids)


async def test_a_live_worker_goes_on_with_new_jobs_after_everything_was_flushed(own_crew: Crew) -> None:
    crew = own_crew
    worker = await crew.start()
    gate = crew.gate()
    await crew.job("gate", n=0, gate=gate, key="a")
    await crew.started(0)
    await crew.add(*numbered(10, first=1, keys=("a", "b")), *numbered(3, first=11))
    await crew.store.link.call("FLUSHALL")
    await crew.store.link.call("SCRIPT", "FLUSH")
    handles = await crew.add(*numbered(10, "fail", "ok", first=100, keys=("a", "b", None)))
    crew.open(gate)
    counts = await crew.all_ended(timeout=5.0)
    assert (counts.enqueued, counts.completed) == (10, 10)
    assert len(await worker.noted("data.loss")) == 1
    assert worker.process.poll() is None
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_a_stream_deleted_under_a_live_worker_is_told_and_it_goes_on_with_new_jobs(own_crew: Crew) -> None:
    crew = own_crew
    worker = await crew.start(concurrency=1)
    gate = crew.gate()
    await crew.job("gate", n=0, gate=gate)
    await crew.started(0)
    await crew.add(*numbered(5, first=1))
    await crew.store.link.call("DEL", prefix(crew.queue) + "ready:5")
    await crew.add(*numbered(10, first=100))
    crew.open(gate)
    await crew.when(lambda c: c.completed >= 10, timeout=5.0)
    (told,) = await worker.noted("data.loss")
    assert "a stream of it" in told["what"]
    assert worker.process.poll() is None
    assert (await crew.counts()).difference == 6  # the one that ran and the five that waited: doctor finds them missing
    while not (await crew.store.obliterate(crew.queue, force=True)).is_done:
        continue


async def test_a_restart_of_the_server_keeps_every_state(own_crew: Crew, own_server: OwnServer) -> None:
    crew = own_crew
    ids = [handle.id for handle in await crew.add(*numbered(1, "discard", first=10), *numbered(1, "result", first=11))]
    await (await crew.start(burst=True)).ended()
    await crew.start(concurrency=2)
    gate = crew.gate()
    ids.append(await crew.job("gate", n=0, gate=gate, key="a"))
    ids.append(await crew.job("gate", n=1, gate=gate))
    for n in range(2):
        await crew.started(n)
    ids.append(await crew.job("ok", n=2, key="a"))
    ids.append(await crew.job("ok", n=3))
    ids += [handle.id for handle in await crew.add(*numbered(1, first=4), delay=3600)]
    before = await crew.counts()
    assert (before.active, before.blocked, before.waiting, before.scheduled, before.dead, before.completed) == (2, 1, 1, 1, 1, 1)
    own_server.kill()
    own_server.start()
    after = await crew.counts()
    assert (after.active, after.blocked, after.waiting, after.scheduled, after.dead, after.completed) == (2, 1, 1, 1, 1, 1)
    crew.open(gate)
    await crew.app.client.promote(ids[-1])
    counts = await crew.all_ended()
    assert counts.stalled == 0
    await assert_each_ended_once(crew, ids)


async def test_after_a_rollback_a_late_settle_does_not_end_the_attempt_of_the_new_owner(
    own_crew: Crew, own_server: OwnServer
) -> None:
    """The server comes back without its last writes (a failover, a lost tail): it has forgotten who claimed the job, and gives
    the very same entry to another worker. XACK asks for no owner, so only renewing first keeps the old worker's settle out."""
    crew = own_crew
    job = await crew.job("gate", "hang", gate=crew.gate())
    own_server.kill()
    shutil.copytree(own_server.directory / "appendonlydir", own_server.directory / "older")
    own_server.start()
    first = await crew.start()
    await crew.started()
    first.signal(signal.SIGSTOP)
    own_server.kill()
    shutil.rmtree(own_server.directory / "appendonlydir")
    shutil.copytree(own_server.directory / "older", own_server.directory / "appendonlydir")
    own_server.start()
    second = await crew.start()
    await crew.started(times=2)
    crew.open(crew.gate())  # the old worker's attempt ends as soon as it is thawed
    first.signal(signal.SIGCONT)
    (lost,) = await first.noted("lease.lost")
    assert lost["id"] == job
    counts = await crew.counts()
    assert (counts.active, counts.completed) == (1, 0)
    assert await first.stop(timeout=3.0) == 0  # what it could not settle holds it no longer
    assert second.process.poll() is None


async def test_acknowledged_work_that_a_rollback_took_is_told_by_worker_and_producer(
    own_crew: Crew, own_server: OwnServer
) -> None:
    """A failover to a replica that was behind: nobody removed anything, the last calls are just not there any more."""
    crew = own_crew
    told: list[str] = []
    crew.app.events.subscribe(lambda event: told.append(event.what), DataLoss)
    worker = await crew.start()
    await crew.add(*numbered(3))
    await crew.completed(3)
    own_server.kill()
    shutil.copytree(own_server.directory / "appendonlydir", own_server.directory / "older")
    own_server.start()
    for n in range(3, 6):
        await crew.job("ok", n=n)
    await crew.completed(6)
    assert not told
    own_server.kill()
    shutil.rmtree(own_server.directory / "appendonlydir")
    shutil.copytree(own_server.directory / "older", own_server.directory / "appendonlydir")
    own_server.start()
    await crew.job("ok", n=6)
    await crew.completed(4)
    assert told == ["3 acknowledged enqueue calls of this process are gone: a failover or a restart took them back"]
    (loss,) = await worker.noted("data.loss")
    assert "answered calls of this worker are gone" in loss["what"]
