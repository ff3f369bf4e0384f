"""The application as it is (`handlers:engine`), with its handlers watched: `engine run --app bench.targets.watched:engine`.

Each handler counts how many of its queue run beside it, and notes its beginning and end; the engine's own event says when the
server had the end recorded. Written to the file that BENCH_NOTES names when the worker leaves.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from engine import Engine, Job
from engine.events import JobCompleted
from handlers import engine

from .notes import Ran, WorkerNotes, write
from .seam import ScriptTimes

__all__ = ["engine", "watch"]


class Watch:
    """What the handlers of one worker did."""

    def __init__(self, app: Engine) -> None:
        self._clock = app.clock
        self._running: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._begun: dict[str, tuple[str, float, float]] = {}
        self._ran: list[Ran] = []
        app.events.subscribe(self._settled, JobCompleted)

    def around(self, queue: str, name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The same handler, watched."""

        async def watched(payload: Any, *, job: Job, **resources: Any) -> Any:
            running = self._running[queue] = self._running.get(queue, 0) + 1
            self._most[queue] = max(self._most.get(queue, 0), running)
            started = self._clock.mono()
            try:
                return await fn(payload, job=job, **resources)
            finally:
                self._running[queue] -= 1
                self._begun[job.id] = (name, started, self._clock.mono())

        return watched

    def notes(self, scripts: dict[str, list[float]]) -> WorkerNotes:
        """All of it."""
        return WorkerNotes(self._ran, self._most, scripts)

    def _settled(self, event: JobCompleted) -> None:
        name, started, ended = self._begun.pop(event.id)
        self._ran.append(Ran(event.id, name, started, ended, self._clock.mono()))


def watch(app: Engine, place: Path) -> None:
    """Watch every handler of an application whose handlers are coroutines that take their job, as ours all do."""
    seen = Watch(app)
    for queue in app.queues.values():
        for handler in queue.handlers.values():
            handler.fn = seen.around(queue.name, handler.name, handler.fn)

    @app.lifespan
    async def keep() -> AsyncIterator[None]:
        with ScriptTimes(app.clock) as scripts:
            yield
        write(place, seen.notes(scripts.found))


if "BENCH_NOTES" in os.environ:
    watch(engine, Path(os.environ["BENCH_NOTES"]))
