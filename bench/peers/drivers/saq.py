"""SAQ on Redis: a list and one key a job. The worker is the `saq` command on a settings dict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue

from bench.peers.drivers import common

queue = Queue.from_url(common.redis_url())
RETRY = {"retries": 3, "retry_delay": 1.0, "retry_backoff": True}


async def message(ctx: dict[str, Any], *, job: common.Payload) -> None:
    """The job."""
    await common.handle(job)


settings = {"queue": queue, "functions": [message], "concurrency": common.pool_size(), "shutdown_grace_period_s": 25}


class Producer:
    """`queue.enqueue`."""

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; SAQ's instants are whole seconds, rounded up so that none may be early."""
        due = -(-job["due_ns"] // 1_000_000_000) if delay_s > 0 else 0
        await queue.enqueue("message", job=job, scheduled=due, **RETRY)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """SAQ's `map` waits for the results; its `batch` is single calls."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A connected queue."""
    await queue.connect()
    try:
        yield Producer()
    finally:
        await queue.disconnect()


def worker(pool: int) -> None:
    """The library's command."""
    common.become("saq", "bench.peers.drivers.saq.settings")


DRIVER = common.Driver(
    packages=["saq", "redis", "hiredis"],
    runs_as="coroutines in one process",
    has_bulk=False,
    settings=[
        common.Setting("concurrency", "the pool", "what is being compared"),
        common.Setting("retries", "3, backoff on", "the default of 1 means no retry at all"),
        common.Setting("timeout", "10 s (default)", "its users' default; also what decides when a lost job is noticed"),
        common.Setting("ttl", "600 s (default)", "the history its users have"),
        common.Setting("event loop", "asyncio", "its command does not use uvloop"),
        common.Setting("shutdown_grace_period_s", "25", "a deploy lets running jobs end"),
    ],
    notes={"delayed": "its instants are whole seconds: rounded up"},
    producer=producer,
    worker=worker,
)
