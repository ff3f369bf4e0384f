"""The embedded server died under a running worker: the worker brings it back, and the jobs are where they were."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine import Engine, Settings
from engine.embedded import EmbeddedServer
from engine.events import StoreDown, StoreUp
from tests.support.laws import assert_conserved
from tests.support.recorder import Recorder
from tests.support.running import running

pytestmark = pytest.mark.slow


async def test_a_worker_brings_its_killed_embedded_server_back(tmp_path: Path) -> None:
    engine = Engine(settings=Settings(data_dir=str(tmp_path / "data")))

    @engine.queue("revival").handler("increment")
    async def increment(number: int) -> int:
        return number + 1

    async with engine, running(engine):
        with Recorder(engine.events) as recorder:
            assert await (await increment.enqueue(1)).result(timeout=10) == 2
            late = await increment.enqueue(10, delay=1.0)
            with EmbeddedServer(tmp_path / "data") as same:
                os.kill(same.pid, signal.SIGKILL)
            await recorder.next(StoreDown)
            back = await recorder.next(StoreUp, timeout=10)
            assert not back.same_server
            assert await (await increment.enqueue(2)).result(timeout=10) == 3
            assert await late.result(timeout=10) == 11
        await assert_conserved(engine.connection.store, "revival")
