"""Heartbeats: known everywhere before the first claim, however many queues and however far the server; and what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Clock
from engine.declared import QueueSpec
from engine.events import Events
from engine.services.heartbeat import AT_ONCE, Heartbeat
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


async def test_the_beats_that_follow_go_side_by_side_too(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand queues 11 ms away, one after the other came less often than the 15 s after which a worker counts as gone."""
    queues = [(QueueSpec(f"beat-{n}"), 5) for n in range(QUEUES)]
    clock, now, most = Clock(), 0, 0
    async with Proxy(server_url) as proxy, lone_store(proxy.url) as far:
        beat = far.heartbeat

        async def counted(*args: Any) -> int:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return await beat(*args)
            finally:
                now -= 1

        monkeypatch.setattr(far, "heartbeat", counted)
        await far.link.call("PING")
        proxy.slow(FAR / 2)
        heart = Heartbeat(queues, far, worker="w", version="1", holdings=Holdings(), clock=clock, events=Events(clock))
        assert await heart.run_once() == QUEUES
        assert (most, proxy.came) == (AT_ONCE, AT_ONCE), "beats, and connections for them"


async def test_it_tells_the_lease_by_which_others_judge_what_this_worker_holds(store: RedisStore, queue: str) -> None:
    clock = Clock()
    heart = Heartbeat(
        [(QueueSpec(queue, lease_ms=42_000), 5)],
        store,
        worker="w",
        version="1",
        holdings=Holdings(),
        clock=clock,
        events=Events(clock),
    )
    for beat in (heart.run_once, lambda: heart.begin(PATIENCE)):
        await store.leave(queue, "w")
        await beat()
        (known,) = await store.workers(queue, 0)
        assert known.lease_ms == 42_000
