"""Claims that wait on the server: an idle pool's next call is there when the bell rings, and gives way to everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from engine import Clock
from engine.events import Events, JobCompleted, JobStarted
from engine.keys import prefix
from engine.services import caller, rest
from engine.services.bell import Bell
from engine.services.holdings import Holdings
from engine.services.outage import Outage
from engine.services.pool import Pool
from engine.services.pulse import Pulse
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, body, enqueue, handler, reclaim, spec, states
from tests.support.faults import Proxy, calls
from tests.support.recorder import Recorder
from tests.support.running import until


class Process:
    """Pools of some queues with one bell, as a worker has them; `calls` notes who claimed how."""

    def __init__(self, store: RedisStore, *queues: str, handlers: tuple[Any, ...] = ()) -> None:
        self.store = store
        self.clock = Clock()
        self.events = Events(self.clock)
        self.recorder = Recorder(self.events)
        self.holdings = Holdings()
        self.pulse = Pulse(asyncio.get_running_loop())
        self.calls: list[str] = []
        outage = Outage(self.clock, self.events)
        self.pools = {queue: self._pool(queue, outage, handlers) for queue in queues}
        self.bell = Bell(
            store,
            queues,
            clock=self.clock,
            events=self.events,
            outage=outage,
            on_ring=self._rung,
            on_doubt=lambda queue: self.pools[queue].look(),
            on_cancel=lambda queue, job_id: None,
        )

    def _pool(self, queue: str, outage: Outage, handlers: tuple[Any, ...]) -> Pool:
        return Pool(
            spec(queue, *handlers),
            self.store,
            worker="w1",
            clock=self.clock,
            events=self.events,
            holdings=self.holdings,
            outage=outage,
            resources={},
            pulse=self.pulse,
            last_ring=lambda: self.bell.last(queue),
        )

    def _rung(self, queue: str) -> None:
        self.pools[queue].ring()

    @property
    def waiting(self) -> int:
        """Pools whose call waits on the server."""
        return sum(pool._caller._waits for pool in self.pools.values())

    async def quiet(self, pools: int = 1) -> None:
        """Until the calls of so many pools wait."""

        async def waiting() -> int:
            return self.waiting

        await until(waiting, lambda n: n == pools)


@asynccontextmanager
async def running(process: Process, waiting: int = 1) -> AsyncIterator[Process]:
    await process.bell.begin()
    tasks = [asyncio.ensure_future(pool.run()) for pool in process.pools.values()]
    ears = asyncio.ensure_future(process.bell.run())
    try:
        await process.quiet(waiting)
        yield process
    finally:
        for pool in process.pools.values():
            pool.stop()
        process.bell.stop()
        await process.bell.close()
        try:
            async with asyncio.timeout(5):
                await asyncio.gather(*tasks, ears)
        finally:
            process.pulse.close()
            process.recorder.close()


def spied(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of the verbs that an idle pool has, in turn."""
    seen: list[str] = []

    def spy(name: str) -> None:
        real = getattr(store, name)

        async def noting(*args: Any) -> Any:
            seen.append(name)
            return await real(*args)

        monkeypatch.setattr(store, name, noting)

    for name in ("step", "step_at_bell", "may_have_work"):
        spy(name)
    return seen


async def test_an_idle_pool_takes_a_job_with_the_call_that_waited_for_it(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spied(store, monkeypatch)
    async with running(Process(store, queue)) as process:
        calls.clear()
        for _ in range(5):
            (job_id,) = await enqueue(store, queue)
            await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
            await process.quiet()
        assert calls == ["step", "step_at_bell"] * 5  # it settles, and waits for the next


async def test_more_jobs_than_it_asked_for_are_claimed_as_usual(store: RedisStore, queue: str) -> None:
    async with running(Process(store, queue)) as process:
        ids = await enqueue(store, queue, 50)
        for job_id in ids:
            await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        await process.quiet()
    assert await states(store, queue, ids) == ["completed"] * 50


async def test_a_stop_ends_the_wait_at_once(store: RedisStore, queue: str) -> None:
    async with running(Process(store, queue)) as process:
        began = process.clock.mono()
        process.pools[queue].stop()

        async def waiting() -> int:
            return process.waiting

        await until(waiting, lambda n: n == 0)
        assert process.clock.mono() - began < 2
    await enqueue(store, queue)
    assert len(await Hand(store, queue, "w2").claim()) == 1, "nobody who has stopped took it"


async def test_a_suspect_of_another_queue_need_not_wait_for_a_call_that_waits(store: RedisStore, queue: str) -> None:
    other = f"{queue}-other"
    ids = await enqueue(store, other)
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim())
    await reclaim(store, other)
    await store.pause(other, "until the call waits", 0)
    async with running(Process(store, queue, other), waiting=1) as process:
        await store.resume(other)
        await process.recorder.next(JobCompleted, id=f"{other}/{ids[0]}")
        await process.quiet(2)
    assert process.holdings.solo is None


