"""streaq: Redis Streams and a function library. The worker is the `streaq run` command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from bench.peers.drivers import common

app: Any = Worker(
    redis_url=common.redis_url(),
    concurrency=common.pool_size(),
    grace_period=25,
    anyio_kwargs={"use_uvloop": True},
)


async def _message(job: common.Payload) -> None:
    await common.handle(job)


message = app.task(max_tries=3, name="message", silent=True)(_message)


class Producer:
    """`task.enqueue`."""

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; a delay counts in milliseconds from now."""
        ready = message.enqueue(job)
        await (ready.start(delay=delay_s) if delay_s > 0 else ready)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """Its pipeline."""
        await app.enqueue_many([message.enqueue(job) for job in jobs])


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A connected worker object, which is also the client."""
    async with app:
        yield Producer()


def worker(pool: int) -> None:
    """The library's command."""
    common.become("streaq", "run", "bench.peers.drivers.streaq:app")


DRIVER = common.Driver(
    packages=["streaq", "coredis", "anyio", "uvloop"],
    runs_as="coroutines in one process",
    settings=[
        common.Setting("concurrency", "the pool", "what is being compared"),
        common.Setting("max_tries", "3 (default)", "a job lost with its worker is tried again; plain exceptions are not retried"),
        common.Setting("ttl", "5 min (default)", "the history its users have"),
        common.Setting("idle_timeout", "60 s (default)", "decides how soon a lost job comes back"),
        common.Setting("anyio_kwargs", "use_uvloop", "its documentation advises it"),
        common.Setting("silent", "True", "its two log lines a job would be what is measured"),
        common.Setting("grace_period", "25 s", "a deploy lets running jobs end"),
    ],
    producer=producer,
    worker=worker,
)
