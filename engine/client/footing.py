"""Footing: what the parts of Client share. The store, the declared queues, patience with the server, names that are known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import StoreError, StoreUnanswered, UnknownQueue
from ..keys import check_queue, shown
from ..store.redis_store import RedisStore

T = TypeVar("T")
P = ParamSpec("P")

LEASE_MS = 10_000
"""Of a queue that this application does not declare: the default of those that do."""


class Footing:
    """Holds no state of its own; every answer is the store's at that moment."""

    def __init__(
        self,
        store: RedisStore,
        queues: Mapping[str, QueueSpec] | None = None,
        *,
        clock: Clock | None = None,
        patience: float = 3.0,
    ) -> None:
        self.store = store
        self.queues: Mapping[str, QueueSpec] = queues if queues is not None else {}
        self._clock = clock or Clock()
        self._patience = patience

    async def queue_names(self) -> list[str]:
        """Every queue: those declared here, and those that anybody ever enqueued to; sorted."""
        return sorted({*self.queues, *await self._ask(self.store.queue_names)})

    async def check_known(self, queue: str) -> str:
        """Return `queue` when it is declared here or was ever enqueued to.

        Raises:
            UnknownQueue: it is neither; the sentence names the nearest.
            BadName: no queue may be called so.
        """
        if check_queue(queue) in self.queues:
            return queue
        known = await self.queue_names()
        if queue not in known:
            raise UnknownQueue(f"there is no queue {shown(queue)}; {nearest(queue, known)}")
        return queue

    async def _chosen(self, queue: str | None) -> list[str]:
        """The one queue that was named, or all."""
        return await self.queue_names() if queue is None else [await self.check_known(queue)]

    async def _ask(self, verb: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a verb of the store, and repeat it for as long as somebody who waits for an answer will bear it."""
        return await self.store.link.patient(lambda: verb(*args, **kwargs), timeout=self._patience)

    async def _act(self, verb: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> tuple[T, bool]:
        """As `_ask`; also says whether an earlier sending may have taken effect, so that "unknown" may mean "done"."""
        troubles: list[StoreError] = []
        reply = await self.store.link.patient(lambda: verb(*args, **kwargs), timeout=self._patience, on_trouble=troubles.append)
        return reply, any(isinstance(trouble, StoreUnanswered) for trouble in troubles)


def nearest(name: str, known: list[str]) -> str:
    """A hint: the nearest known name, or all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(sorted(known)[:10])}" if known else "there are none yet"
