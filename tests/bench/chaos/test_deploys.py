"""A deploy with another lease: its workers have twice the run's, until it is taken back; and the checker is told of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from bench.chaos.crew import Crew
from bench.chaos.faults_workers import deploy_lease
from bench.chaos.journal import Journal, QueueFacts, RunSettings, faults, records, write_settings
from bench.chaos.kinds import QUEUES
from bench.chaos.lab import Book, Lab
from bench.chaos.node import Node
from bench.chaos.schedule import Planned
from bench.chaos.watched import Straight
from engine import Clock
from tests.support.factory import lone_store
from tests.support.running import until

pytestmark = pytest.mark.slow


async def test_a_deploy_with_another_lease_brings_workers_that_have_it_and_takes_it_back(tmp_path: Path, node: Node) -> None:
    facts = QueueFacts(concurrency=1, attempts=3, lease_ms=2000, stall_limit=3)
    settings = RunSettings(
        seed=1, command="", versions={}, server=[], workers=1, queues=dict.fromkeys(QUEUES, facts), producers=0,
        enqueue_timeout_ms=1,
    )  # fmt: skip
    write_settings(tmp_path, settings)
    url, clock, nobody = f"redis://{node.host}:{node.port}/0", Clock(), cast("Any", None)
    journal, book = Journal(tmp_path, "lab"), Book(tmp_path)
    crew = Crew(tmp_path, Straight(url), journal, places=1, slots=3, clock=clock, settings={})
    async with lone_store(url) as store, crew:

        async def leases() -> list[int]:
            return [row.lease_ms for row in await store.workers(QUEUES[0], await store.now_ms(QUEUES[0]))]

        await crew.ready(30.0)
        assert await leases() == [2000]
        lab = Lab(clock, nobody, None, crew, nobody, book, 2.0)
        deploy = asyncio.ensure_future(deploy_lease(lab, Planned(i=1, at_s=0.0, kind="deploy@lease", seconds=2.0)))
        await until(leases, lambda now: now == [4000], 30.0)
        await deploy
        await until(leases, lambda now: now == [2000], 30.0)
        assert crew.longest_lease == 4.0
        await crew.stop(10.0)
    told = [record for record in records(tmp_path) if record.what == "live"]
    assert [record.lease_ms for record in told] == [0, 4000, 0]
    (fault,) = faults(tmp_path)
    assert fault.pids == tuple(record.pid for record in told[:2])
    journal.close()
    book.close()
