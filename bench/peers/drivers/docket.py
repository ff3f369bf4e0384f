"""docket (`pydocket`): Redis Streams and scripts. The worker is the `docket worker` command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket, ExponentialRetry

from bench.peers.drivers import common

RETRY: Any = ExponentialRetry(attempts=3, minimum_delay=timedelta(seconds=1), maximum_delay=timedelta(seconds=60))


async def message(job: common.Payload, retry: Any = RETRY) -> None:
    """The job."""
    await common.handle(job)


tasks = [message]


CONNECTIONS = 500
"""The client's own bound of 100 makes a worker of 100 slots, or a burst of enqueues, fail with MaxConnectionsError."""


def url() -> str:
    """The server's address, with room in the pool."""
    return f"{common.redis_url()}?max_connections={CONNECTIONS}"


class Producer:
    """`docket.add`."""

    def __init__(self, docket: Any) -> None:
        self._docket = docket

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One job."""
        when = datetime.fromtimestamp(-(-job["due_ns"] // 1000) / 1e6, tz=UTC) if delay_s > 0 else None
        await self._docket.add(message, when=when)(job)

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """docket has none: `Agenda.scatter` is single calls in a row."""
        raise RuntimeError("the library has no bulk call, and the driver says so: has_bulk=False")


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """A connected docket."""
    async with Docket(name="bench", url=url()) as docket:
        docket.register(message)
        yield Producer(docket)


def worker(pool: int) -> None:
    """The library's command."""
    where = ("--docket", "bench", "--url", url(), "--tasks", "bench.peers.drivers.docket:tasks")
    common.become("docket", "worker", *where, "--concurrency", str(pool), "--logging-level", "WARNING")


DRIVER = common.Driver(
    packages=["pydocket", "redis", "hiredis", "uvloop"],
    runs_as="coroutines in one process",
    has_bulk=False,
    settings=[
        common.Setting("--concurrency", "the pool", "what is being compared"),
        common.Setting("retry", "ExponentialRetry, 3 attempts", "without it a failed job is not retried"),
        common.Setting(
            "max_connections", f"{CONNECTIONS}", "with the client's 100 a pool of 100 stands still after its first batch"
        ),
        common.Setting("execution_ttl", "15 min (default)", "the history its users have"),
        common.Setting(
            "--minimum-check-interval",
            "100 ms (default)",
            "how its users run it; with all slots taken it looks again after that, which bounds what a small pool gets through",
        ),
        common.Setting("--redelivery-timeout", "5 min (default)", "decides how soon a lost job comes back"),
        common.Setting("--logging-level", "WARNING", "its lines a job would be what is measured"),
    ],
    producer=producer,
    worker=worker,
)
