"""What the two taskiq contenders share: the task, the retry middleware, results, the scheduler and the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from taskiq import SmartRetryMiddleware, TaskiqScheduler
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend

from bench.peers.drivers import common

RESULT_SECONDS = 3600


async def _message(job: common.Payload) -> None:
    await common.handle(job)


class Producer:
    """`task.kiq`."""

    def __init__(self, message: Any, source: Any) -> None:
        self._message, self._source = message, source

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; a delayed one goes to the schedule source."""
        if delay_s > 0:
            await self._message.schedule_by_time(self._source, datetime.fromtimestamp(job["due_ns"] / 1e9, tz=UTC), job)
        else:
            await self._message.kiq(job)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """taskiq has none."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


class Parts:
    """A broker with all that belongs to it; `module` is where the worker's command finds it."""

    def __init__(self, module: str, broker: Any) -> None:
        self._module = module
        self._source = ListRedisScheduleSource(common.redis_url())
        self.broker = broker.with_result_backend(RedisAsyncResultBackend(common.redis_url(), result_ex_time=RESULT_SECONDS))
        retry = SmartRetryMiddleware(default_retry_count=3, default_delay=1, use_jitter=True, schedule_source=self._source)
        self.broker = self.broker.with_middlewares(retry)
        self.message = self.broker.task(task_name="message", retry_on_error=True)(_message)
        self.scheduler = TaskiqScheduler(self.broker, [self._source])

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Producer]:
        """A started broker."""
        await self.broker.startup()
        await self._source.startup()
        try:
            yield Producer(self.message, self._source)
        finally:
            await self.broker.shutdown()

    def worker(self, pool: int) -> None:
        """The library's command."""
        how = ("--workers", "1", "--max-async-tasks", str(pool), "--log-level", "WARNING")
        common.become("taskiq", "worker", f"{self._module}:broker", *how)

    def with_scheduler(self, pool: int) -> None:
        """The scheduler's process first, then the worker in this one."""
        program = os.path.join(os.path.dirname(sys.executable), "taskiq")
        how = ("--log-level", "WARNING", "--update-interval", "1", "--loop-interval", "1")
        subprocess.Popen([program, "scheduler", f"{self._module}:scheduler", *how])
        self.worker(pool)

    def driver(self, *more: common.Setting) -> common.Driver:
        """The contender."""
        return common.Driver(
            packages=["taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"],
            runs_as="coroutines in one child process",
            has_bulk=False,
            settings=[
                common.Setting("--max-async-tasks", "the pool", "what is being compared"),
                common.Setting("--workers", "1", "one process, as the others"),
                common.Setting("--ack-type", "when_saved (default)", "acknowledged after the run, where the broker can"),
                common.Setting(
                    "SmartRetryMiddleware", "3 retries, jitter, schedule source", "without a middleware nothing is retried"
                ),
                common.Setting("result_ex_time", f"{RESULT_SECONDS} s", "results are kept for ever by default"),
                common.Setting(
                    "taskiq scheduler", "beside the worker, for delayed jobs only", "delays need a process of their own"
                ),
                common.Setting(
                    "--update-interval, --loop-interval", "1 s", "the least it takes; a new delay is seen once a minute else"
                ),
                common.Setting("--log-level", "WARNING", "its line a job would be what is measured"),
                *more,
            ],
            notes={"delayed": "whole seconds; worker and scheduler are two processes"},
            producer=self.producer,
            worker=self.worker,
            scheduler=self.with_scheduler,
        )
