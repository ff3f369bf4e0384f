"""The first beat of a worker with many queues: known everywhere before it claims, however far the server is."""

from __future__ import annotations

from engine import Clock
from engine.declared import QueueSpec
from engine.events import Events
from engine.services.heartbeat import Heartbeat
from engine.services.holdings import Holdings
from engine.store.redis_store import RedisStore
from tests.support.factory import lone_store
from tests.support.faults import Proxy

QUEUES, FAR = 60, 0.03
"""Queues, and seconds that each answer takes: one queue after the other would need 1.8 s."""
PATIENCE = 1.0


async def test_each_queue_is_waited_for_by_itself_and_some_go_side_by_side(server_url: str, store: RedisStore) -> None:
    queues = [(QueueSpec(f"beat-{n}"), 5) for n in range(QUEUES)]
    clock = Clock()
    async with Proxy(server_url) as proxy, lone_store(proxy.url) as far:
        await far.link.call("PING")
        proxy.slow(FAR / 2)
        holdings, events = Holdings(), Events(clock)
        heart = Heartbeat(queues, far, worker="w", version="1", holdings=holdings, clock=clock, events=events)
        await heart.begin(PATIENCE)
    known = [await store.workers(spec.name, 0) for spec, _ in queues]
    assert [[one.worker for one in found] for found in known] == [["w"]] * QUEUES
