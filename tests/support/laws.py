"""Laws: what must hold after every test, whatever it did."""

from __future__ import annotations

from engine.store.redis_store import RedisStore


async def assert_conserved(store: RedisStore, queue: str) -> None:
    """enqueued = waiting + active + scheduled + retrying + blocked + completed + dead + cancelled + removed."""
    c = await store.counts(queue)
    total = c.waiting + c.active + c.scheduled + c.retrying + c.blocked + c.completed + c.dead + c.cancelled + c.removed
    assert c.enqueued == total, f"conservation is off by {c.enqueued - total}: {c}"
