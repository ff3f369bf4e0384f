"""Heartbeat: tells the store that this worker lives, what it runs and which names it knows."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence
from functools import partial

import msgspec

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import StoreError
from ..events import Events
from ..store.redis_store import RedisStore
from ..store.translate import is_damage
from .abreast import abreast
from .base import Service, trouble
from .holdings import Holdings

AT_ONCE = 8
"""Queues that are told side by side, and connections that takes."""

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
        self._damaged = set[str]()
        """Queues that can't be told, as was said."""

    async def begin(self, timeout: float) -> None:
        """The first beat, some queues at a time, each waited for up to `timeout` seconds; call before the pools claim. With a
        thousand queues, one after the other and within one time limit, no worker started whose server was 5 ms away. That
        a queue is damaged is left to the beats that follow to tell.

        Raises:
            StoreError: the server can't be used.
        """
        patient = self._store.link.patient
        first, _ = self._queues[0]
        self._started_at_ms = await patient(partial(self._store.now_ms, first.name), timeout=timeout)
        for start in range(0, len(self._queues), AT_ONCE):
            some = self._queues[start : start + AT_ONCE]
            await asyncio.gather(*(patient(partial(self._try, {}, *one), timeout=timeout) for one in some))

    async def run(self) -> None:
        """As every service; the first beat was made by `begin`, if that was called."""
        if self._started_at_ms:
            await self._pause()
        await super().run()

    async def run_once(self) -> int:
        """One beat for each queue, some side by side: those of a thousand queues would come too late one after the other. Returns
        how many heard it."""
        damaged = dict[str, StoreError]()
        if not self._started_at_ms:
            self._started_at_ms = await self._store.now_ms(self._queues[0][0].name)
        one_server = not self._store.link.is_cluster
        await abreast([partial(self._try, damaged, *one) for one in self._queues], AT_ONCE, one_server=one_server)
        for queue, why in damaged.items():
            if queue not in self._damaged:
                self._report(trouble(queue, why))
        self._damaged = set(damaged)
        return len(self._queues) - len(damaged)

    async def _try(self, damaged: dict[str, StoreError], spec: QueueSpec, slots: int) -> None:
        """A beat. That a queue is damaged is noted: the others must hear of us all the same."""
        try:
            await self._beat(spec, slots)
        except StoreError as error:
            if not is_damage(error):
                raise
            damaged[spec.name] = error

    async def _beat(self, spec: QueueSpec, slots: int) -> None:
        await self._store.heartbeat(spec.name, self._worker, self._description(spec, slots))

    def _description(self, spec: QueueSpec, slots: int) -> bytes:
        return _pack(
            {
                "host": platform.node(),
                "pid": os.getpid(),
                "started_at_ms": self._started_at_ms,
                "concurrency": slots,
                "lease_ms": spec.lease_ms,
                "names": sorted(spec.handlers),
                "held": len(self._holdings.of(spec.name)),
                "version": self._version,
            }
        )
