"""BullMQ's own Python port. It has no command of its own: the worker is a short program, as its guide shows."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bullmq import Queue, Worker

from bench.peers.drivers import common

JOB = {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}}
KEEP = {"removeOnComplete": {"count": 1000, "age": 24 * 3600}, "removeOnFail": {"count": 5000, "age": 7 * 24 * 3600}}


class Producer:
    """`queue.add` and `queue.addBulk`."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; delays are whole milliseconds, rounded up."""
        delay = {"delay": int(delay_s * 1000) + 1} if delay_s > 0 else {}
        await self._queue.add("message", job, {**JOB, **KEEP, **delay})

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """Its pipeline."""
        await self._queue.addBulk([{"name": "message", "data": job, "opts": {**JOB, **KEEP}} for job in jobs])


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A queue."""
    queue = Queue("bench", {"connection": common.redis_url()})
    try:
        yield Producer(queue)
    finally:
        await queue.close()


async def _process(job: Any, token: str) -> None:
    await common.handle(job.data)


async def _work(pool: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = Worker("bench", _process, {"connection": common.redis_url(), "concurrency": pool, **KEEP})
    await stop.wait()
    await worker.close()


def worker(pool: int) -> None:
    """Run until a signal."""
    common.run(_work(pool))


DRIVER = common.Driver(
    packages=["bullmq", "redis", "hiredis", "uvloop"],
    runs_as="coroutines in one process",
    settings=[
        common.Setting("concurrency", "the pool", "what is being compared"),
        common.Setting("attempts, backoff", "3, exponential from 1 s", "the default is no retry"),
        common.Setting(
            "removeOnComplete", "1,000 jobs or a day", "the default keeps every job for ever; the guide advises a bound"
        ),
        common.Setting("removeOnFail", "5,000 jobs or 7 days", "the same for failed ones"),
        common.Setting("lockDuration, stalledInterval", "30 s (defaults)", "decide how soon a lost job comes back"),
        common.Setting("event loop", "uvloop", "as a careful user would"),
    ],
    producer=producer,
    worker=worker,
)
