"""Base of the store's rooms: runs scripts with the two arguments all of them share.

`work.py` has what workers do, `producing.py` enqueue, `acts.py` what operators do, `reads.py` what anybody may look at;
`RedisStore` (redis_store.py) is all of them over one `Link`. Every verb is idempotent or reads, so `Link.patient` may repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..clock import Clock
from ..errors import StoreDenied
from ..keys import prefix
from .link import Link
from .needs import called_by, samples


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
        if script not in self.link.allowed:
            await self._check_rights(script, queue)
        return await self.link.run(script, queue, prefix(queue), *self._common(), *args)

    async def _check_rights(self, script: str, queue: str) -> None:
        """Before a script's first call: may our user call all that it calls? Refused in its midst, it would leave half of a
        change, for there is no rollback. Raises StoreDenied."""
        refused = await self.refused(queue, samples(called_by(script)))
        if refused:
            raise denied(self.link.where, refused, f"`{script}` needs: nothing was done")
        self.link.allowed.add(script)

    async def refused(self, queue: str, wanted: Mapping[str, str]) -> list[str]:
        """Those of the wanted commands that our user may not call. Redis: lua/rights.lua."""
        refused = await self._run("rights", queue, *wanted)
        return [wanted[text(one)] for one in refused]


def denied(where: str, commands: Sequence[str], for_what: str) -> StoreDenied:
    """The error for rights that our user lacks."""
    sentence = f"{where} refuses our user {', '.join(commands)}, which {for_what}"
    return StoreDenied(f"{sentence}. `engine doctor --acl worker` prints the rights to give", code="NOPERM")


def text(value: Any) -> str:
    """A reply's bytes as text; what is no UTF-8 is shown, not raised."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def number(row: bytes | None) -> int:
    """The call number that a row of `meta` begins with; 0 where there is none, or something else than ours."""
    digits = (row or b"").partition(b"|")[0]
    return int(digits) if digits.isdigit() and len(digits) <= 18 else 0
