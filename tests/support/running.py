"""Running: a worker in this process for the length of a `with`, and waiting for facts that no event tells of.

A fact that this process emits is awaited with the Recorder. Facts of the store and of other processes are asked for until they
hold: `until` inside an event loop, `eventually` outside of one.
"""

from __future__ import annotations

import asyncio
import time
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


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout: float = 10.0, *, every: float = 0.01) -> T:
    """Ask until the answer holds; AssertionError with the last answer after `timeout` seconds. `every` is the pause in seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert loop.time() < deadline, f"still {answer!r} after {timeout} s"
        await asyncio.sleep(every)


def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Ask until the condition holds; AssertionError with `what` was waited for after `timeout` seconds."""
    deadline_mono = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline_mono, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)
