"""Nodes: which server of a cluster has a queue's slot. Asked for once, and again after a call that failed there.

So the calls of all queues on a node share its connections: what a process opens is bounded by server, however many queues it has.
"""

from __future__ import annotations

import asyncio
import copy

import redis.exceptions as rx
from redis.crc import key_slot

from ..clock import Clock
from ..keys import prefix, registry
from .address import Address, Range
from .door import Door, ShutOut
from .translate import translate


class Nodes:
    """`of` a queue when it is known, else `find` it; `forget` what may have changed."""

    def __init__(self, address: Address, where: str, *, clock: Clock, timeout: float) -> None:
        """`timeout`: seconds that asking the cluster may take."""
        self._address = address
        self._where = where
        self._timeout = timeout
        self._door = Door(clock)
        self._ranges: list[Range] = []
        self._known: dict[str, str] = {}
        self.forget()

    def __repr__(self) -> str:
        return f"<Nodes {self._where} {'known' if self._ranges else 'to be asked'}>"

    def of(self, queue: str) -> str | None:
        """The node that had the queue's slot when last asked, `host:port`; None: `find` it."""
        known = self._known.get(queue)
        if known is None and self._ranges:
            slot = slot_of(queue)
            known = next((node for first, last, node in self._ranges if first <= slot <= last), None)
            if known is not None:
                self._known[queue] = known
        return known

    async def find(self, queue: str) -> str:
        """The same, and ask the cluster if need be: one caller for all that want to know.

        Raises:
            StoreError: no node answers, or none has the slot now. Nothing was sent for the queue.
        """
        try:
            async with self._door.knock():
                known = self.of(queue)
                if known is None:
                    self._ranges = await self._ask(queue)
                    known = self.of(queue)
        except ShutOut as shut:
            raise copy.copy(shut.cause) from None
        assert known is not None, "_ask answers only what has the slot"
        return known

    def forget(self) -> None:
        """A call failed at a node, or was refused by one that is not the right one any more: slots may have moved."""
        self._ranges = []
        self._known.clear()
        self._door.doubt(self._door.round)

    async def _ask(self, queue: str) -> list[Range]:
        slot = slot_of(queue)
        try:
            async with asyncio.timeout(self._timeout):
                ranges = await self._address.ranges()
            if not any(first <= slot <= last for first, last, _ in ranges):
                raise rx.ConnectionError(f"no node of the cluster has slot {slot} now")
        except (rx.RedisError, OSError, TimeoutError) as error:
            raise translate(error, sent=False, where=self._where) from error
        return ranges


def slot_of(queue: str) -> int:
    """The slot of all keys of a queue; without one, of the list of all queues."""
    return key_slot((prefix(queue) if queue else registry()).encode())
