"""Us, through the public face only and with default settings; the worker is `engine run --app`, as a user starts it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from bench.peers.drivers import common
from engine import Engine, Handler, Job

app = Engine()
queue = app.queue("bench", concurrency=common.pool_size())


class Message(msgspec.Struct, frozen=True):
    """The payload, typed, as our users declare it."""

    seq: int
    due_ns: int
    hold_ms: int
    conversation_id: str
    message_id: str
    type: str
    content: str


@queue.handler("message")
async def message(payload: Message, job: Job) -> None:
    """The job."""
    await common.handle({"seq": payload.seq, "due_ns": payload.due_ns, "hold_ms": payload.hold_ms})


@queue.handler("in-order", ordering_key="conversation_id")
async def in_order(payload: Message, job: Job) -> None:
    """The same job, behind the earlier ones of its conversation."""
    await common.handle({"seq": payload.seq, "due_ns": payload.due_ns, "hold_ms": payload.hold_ms})


@dataclass(frozen=True)
class Producer:
    """Typed payloads through the handler, so that they are checked as for every user."""

    handler: Handler[Message, None]

    async def send(self, job: common.Payload, delay_s: float) -> None:
        """One awaited call."""
        await self.handler.enqueue(Message(**job), delay=max(delay_s, 0.0))

    async def send_many(self, jobs: Sequence[common.Payload]) -> None:
        """`enqueue_many` cuts them into calls of its own size."""
        await self.handler.enqueue_many([Message(**job) for job in jobs])


@asynccontextmanager
async def producer() -> AsyncIterator[Producer]:
    """An entered engine."""
    async with app:
        yield Producer(message)


@asynccontextmanager
async def keyed() -> AsyncIterator[Producer]:
    """The same, in the order of each conversation."""
    async with app:
        yield Producer(in_order)


def worker(pool: int) -> None:
    """The command line's worker."""
    common.become("engine", "run", "--app", "bench.peers.drivers.engine:app")


DRIVER = common.Driver(
    packages=["redis-job-engine", "redis", "hiredis", "uvloop", "msgspec"],
    runs_as="coroutines in one process",
    settings=[
        common.Setting(
            "ordering_key", "conversation_id, in drain-keys alone", "a handler beside the plain one, declared as users do"
        ),
        common.Setting("concurrency", "the pool", "what is being compared"),
        common.Setting(
            "all else", "defaults", "attempts 3, lease 10 s, 1,000 completed jobs kept for a day, dead ones for 7 days"
        ),
    ],
    producer=producer,
    keyed=keyed,
    worker=worker,
)
