"""A client of the test's queue: declared as an application would, registered as its first enqueue would."""

from __future__ import annotations

import pytest

from engine.client import Client
from engine.declared import QueueSpec
from engine.store.redis_store import RedisStore


@pytest.fixture
async def client(store: RedisStore, queue: str) -> Client:
    """Acts on everything it is asked about, but declares only the test's own queue."""
    return Client(store, {queue: QueueSpec(queue)})
