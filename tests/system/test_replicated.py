"""ENGINE_DURABILITY=replicated: an enqueue is answered when a replica has the job too, and what a failover leaves is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.chaos.node import Node, find_program, free_ports
from bench.chaos.sentinel import Sentinels
from engine import Clock, Engine, EnqueueUnknown, Handle, Job, Settings, StoreRefused, StoreUnanswered, StoreUnsuitable
from tests.support.laws import assert_conserved
from tests.support.running import running, until

pytestmark = pytest.mark.slow

CONFIG = 'appendonly yes\nsave ""\nrepl-diskless-sync-delay 0\nmin-replicas-to-write 1\nmaxmemory-policy noeviction'


@pytest.fixture
async def pair(server_kind: str, tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """A primary that wants one replica for its writes, and that replica, which does not follow yet."""
    clock, program, ports = Clock(), find_program(server_kind), free_ports(2)
    nodes = [Node(program, tmp_path / name, CONFIG, port=port, clock=clock) for name, port in zip("ab", ports, strict=True)]
    try:
        for node in nodes:
            await node.start()
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.kill()


async def test_an_enqueue_that_no_replica_confirms_is_unknown_and_its_repeat_adds_nothing_twice(pair: tuple[Node, Node]) -> None:
    primary, replica = pair
    engine = Engine(settings=Settings(redis_url=primary.url, durability="replicated", enqueue_timeout=1.2))
    queue = engine.queue("confirmed")
    with pytest.raises(StoreUnsuitable, match="ENGINE_DURABILITY asks for 'replicated'"):
        await engine.__aenter__()
    await replica.ask("REPLICAOF", *map(str, primary.address))
    await until(lambda: primary.ask("ROLE"), lambda role: bool(role[2]))
    async with engine:
        await queue.enqueue("work", {})
        replica.freeze()
        with pytest.raises(EnqueueUnknown, match="confirmed by 1 of its replicas") as caught:
            await queue.enqueue("work", {})
        await primary.ask("CLIENT", "KILL", "TYPE", "normal")  # WAIT knows only what its own connection wrote
        with pytest.raises(StoreUnanswered):
            await caught.value.repeat()
        replica.thaw()
        handle = await caught.value.repeat()
        assert isinstance(handle, Handle)
        assert (await engine.client.counts("confirmed")).enqueued == 2
        ids = [job.id for job in (await engine.client.jobs(queue="confirmed")).jobs]
        assert handle.id in ids
        assert int(await replica.ask("XLEN", "engine:{confirmed}:ready:5")) == 2
        await assert_conserved(engine.connection.store, "confirmed")


async def test_a_primary_that_has_lost_its_replicas_is_asked_for_anew(pair: tuple[Node, Node]) -> None:
    """It may have been replaced without knowing it: only a new connection asks the sentinels. Else it would be tried until it is
    told, some 10 s after its return."""
    primary, _ = pair
    engine = Engine(settings=Settings(redis_url=primary.url, enqueue_timeout=0.5))
    queue = engine.queue("alone")

    async def connections() -> int:
        stats = (await primary.ask("INFO", "stats")).decode()
        return int(stats.partition("total_connections_received:")[2].split()[0])

    async with engine:
        before = await connections()
        for _ in range(2):
            with pytest.raises(StoreRefused, match="too few replicas"):
                await queue.enqueue("work", {})
        assert await connections() - before > 1 + 2  # this question's own, and more than two of the engine's


async def test_after_a_failover_every_confirmed_job_is_there_and_the_worker_goes_on(server_kind: str) -> None:
    """Two replicas: the one that is promoted needs another one to confirm what comes next."""
    async with Sentinels(server_kind, replicas=2, options={"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}) as s:
        engine = Engine(settings=Settings(redis_url=s.url, durability="replicated", enqueue_timeout=15.0, lease=2.0))
        ran: list[int] = []

        @engine.queue("followed", keep_completed=100_000).handler("note")
        async def note(n: int, job: Job) -> None:
            ran.append(n)

        async with engine, running(engine):
            waiting = engine.queue("waiting")
            kept = [await waiting.enqueue("later", {}) for _ in range(20)]
            handles = [await note.enqueue(n) for n in range(20)]
            s.kill_primary()
            began = engine.clock.mono()
            handles += [await note.enqueue(n) for n in range(20, 40)]  # the first of these waits for the failover
            await asyncio.gather(*(handle.result(timeout=10) for handle in handles[20:]))
            assert engine.clock.mono() - began < 10
            assert await s.promoted() < 1
            ids = {job.id for job in (await engine.client.jobs(queue="waiting", limit=100)).jobs}
            assert {handle.id for handle in kept} <= ids
            assert len({handle.id for handle in handles}) == 40
        assert set(ran) == set(range(40))
        async with engine:
            await assert_conserved(engine.connection.store, "followed")
