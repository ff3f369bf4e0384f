"""Dev: worker and sample traffic in one process and one loop, for trying an application out on one machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from ..app import Engine
from ..fleet import run
from ..worker import Worker
from .common import ExitCode, Globals, say

SampleTraffic = Callable[[Engine, asyncio.Event], AsyncIterator[object] | Awaitable[object]]
"""`sample_traffic` of an application's module: enqueues what real use would, until the event is set."""


def everything(app: Engine, concurrency: int | None, *, with_traffic: bool, lasting: float | None = None) -> ExitCode:
    """Run a worker for all queues, and the sample traffic if asked for and there is any, until SIGTERM or Ctrl-C, or for
    `lasting` seconds."""
    sample = _sample_traffic(app) if with_traffic else None
    if with_traffic and sample is None:
        say("engine: this application has no sample_traffic(engine, stop); enqueue from another terminal: engine enqueue ...")
    return ExitCode.DONE if run(_dev(app, concurrency, sample, lasting)) else ExitCode.FAILURE


def _sample_traffic(app: Engine) -> SampleTraffic | None:
    """What the application's module offers as sample traffic."""
    module = sys.modules[(Globals.app or app.settings.app).partition(":")[0]]
    return getattr(module, "sample_traffic", None)


async def _dev(app: Engine, concurrency: int | None, sample: SampleTraffic | None, lasting: float | None) -> bool:
    """Worker and traffic in one loop; True when everything drained."""
    worker, stop = Worker(app, concurrency=concurrency), asyncio.Event()

    def leave() -> None:
        stop.set()
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    async with app:
        say(f"engine: {len(app.queues)} queues on the embedded server in {app.settings.data_dir}; Ctrl-C drains and leaves")
        say(f"engine: look closer from a second terminal in this directory: {_command()} stats, jobs, failures, job ID, tail")
        if lasting is not None:
            asyncio.get_running_loop().call_later(lasting, leave)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(app, sample, stop), name="sample traffic") if sample else None
            drained = await worker.run()
            if feeding is not None:
                feeding.cancel()
    return drained


def _command() -> str:
    """How this command line was called, as it can be typed again."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{sys.executable} -m engine"
    try:
        return str(called.relative_to(Path.cwd()))
    except ValueError:
        return str(called)


async def _feed(app: Engine, sample: SampleTraffic, stop: asyncio.Event) -> None:
    """Run the sample traffic; when it fails, say so and let the worker go on."""
    try:
        traffic = sample(app, stop)
        if isinstance(traffic, AsyncIterator):
            async for _ in traffic:
                if stop.is_set():
                    return
        else:
            await traffic
    except Exception as error:  # noqa: BLE001  the application's own code: its mistake must not end the worker
        say(f"engine: the sample traffic ended: {type(error).__name__}: {error}")
