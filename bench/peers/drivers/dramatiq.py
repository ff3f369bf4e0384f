"""dramatiq on Redis: lists, hashes and one dispatching script; threads. The worker is the `dramatiq` command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.drivers import common

broker: Any = RedisBroker(url=common.redis_url())
dramatiq.set_broker(broker)


def _message(job: common.Payload) -> None:
    common.handle_sync(job)


message: Any = dramatiq.actor(_message, actor_name="message")


class Producer:
    """`actor.send`, a blocking call."""

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job; delays are whole milliseconds, rounded up."""
        if delay_s > 0:
            message.send_with_options(args=(job,), delay=int(delay_s * 1000) + 1)
        else:
            message.send(job)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """dramatiq's `group` is single calls in a row."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """The broker connects by itself."""
    yield Producer()
    broker.close()


def worker(pool: int) -> None:
    """The library's command."""
    common.become("dramatiq", "bench.peers.drivers.dramatiq:broker", "--processes", "1", "--threads", str(pool))


DRIVER = common.Driver(
    packages=["dramatiq", "redis", "hiredis"],
    runs_as="threads in one child process",
    has_bulk=False,
    is_blocking=True,
    settings=[
        common.Setting("--threads", "the pool", "what is being compared"),
        common.Setting("--processes", "1", "one process, as the others"),
        common.Setting("max_retries", "20 (default)", "retries are on by default"),
        common.Setting(
            "results", "none (default)", "its users keep no history of what went well: less work than the others here do"
        ),
        common.Setting("heartbeat_timeout, maintenance_chance", "60 s, 0.1 % (defaults)", "decide when a lost job comes back"),
    ],
    notes={"delayed": "its workers fetch delayed jobs at once and hold them in memory"},
    producer=producer,
    worker=worker,
)
