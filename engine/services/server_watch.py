"""Server watch: looks whether the server still keeps what it kept when this worker started, and tells what puts jobs at risk.

Settings change while workers run: by hand, or because another server, or the same one with another file, answers after an outage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..clock import Clock
from ..events import Events, ServerUnsafe, StoreUp
from ..store.redis_store import RedisStore
from ..store.server import ServerInfo
from .base import Service

Judge = Callable[[ServerInfo], Iterable[tuple[str, str]]]
"""What puts jobs at risk, and what to do about it."""


class ServerWatch(Service):
    """One for the server of a queue. A look is a dozen short commands."""

    period = 300.0

    def __init__(
        self, store: RedisStore, queue: str, judge: Judge, info: ServerInfo | None, *, clock: Clock, events: Events
    ) -> None:
        """`info`: what is known from connecting, for the first look."""
        super().__init__(clock, events)
        self._store = store
        self._queue = queue
        self._judge = judge
        self._info = info
        self._known: set[str] = set()
        self._forget = events.subscribe(lambda event: self.wake(), StoreUp)

    async def run_once(self) -> int:
        """One look; tells each danger once, until it is over. Returns how many there are."""
        info, self._info = self._info or await self._store.server_info(self._queue), None
        dangers = {_without_figures(what): (what, mend) for what, mend in self._judge(info)}
        for kind, (what, mend) in dangers.items():
            if kind not in self._known:
                self._events.emit(ServerUnsafe(what=what, mend=mend, at_ms=self._clock.now_ms()))
        self._known = set(dangers)
        return len(dangers)

    def stop(self) -> None:
        """End after the pass that runs, and listen no more."""
        self._forget()
        super().stop()


def _without_figures(text: str) -> str:
    """The same sentence with another figure is no news.

    An address, which has a colon within, is none: the same danger of another server is news.

    >>> _without_figures("95% of its maxmemory is used")
    '% of its maxmemory is used'
    >>> _without_figures("replica 10.0.0.2:6379 is 5 bytes behind")
    'replica 10.0.0.2:6379 is  bytes behind'
    """
    return re.sub(r"(?<!\S)[^\s:]+(?!\S)", lambda word: re.sub(r"[\d,.]+", "", word[0]), text)