async def test_a_suspect_waits_until_the_other_queues_jobs_have_ended(store: RedisStore, queue: str) -> None:
    other, started = f"{queue}-other", asyncio.Event()

    async def run(payload: int) -> None:
        if payload == 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(started.wait(), 0.5)  # what a suspect would need to start beside this
        else:
            started.set()

    await enqueue(store, other, data=body(payload=1))
    gone = Hand(store, other, "gone")
    await gone.lapse(*await gone.claim())
    await reclaim(store, other)
    await store.pause(other, "until the other one runs", 0)
    async with running(Process(store, queue, other, handlers=(handler(run),)), waiting=1) as process:
        (first,) = await enqueue(store, queue, data=body(payload=0))
        await process.recorder.next(JobStarted)
        await store.resume(other)
        await process.recorder.next(JobCompleted, id=f"{queue}/{first}")
        assert not started.is_set()
        await process.recorder.next(JobCompleted)
    assert started.is_set()


async def test_a_reply_that_is_lost_costs_nothing_and_repeats_nothing(server_url: str, store: RedisStore, queue: str) -> None:
    async with Proxy(server_url) as proxy:
        link = Link(proxy.url, clock=Clock())
        through = RedisStore(link, Clock())
        try:
            async with running(Process(through, queue)) as process:
                cut = proxy.cut(calls("step"), "after", times=3)
                for _ in range(6):
                    (job_id,) = await enqueue(store, queue)
                    await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
                    await process.quiet()
                assert cut.done == 3
                assert len(process.recorder.all(JobStarted)) == 6
        finally:
            await through.close()


async def test_a_call_whose_connection_died_silently_is_called_back_when_the_bell_rings(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "OVERDUE", 0.05)
    async with running(Process(store, queue)) as process:
        pool = process.pools[queue]
        talk = pool._caller._wire._talk
        assert talk is not None
        talk._transport.pause_reading()  # type: ignore[attr-defined]  # its answer never comes: as through a firewall that forgot it
        (job_id,) = await enqueue(store, queue)
        await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        await process.quiet()
    assert await states(store, queue, [job_id]) == ["completed"]


async def test_with_a_foreign_bell_jobs_run_and_nobody_waits_for_it_in_a_loop(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "GLANCE", 0.05)
    calls = spied(store, monkeypatch)

    async def glances() -> int:
        return calls.count("may_have_work")

    async with running(Process(store, queue)) as process:
        await store.link.call("DEL", f"{prefix(queue)}bell")
        await store.link.call("SET", f"{prefix(queue)}bell", "foreign")
        process.pools[queue].look()
        for _ in range(5):
            (job_id,) = await enqueue(store, queue)
            await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")
        await until(glances, lambda n: n > 3)
    assert calls.count("step_at_bell") < 20


async def test_scripts_that_the_server_forgot_are_loaded_again(store: RedisStore, queue: str) -> None:
    async with running(Process(store, queue)) as process:
        await store.link.call("SCRIPT", "FLUSH")
        (job_id,) = await enqueue(store, queue)
        await process.recorder.next(JobCompleted, id=f"{queue}/{job_id}")


@pytest.mark.parametrize(
    ("server_later_ms", "mono", "expected"),
    [
        (20_000, 130.0, 119.999),
        (20_000, 119.5, 119.5),
        (3_600_000, 130.0, 130.0),
        (-3_600_000, 130.0, 105.0),
    ],
    ids=["by the server's clock", "never later than now", "a clock that jumped ahead", "a clock that was set back"],
)
async def test_a_lease_begins_when_the_server_gave_it_and_rather_too_early(
    store: RedisStore, queue: str, server_later_ms: int, mono: float, expected: float
) -> None:
    process = Process(store, queue)
    one = process.pools[queue]._caller
    one._base = (1_000_000, 100.0)
    one._clock = type("At", (Clock,), {"mono": lambda self: mono})()
    assert one._claimed_mono(1_000_000 + server_later_ms, 105.0) == pytest.approx(expected)
    process.pulse.close()
    process.recorder.close()
