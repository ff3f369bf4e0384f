"""The application whose handlers only return: `engine --app bench.noop:engine run` drains queue `drain`.

Its queues come from the environment, so that a worker may serve a thousand: BENCH_QUEUES (1), BENCH_CONCURRENCY (5).
"""

from __future__ import annotations

import os

import msgspec

from engine import Engine, Job


class Payload(msgspec.Struct, frozen=True):
    """About 300 bytes, as an inbound message has."""

    conversation_id: str
    content: str = "x" * 240


def queue_names(count: int) -> list[str]:
    """`drain`, then `drain-1`, `drain-2` and so on."""
    return ["drain", *(f"drain-{number}" for number in range(1, count))]


def build(queues: int = 1, concurrency: int = 5) -> Engine:
    """An engine with so many queues; each has the handlers `noop` and `keyed`, the latter ordered by conversation."""
    made = Engine()
    for name in queue_names(queues):
        queue = made.queue(name, concurrency=concurrency, keep_completed=1000)

        @queue.handler("noop")
        async def noop(payload: Payload, job: Job) -> None:
            return None

        @queue.handler("keyed", ordering_key="conversation_id")
        async def keyed(payload: Payload, job: Job) -> None:
            return None

    return made


engine = build(int(os.environ.get("BENCH_QUEUES", "1")), int(os.environ.get("BENCH_CONCURRENCY", "5")))
