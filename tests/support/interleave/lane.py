"""Lane: a link of one connection for the search. It puts a queue's keys back on the way to a call, and can lose a reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import Clock
from engine.errors import StoreUnanswered
from engine.keys import prefix
from engine.store.base import text
from engine.store.door import Door
from engine.store.link import Link
from engine.store.producing import DROPPING
from engine.store.redis_store import RedisStore
from engine.store.scripts import names, script
from engine.store.wire import Wire
from engine.store.wires import Wires

COPY = """
local from, to = KEYS[1], KEYS[2]
for _, name in ipairs(redis.call('KEYS', to .. '*')) do redis.call('UNLINK', name) end
for _, name in ipairs(redis.call('KEYS', from .. '*')) do
  local suffix = string.sub(name, #from + 1)
  if suffix ~= 'events' then redis.call('COPY', name, to .. suffix) end
end
"""
"""COPY keeps groups, pending entries, their owners and since when. `events` only tells, and nothing reads it back."""


class Even(Clock):
    """A clock whose chance is always 0: ids follow each other without gaps, so equal paths give equal bytes."""

    def random(self) -> float:
        """No gap."""
        return 0.0


class Lane(Link):
    """Everything of one search goes through one connection, in turn."""

    def __init__(self, url: str) -> None:
        super().__init__(url, clock=Even())
        self.allowed.update((*names(), DROPPING))  # the rights of the test's own user are not asked for, call by call
        self.wire: Wire = _Way(self)
        self._wires[""] = wires = Wires(lambda: self.wire)
        assert wires.take() is self.wire, "so that closing the link drops it"
        self._copy = ""
        self._before: tuple[Any, ...] | None = None
        self.loses = 0
        """The reply to so manieth command from now is lost: it has taken effect and its caller is not told."""
        self.made = 0
        """Calls that have left."""

    async def begin(self) -> None:
        """Load what is sent by its digest."""
        self._copy = text(await self.wire.call("SCRIPT", "LOAD", COPY))
        for name in names():
            await self.wire.call("SCRIPT", "LOAD", script(name).text)

    def from_copy(self, source: str, target: str) -> None:
        """Before the next call, `target` becomes what `source` is now. Sent with the call: no round trip of its own."""
        self._before = ("EVALSHA", self._copy, 2, prefix(source), prefix(target))

    async def call(self, *args: Any, queue: str = "") -> Any:
        """One command."""
        return await self.wire.call(*args)

    async def run(self, name: str, queue: str, prefix: str, *args: Any) -> Any:
        """One script."""
        return await self.wire.run(name, prefix, *args)

    def take_before(self) -> tuple[Any, ...] | None:
        """What must precede the call that leaves now."""
        before, self._before = self._before, None
        return before


class _Way(Wire):
    """The lane's connection."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lambda: lane._address.dial(), "the server", Door(Even()), timeout=10.0, connect_timeout=10.0)
        self._lane = lane

    async def call(
        self,
        *args: Any,
        timeout: float | None = None,
        first: tuple[Any, ...] | None = None,
        said: list[Any] | None = None,
        hear: Callable[[Any], None] | None = None,
    ) -> Any:
        """With what must precede it; its reply may be lost."""
        self._lane.made += 1
        before = self._lane.take_before()
        if before is not None and first is not None:
            await super().call(*before)
        elif before is not None:
            first, said = before, []
        reply = await super().call(*args, timeout=timeout, first=first, said=said, hear=hear)
        if before is not None and said and isinstance(said[0], Exception):
            raise said[0]
        if self._lane.loses:
            self._lane.loses -= 1
            if not self._lane.loses:
                raise StoreUnanswered("the reply was lost")
        return reply


def open_lane(url: str, now_ms: list[int]) -> tuple[Lane, RedisStore]:
    """A store over a lane; `now_ms[0]` is the server's clock."""
    lane = Lane(url)
    return lane, RedisStore(lane, Even(), test_now_ms=lambda: now_ms[0])
