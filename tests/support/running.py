"""Running: a worker in this process for the length of a `with`, and waiting for facts in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from engine import Engine
from engine.worker import Worker

T = TypeVar("T")


@asynccontextmanager
async def running(engine: Engine, **options: Any) -> AsyncIterator[Worker]:
    """A worker that runs inside the block and has drained when the block is left."""
    worker = Worker(engine, **options)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout: float = 10.0) -> T:
    """Ask until the answer holds; AssertionError with the last answer after `timeout` seconds. For facts that only the store
    knows; a fact that this process emits is awaited with the Recorder."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert loop.time() < deadline, f"still {answer!r} after {timeout} s"
        await asyncio.sleep(0.01)
