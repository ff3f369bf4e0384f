"""Recorder: keeps every event of a hub, so a test waits for a fact instead of for a time.

`await recorder.next(JobStarted, name="send")` returns the first such event that no earlier `next` returned, whether it
has happened already or is still to come. Events from other threads are fine.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

from engine.events import Event, Events

E = TypeVar("E", bound=Event)


class Recorder:
    """Use as a context manager, or call `close()`; one recorder belongs to one event loop."""

    def __init__(self, hub: Events) -> None:
        self._events: list[Event] = []
        self._taken: set[int] = set()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.close = hub.subscribe(self._record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder {[event.kind for event in self._events]}>"

    def all(self, kind: type[E]) -> list[E]:
        """Every event of that kind so far, oldest first, whether `next` returned it or not."""
        return [event for event in self._events if isinstance(event, kind)]

    async def next(self, kind: type[E], timeout: float = 5, **fields: Any) -> E:
        """The next event of that kind with these field values; AssertionError, with what came instead, after `timeout` s."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                while (event := self._take(kind, fields)) is None:
                    rung: asyncio.Future[None] = loop.create_future()
                    self._waiting.append((loop, rung))
                    if (event := self._take(kind, fields)) is not None:  # came from another thread since the look above
                        return event
                    await rung
                return event
        except TimeoutError:
            wanted = "".join(f", {name}={value!r}" for name, value in fields.items())
            seen = "\n  ".join(repr(event) for event in self._events[-20:]) or "nothing"
            raise AssertionError(f"no {kind.__name__}{wanted} within {timeout} s; the last events were:\n  {seen}") from None

    def _take(self, kind: type[E], fields: dict[str, Any]) -> E | None:
        for index, event in enumerate(self._events):
            if index in self._taken or not isinstance(event, kind):
                continue
            if all(getattr(event, name) == value for name, value in fields.items()):
                self._taken.add(index)
                return event
        return None

    def _record(self, event: Event) -> None:
        self._events.append(event)
        waiting, self._waiting = self._waiting, []
        for loop, rung in waiting:
            loop.call_soon_threadsafe(_ring, rung)


def _ring(rung: asyncio.Future[None]) -> None:
    if not rung.done():
        rung.set_result(None)
