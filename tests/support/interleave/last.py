"""Last: when an order has ended, another worker runs what is left, whoever else is gone; then nothing may be left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from engine.store.redis_store import RedisStore
from tests.support.factory import read

from .change_laws import check_lines
from .facts import LIVE, OLD_MS, Facts, renumbered
from .state_laws import LawBroken, check_state, nothing_left
from .workers import Hands
from .world import Sent

ROUNDS = 40
"""Within so many rounds a worker has run whatever is left."""


class Last:
    """The last worker of a search. It remembers the forms it has seen end well, and stops where it meets one again."""

    def __init__(self, store: RedisStore, hands: Hands, look: Callable[[str], Awaitable[Facts]]) -> None:
        self._store = store
        self._hands = hands
        self._look = look
        self._ends_well: set[str] = set()

    async def finish(self, queue: str) -> None:
        """Run what is left of a queue; LawBroken when something can't be, or leaves something behind."""
        await self._store.resume(queue)
        facts, trail = await self._reach_the_old(queue), list[str]()
        for number in range(1, ROUNDS):
            check_state(facts)
            form = renumbered(facts.form)
            if form in self._ends_well:
                break
            trail.append(form)
            if not facts.many(*LIVE):
                nothing_left(facts)
                break
            before = facts
            await self._round(queue, facts, 2 * number)
            facts = await self._look(queue)
            check_lines(before, facts, "the last worker")
        else:
            nothing_left(facts)
        self._ends_well.update(trail)

    async def _reach_the_old(self, queue: str) -> Facts:
        """Small looks that go on from each other reach every lease that has run out, however many have not."""
        facts, cursors = await self._look(queue), dict[str, str]()
        for name in facts.workers:
            await self._store.heartbeat(queue, name, b"here")  # whoever told a longer lease tells none: nobody is waited for
        if not any(is_old for _, _, is_old in facts.pending.values()):
            return facts
        for _ in range(2 * len(facts.pending) // 10 + 4):  # each looks at ten entries of a stream; twice round, and a few
            cursors = (await self._store.reclaim(queue, "r", OLD_MS, 99, cursors, limit=1, grace=False)).cursors
        facts = await self._look(queue)
        old = [job_id for _, job_id, is_old in facts.pending.values() if is_old]
        if old:
            raise LawBroken(f"the lease of {old} has run out, and no look of the reclaimer ever reaches it")
        return facts

    async def _round(self, queue: str, facts: Facts, number: int) -> None:
        """Make everything runnable, claim ten, complete them."""
        for job_id in facts.many("scheduled", "retrying"):
            await self._store.hasten(queue, job_id)
        await self._store.reclaim(queue, "r", 0, 99, {}, grace=False)
        claims = tuple(read(queue, await self._hands.deliver(queue, "last", Sent(number, 10, 0))))
        if claims:
            done = await self._hands.deliver(queue, "last", Sent(number + 1, 0, 0, "complete", claims))
            if done.lost:
                raise LawBroken(f"the last worker lost {done.lost}, and there is nobody else")
