"""Doubt: is what waits here for a slot still ours? Asked where, by our own clock, its lease may have run out.

The keeper renews what is held, but a process that stood still renewed nothing, and jobs in an answer that nobody has read yet,
since a handler blocks the loop, are not held. Others may run them by now: to start them too would do their work twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from ..clock import Clock
from ..declared import QueueSpec
from ..store.claim import Claim, Phase
from ..store.redis_store import RedisStore


class Doubt:
    """Of one pool. `held` is what it holds; `on_lost` is told the claims that are not ours any more, `on_asked` those that
    somebody asked to cancel: while nothing was renewed, nobody here may have heard of that."""

    def __init__(
        self,
        spec: QueueSpec,
        store: RedisStore,
        *,
        worker: str,
        clock: Clock,
        held: Mapping[str, Claim],
        on_lost: Callable[[list[Claim]], None],
        on_asked: Callable[[list[Claim]], None],
    ) -> None:
        self._queue = spec.name
        self._lease = spec.lease_ms / 1000
        self._store = store
        self._worker = worker
        self._clock = clock
        self._held = held
        self._on_lost = on_lost
        self._on_asked = on_asked
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Doubt {self._queue} {'asking' if self._asking.locked() else 'none'}>"

    def about(self, claim: Claim) -> bool:
        """True when its lease may have run out: it was granted or renewed longer ago than a lease."""
        return self._clock.mono() - claim.renewed_mono > self._lease

    async def clear(self, claim: Claim) -> None:
        """Renew all that waits, in one call; afterwards the claim is ours, or told that it is lost. Waits for a server that is
        away. A StoreError is one that does not pass by itself."""
        async with self._asking:  # other slots with a doubt of the same moment find theirs cleared
            while claim.told != "lost" and self.about(claim):
                waiting = [one for one in self._held.values() if one.phase is Phase.AHEAD]
                sent_mono, lost, asked = await self._store.link.patient(partial(self._renew, waiting), timeout=None)
                for one in waiting:
                    one.renewed_mono = max(one.renewed_mono, sent_mono)
                self._on_lost([one for one in waiting if one.entry in lost])
                self._on_asked([one for one in waiting if one.id in asked])

    async def _renew(self, claims: list[Claim]) -> tuple[float, set[str], set[str]]:
        sent_mono = self._clock.mono()
        lost, asked = await self._store.renew(self._queue, self._worker, claims)
        return sent_mono, set(lost), set(asked)
