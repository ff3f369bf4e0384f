"""Heartbeat: tells the store that this worker lives, what it runs and which names it knows."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import msgspec

from ..clock import Clock
from ..declared import QueueSpec
from ..events import Events
from ..store.redis_store import RedisStore
from .base import Service
from .holdings import Holdings

_pack = msgspec.msgpack.Encoder().encode


class Heartbeat(Service):
    """One for all queues of the process. A worker silent for 15 s counts as gone, so three beats may be missed."""

    period = 4.0

    def __init__(
        self,
        queues: Sequence[tuple[QueueSpec, int]],
        store: RedisStore,
        *,
        worker: str,
        version: str,
        holdings: Holdings,
        clock: Clock,
        events: Events,
    ) -> None:
        super().__init__(clock, events)
        self._queues = queues
        self._store = store
        self._worker = worker
        self._version = version
        self._holdings = holdings
        self._started_at_ms = 0

    async def run_once(self) -> int:
        """One beat for each queue; returns how many."""
        for spec, slots in self._queues:
            if not self._started_at_ms:
                self._started_at_ms = await self._store.now_ms(spec.name)
            await self._store.heartbeat(spec.name, self._worker, self._description(spec, slots))
        return len(self._queues)

    def _description(self, spec: QueueSpec, slots: int) -> bytes:
        return _pack(
            {
                "host": platform.node(),
                "pid": os.getpid(),
                "started_at_ms": self._started_at_ms,
                "concurrency": slots,
                "names": sorted(spec.handlers),
                "held": len(self._holdings.of(spec.name)),
                "version": self._version,
            }
        )
