"""Seam: times each script call where the client makes it, from the request to the parsed reply.

`Wire.run` is the one way by which a script is called; it is wrapped for the length of a `with`. What a client sees has its
own event loop's business in it: a busy worker's numbers are its own doing as much as the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from engine import Clock
from engine.store.wire import Wire


class ScriptTimes:
    """Script -> seconds of each call, for as long as it is entered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._plain: Callable[..., Any] | None = None
        self.found: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        plain = self._plain = Wire.run

        async def timed(wire: Wire, name: str, prefix: str, *args: Any) -> Any:
            began = self._clock.mono()
            try:
                return await plain(wire, name, prefix, *args)
            finally:
                self.found.setdefault(name, []).append(self._clock.mono() - began)

        Wire.run = timed  # type: ignore[method-assign, assignment]  # the seam: no other place sees every script call
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        Wire.run = self._plain  # type: ignore[method-assign, assignment]  # back to what it was
