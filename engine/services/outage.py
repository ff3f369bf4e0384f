"""Outage: how a worker lives through a server that is away. One a process; it tells once, and lets each caller wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..clock import Clock
from ..errors import EngineError, StoreError, StoreRefused, StoreUnreachable
from ..events import Events, StoreDown, StoreUp
from ..masking import mask_text
from ..store.patience import FIRST_PAUSE, is_rare, pause


class Outage:
    """From the first failed call to the first that succeeds."""

    def __init__(self, clock: Clock, events: Events, revive: Callable[[], Awaitable[None]] | None = None) -> None:
        """`revive` brings our own embedded server back when it has died; None for a server that is somebody else's."""
        self._clock = clock
        self._events = events
        self._revive = revive
        self._server = ""
        self._changed = False
        self._since: float | None = None
        self._told: set[str] = set()
        self._told_why = False

    def __repr__(self) -> str:
        return f"<Outage {'none' if self._since is None else f'{self._clock.mono() - self._since:.1f} s'}>"

    @property
    def is_on(self) -> bool:
        """True while calls fail."""
        return self._since is not None

    async def wait(self, error: StoreError, tries: int) -> None:
        """A call failed for the `tries`-th time (from 1): tell once, then wait as long as is right (`patience`). A first failure
        is told only when asking again can't help: a connection that the server closed while idle is no outage."""
        if self._since is None:
            self._since = self._clock.mono()
        if tries > 1 or is_rare(error):
            self._tell(error)
        seconds = pause(tries, error, self._clock.random())
        if tries > 1 and self._revive is not None and isinstance(error, StoreUnreachable):
            try:
                await self._revive()
                seconds = FIRST_PAUSE
            except EngineError as reason:
                if not self._told_why:
                    self._told_why = True
                    self._events.emit(StoreDown(error=mask_text(str(reason)), at_ms=self._clock.now_ms()))
        if seconds > 0:
            await self._clock.sleep(seconds)

    def _tell(self, error: StoreError) -> None:
        """Once; and again when it turns out that somebody must mend something (a server that came back with another password)."""
        cause = error.code if isinstance(error, StoreRefused) and is_rare(error) else ""
        if cause not in self._told and (cause or not self._told):
            self._told.add(cause)
            self._events.emit(StoreDown(error=mask_text(str(error)), at_ms=self._clock.now_ms()))

    def met(self, server: str) -> None:
        """This server process (its run id) answers; at the start, and after trouble."""
        self._changed = self._changed or self._server not in ("", server)
        self._server = server

    def over(self) -> None:
        """A call succeeded."""
        if self._since is None:
            return
        same_server, self._changed = not self._changed, False
        if self._told:
            away = self._clock.mono() - self._since
            self._events.emit(StoreUp(seconds_away=away, same_server=same_server, at_ms=self._clock.now_ms()))
        self._since, self._told, self._told_why = None, set(), False
