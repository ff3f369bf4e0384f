"""Memory: a worker that takes what it may is told of, drains, and leaves in good order; nobody else is disturbed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from engine import Clock, ConfigError, Engine
from engine.events import Events, MemoryExceeded, MemoryHigh, WorkerStopped
from engine.services.memory import Memory, check_memory, resident_bytes
from engine.store.redis_store import RedisStore
from engine.worker import Worker
from tests.support.factory import states
from tests.support.recorder import Recorder

MIB = 1024**2


async def test_it_is_told_once_each_time_it_comes_near_and_leaves_once_at_the_limit() -> None:
    looks = iter([50, 79, 80, 95, 75, 85, 69, 81, 100, 120, 90, 130])
    events, left = Events(Clock()), []
    memory = Memory(100, worker="w", clock=Clock(), events=events, on_exceeded=lambda: left.append(1), used=lambda: next(looks))
    with Recorder(events) as recorder:
        assert [await memory.run_once() for _ in range(12)][:3] == [50, 79, 80]
        assert [(event.used_bytes, event.limit_bytes) for event in recorder.all(MemoryHigh)] == [(80, 100), (81, 100)]
        assert [event.used_bytes for event in recorder.all(MemoryExceeded)] == [100]
    assert left == [1]
    assert "130% of 100" in repr(memory)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a system tells only the most that was ever taken")
def test_what_a_process_takes_is_what_it_has_touched_and_not_given_back() -> None:
    before = resident_bytes()
    kept = bytearray(b"x" * 64 * MIB)
    assert 60 * MIB < resident_bytes() - before < 80 * MIB
    del kept
    assert resident_bytes() - before < 20 * MIB


def test_a_limit_that_is_taken_before_the_first_job_is_refused() -> None:
    check_memory(100 * MIB, 79 * MIB)
    with pytest.raises(
        ConfigError, match=r"may take 100MiB of memory and takes 81 MiB before its first job: give ENGINE_MAX_MEM"
    ):
        check_memory(100 * MIB, 81 * MIB)


async def test_a_worker_that_took_all_it_may_finishes_what_runs_and_leaves_the_rest(
    store: RedisStore, queue: str, make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "period", 0.05)
    engine = make_engine()
    limit = int(resident_bytes() / 0.75)
    kept: list[bytes] = []
    recorder = Recorder(engine.events)

    @engine.queue(queue, concurrency=2).handler("leak")
    async def leak(payload: int) -> None:
        kept.append(b"x" * (limit // 2))
        await recorder.next(MemoryExceeded)

    async with engine:
        ids = [(await leak.enqueue(1)).id.partition("/")[2]]
        worker = Worker(engine, max_memory=limit, concurrency=1)
        ids += [(await leak.enqueue(2)).id.partition("/")[2]]
        assert await worker.run() is True
        assert worker.is_over_memory
        assert await states(store, queue, ids) == ["completed", "waiting"]
        (event,) = recorder.all(WorkerStopped)
        assert event.drained
    recorder.close()
    assert (await store.counts(queue)).stalled == 0
