"""Celery on Redis: prefork processes at a pool of 5, threads at larger ones. The worker is the `celery worker` command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from celery import Celery

from bench.peers.drivers import common

app: Any = Celery("bench", broker=common.redis_url())
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="bench",
)
MOST_PROCESSES = 16


def _message(job: common.Payload) -> None:
    common.handle_sync(job)


message = app.task(name="message", autoretry_for=(Exception,), max_retries=3, retry_backoff=True)(_message)


class Producer:
    """`apply_async`, a blocking call."""

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job."""
        message.apply_async((job,), countdown=delay_s if delay_s > 0 else None)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """Celery's `group` is single calls in a row."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """The app connects by itself."""
    yield Producer()
    app.close()


def worker(pool: int) -> None:
    """The library's command."""
    kind = "prefork" if pool <= MOST_PROCESSES else "threads"
    how = ("--pool", kind, "--concurrency", str(pool), "--loglevel", "WARNING", "--queues", "bench")
    common.become("celery", "--app", "bench.peers.drivers.celery:app", "worker", *how)


DRIVER = common.Driver(
    packages=["celery", "kombu", "redis", "hiredis"],
    runs_as="one child process a slot (pool 5), threads (pool 100)",
    has_bulk=False,
    is_blocking=True,
    settings=[
        common.Setting("--concurrency", "the pool", "what is being compared"),
        common.Setting(
            "--pool",
            f"prefork up to {MOST_PROCESSES}, threads beyond",
            "prefork is its default; 100 processes are no sane choice",
        ),
        common.Setting("task_acks_late, task_reject_on_worker_lost", "on", "without them a crash loses the job"),
        common.Setting(
            "worker_prefetch_multiplier", "4 (default)", "how its users run it; so many jobs a slot are claimed ahead"
        ),
        common.Setting("autoretry_for, retry_backoff", "Exception, 3 retries", "without them nothing is retried"),
        common.Setting(
            "visibility_timeout", "1 h (default)", "decides when a lost job comes back; shorter ones run delayed jobs twice"
        ),
        common.Setting(
            "task_ignore_result", "on", "its users keep no history unless a caller waits: less work than the others here do"
        ),
        common.Setting("--loglevel", "WARNING", "its two lines a job would be what is measured"),
    ],
    notes={"delayed": "its workers fetch delayed jobs at once and hold them in memory"},
    producer=producer,
    worker=worker,
)
