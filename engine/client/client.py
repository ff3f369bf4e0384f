"""The client itself: looking, acting, repairing and checking up in one, and enqueueing by name through whoever produces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import EngineClosed
from ..options import NOTHING_SAID, EnqueueOptions
from ..store.redis_store import RedisStore
from .bulk import Bulk
from .checkup import Checkup


class Handle(Protocol):
    """What an enqueue answers with."""

    @property
    def id(self) -> str:
        """The job's full id; of a duplicate, the first job's."""

    @property
    def duplicate(self) -> bool:
        """True when a job with the same dedup key was there already."""


class Producer(Protocol):
    """Who enqueues for the client: the engine, which knows how its queues are declared."""

    async def enqueue(self, queue: str, name: str, payload: object, options: EnqueueOptions) -> Handle:
        """Add one job. Errors as `Engine.enqueue`."""

    async def enqueue_many(self, queue: str, name: str, payloads: Sequence[object], options: EnqueueOptions) -> Sequence[Handle]:
        """Add many jobs with equal options; one handle each, in order."""


class Client(Bulk, Checkup):
    """One a process is enough; it holds no connection of its own."""

    def __init__(
        self,
        store: RedisStore,
        queues: Mapping[str, QueueSpec] | None = None,
        *,
        clock: Clock | None = None,
        producer: Producer | None = None,
        patience: float = 3.0,
    ) -> None:
        super().__init__(store, queues, clock=clock, patience=patience)
        self._producer = producer

    def __repr__(self) -> str:
        return f"<Client {self.store.link.where} {len(self.queues)} queues declared>"

    async def enqueue(self, queue: str, name: str, payload: object, options: EnqueueOptions | None = None) -> Handle:
        """Add a job by the name of its handler.

        Raises:
            EngineClosed: this client was made without a producer, or its engine is closed.
            BadInput: payload, name or options can't be accepted; nothing was written.
            EnqueueUnknown: no answer in time; `await error.repeat()` asks again.
        """
        return await self._producing().enqueue(queue, name, payload, options or NOTHING_SAID)

    async def enqueue_many(
        self, queue: str, name: str, payloads: Sequence[object], options: EnqueueOptions | None = None
    ) -> Sequence[Handle]:
        """Add many jobs with equal options, in order. Errors as `enqueue`."""
        return await self._producing().enqueue_many(queue, name, payloads, options or NOTHING_SAID)

    def _producing(self) -> Producer:
        if self._producer is None:
            raise EngineClosed("this client can only look and act, it has no producer: enqueue through the engine's own client")
        return self._producer
