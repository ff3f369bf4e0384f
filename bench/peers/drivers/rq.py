"""RQ: lists and one hash a job; a process forked for every job. The worker is the `rq worker-pool` command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from redis import Redis
from rq import Queue, Retry, Worker

from bench.peers.drivers import common

INTERVALS = [1, 5, 30]


def message(job: common.Payload) -> None:
    """The job."""
    common.handle_sync(job)


PreloadedWorker = Worker
"""Its own worker, found through this module: so the job's imports are there before the fork, not made anew in every child."""


class Producer:
    """`queue.enqueue`, a blocking call."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job."""
        if delay_s > 0:
            self._queue.enqueue_in(timedelta(seconds=delay_s), message, job, retry=Retry(max=3, interval=INTERVALS))
        else:
            self._queue.enqueue(message, job, retry=Retry(max=3, interval=INTERVALS))

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """Its pipeline."""
        retry = Retry(max=3, interval=INTERVALS)
        self._queue.enqueue_many([Queue.prepare_data(message, args=(job,), retry=retry) for job in jobs])


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A connected queue."""
    connection = Redis.from_url(common.redis_url())
    yield Producer(Queue("bench", connection=connection))
    connection.close()


def worker(pool: int) -> None:
    """The library's command; each of its workers forks a process a job."""
    how = ("--num-workers", str(pool), "--worker-class", "bench.peers.drivers.rq.PreloadedWorker", "--quiet")
    common.become("rq", "worker-pool", "bench", "--url", common.redis_url(), *how)


DRIVER = common.Driver(
    packages=["rq", "redis", "hiredis"],
    runs_as="one worker process a slot, a process forked for every job",
    is_blocking=True,
    most_pool=16,
    settings=[
        common.Setting("--num-workers", "the pool", "what is being compared"),
        common.Setting("--worker-class", "its own, by our module", "imports come before the fork, as its guide advises"),
        common.Setting("retry", "Retry(max=3, interval=[1, 5, 30])", "without it nothing is retried"),
        common.Setting("result_ttl", "500 s (default)", "the history its users have"),
        common.Setting("scheduler", "on (worker-pool's default)", "delays and retries need it"),
        common.Setting("--quiet", "on", "its lines a job would be what is measured"),
    ],
    producer=producer,
    worker=worker,
)
