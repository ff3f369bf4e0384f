"""Base of the store's rooms: runs scripts with the two arguments all of them share.

`work.py` has what workers do, `producing.py` enqueue, `acts.py` what operators do, `reads.py` what anybody may look at;
`RedisStore` (redis_store.py) is all of them over one `Link`. Every verb is idempotent or reads, so `Link.patient` may repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..clock import Clock
from ..keys import prefix
from .link import Link


class Verbs:
    """Shared footing: the link, a source of random gaps, and the time tests may choose."""

    def __init__(self, link: Link, clock: Clock, *, test_now_ms: Callable[[], int] | None = None) -> None:
        self.link = link
        self._clock = clock
        self._test_now_ms = test_now_ms

    def _common(self) -> tuple[int, int]:
        """ARGV[1] and ARGV[2] of every script: a random gap for ids, and now_ms (0: the server's own clock)."""
        now = 0 if self._test_now_ms is None else self._test_now_ms()
        return int(self._clock.random() * 1_048_576), now

    async def _run(self, script: str, queue: str, *args: Any) -> Any:
        return await self.link.run(script, queue, prefix(queue), *self._common(), *args)


def text(value: Any) -> str:
    """A reply's bytes as text; what is no UTF-8 is shown, not raised."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
