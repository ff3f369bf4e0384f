"""arq: one sorted set a queue, polled. The worker is the `arq` command on a settings class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from arq.connections import RedisSettings, create_pool

from bench.peers.drivers import common

QUIET = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}


async def message(ctx: dict[str, Any], job: common.Payload) -> None:
    """The job."""
    await common.handle(job)


class WorkerSettings:
    """What the `arq` command reads."""

    functions = (message,)
    max_jobs = common.pool_size()
    redis_settings = RedisSettings.from_dsn(common.redis_url())
    job_completion_wait = 25


class Producer:
    """`enqueue_job` on a pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; arq's instants are whole milliseconds."""
        until = datetime.fromtimestamp(-(-job["due_ns"] // 1_000_000) / 1000, tz=UTC) if delay_s > 0 else None
        await self._pool.enqueue_job("message", job, _defer_until=until)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """arq has none."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A connected pool."""
    pool = await create_pool(WorkerSettings.redis_settings)
    try:
        yield Producer(pool)
    finally:
        await pool.aclose()


def worker(pool: int) -> None:
    """The library's command."""
    common.become("arq", "bench.peers.drivers.arq.WorkerSettings", "--custom-log-dict", "bench.peers.drivers.arq.QUIET")


DRIVER = common.Driver(
    packages=["arq", "redis", "hiredis", "uvloop"],
    runs_as="coroutines in one process",
    has_bulk=False,
    settings=[
        common.Setting("max_jobs", "the pool", "what is being compared"),
        common.Setting("max_tries", "5 (default)", "a job lost with its worker is tried again; plain exceptions are not retried"),
        common.Setting("keep_result", "3600 s (default)", "the history its users have"),
        common.Setting("poll_delay", "0.5 s (default)", "how its users run it; it bounds latency"),
        common.Setting("job_completion_wait", "25 s", "a deploy lets running jobs end"),
        common.Setting("log level", "WARNING", "its two lines a job would be what is measured"),
    ],
    producer=producer,
    worker=worker,
)
