"""Bell: hears what happens to this process's queues, so that idle pools need not ask.

Waits with `XREAD BLOCK` on the one-entry `bell` (something became runnable) and the short `control` stream (a running job was
cancelled) of each queue, never on the work itself: a blocked XREADGROUP would hand out jobs past pause, limits and order.
It reads on from the last id it saw, so a ring between two reads is not missed. The reader may be cancelled at any time: what it
reads is no work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from ..clock import Clock
from ..errors import StoreError
from ..events import Events
from ..keys import prefix
from ..store.base import text
from ..store.redis_store import RedisStore
from ..store.replies import pairs
from ..store.translate import is_damage
from .base import Service, trouble
from .outage import Outage

BLOCK_SECONDS, MARGIN = 5.0, 2.0
"""Longest wait in one call, and seconds more until the client takes the connection for dead, or the server's clock for set
back: then its BLOCK may not end for as long (seen: 15 s and more)."""

AGAIN_SECONDS, DEAF_SECONDS = 1.0, 60.0
"""Until the streams are looked at after one of them was none, and until one that is none is looked at again."""


class Bell(Service):
    """One reader for all queues of the process that live on one server."""

    period = 0.0

    def __init__(
        self,
        store: RedisStore,
        queues: Sequence[str],
        *,
        clock: Clock,
        events: Events,
        outage: Outage,
        on_ring: Callable[[str], None],
        on_cancel: Callable[[str, str], None],
    ) -> None:
        super().__init__(clock, events)
        self._store = store
        self._queues = list(queues)
        self._outage = outage
        self._on_ring = on_ring
        self._on_cancel = on_cancel
        self._wire = store.link.new_wire(self._queues[0], BLOCK_SECONDS)
        self._sources = {
            f"{prefix(queue)}{name}".encode(): (queue, name == "bell") for queue in self._queues for name in ("bell", "control")
        }
        """Key -> its queue, and whether it is the bell or the control stream."""
        self._seen: dict[bytes, bytes] = {}
        """Key -> id of the last sound heard there."""
        self._deaf = set[str]()
        """Queues that can't be heard, as was told."""
        self._begun_mono = 0.0
        self._tries = 0
        self._patience: asyncio.Future[None] | None = None

    async def begin(self, wait: float | None = None) -> None:
        """Remember where the streams end now; call before the pools look for the first time. A queue whose streams are none is
        left out, and told: its pool looks by itself (`rest`), and the others are heard. `wait`: seconds to be patient with each
        queue; None: each is asked for once."""
        deaf = set[str]()
        for queue in self._queues:
            if f"{prefix(queue)}bell".encode() in self._seen:
                continue
            ask = partial(self._store.last_ids, queue)
            try:
                last_ids = await (ask() if wait is None else self._store.link.patient(ask, timeout=wait))
            except StoreError as error:
                if not is_damage(error):
                    raise
                deaf.add(queue)
                if queue not in self._deaf:
                    self._report(trouble(queue, error))
                continue
            for name, last in last_ids.items():
                self._seen[f"{prefix(queue)}{name}".encode()] = last.encode()
        self._deaf = deaf
        self._begun_mono = self._clock.mono()

    async def run_once(self) -> int:
        """Wait for the next sound; returns how many were heard (0 when none came in time)."""
        try:
            if not self._seen or (self._deaf and self._clock.mono() - self._begun_mono > DEAF_SECONDS):
                await self.begin()
                self._look_everywhere()  # what was rung before this beginning is not heard
            if not self._seen:
                await self._wait_out(self._clock.sleep(DEAF_SECONDS))
                return 0
            read = ("XREAD", "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", *self._seen, *self._seen.values())
            reply = await self._wire.call(*read, timeout=BLOCK_SECONDS + MARGIN, hear=self._hear)
        except StoreError as error:
            if self._stopping:
                return 0  # `close` has cut the read off
            self._tries += 1
            if is_damage(error):  # of one queue: no outage, and the next beginning finds out which
                self._seen.clear()
                await self._wait_out(self._clock.sleep(AGAIN_SECONDS))
                return 0
            await self._wait_out(self._outage.wait(error, self._tries))
            if self._tries > 1:  # what was rung meanwhile may be gone (another server, a flush): start anew
                self._seen.clear()
            return 0
        if self._tries:
            self._look_everywhere()  # a server that answers again at once may have lost its last ring all the same
        self._tries = 0
        heard = 0
        for key, entries in (reply or {}).items():
            heard += len(entries)
            self._seen[key] = entries[-1][0]
            queue, is_bell = self._sources[key]
            for _, fields in entries if not is_bell else ():
                if (job_id := pairs(fields).get("id")) is not None:
                    self._on_cancel(queue, text(job_id))
        return heard

    def _hear(self, reply: Any) -> None:
        """Rings are passed on at once: a job waits for them. What else there is to do about them comes after."""
        for key in reply or ():
            queue, is_bell = self._sources[key]
            if is_bell:
                self._on_ring(queue)

    async def _wait_out(self, end: Coroutine[Any, Any, None]) -> None:
        """As long as that takes, or until closed."""
        self._patience = patience = asyncio.ensure_future(end)
        try:
            await asyncio.wait({patience})
        finally:
            patience.cancel()

    def _look_everywhere(self) -> None:
        for queue in self._queues:
            self._on_ring(queue)

    def next_wait(self) -> float:
        """None: the waiting is in the read."""
        return 0.0

    async def _pause(self) -> None:
        await self._clock.sleep(0)

    async def close(self) -> None:
        """End the read that may be under way, or the pause after one that failed."""
        self.stop()
        if self._patience is not None:
            self._patience.cancel()
        await self._wire.drop()
