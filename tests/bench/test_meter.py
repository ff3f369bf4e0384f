"""Meter: what clients send is told apart from what scripts call."""

from __future__ import annotations

import asyncio

from bench.meter import Meter
from engine import Clock
from engine.store.redis_store import RedisStore


async def test_requests_are_counted_without_the_commands_inside_scripts(server_url: str, store: RedisStore) -> None:
    async def send() -> None:
        while not done.is_set():
            await store.link.call("EVAL", "redis.call('PING') redis.call('PING') return 0", 0)
            sent.append("EVAL")

    sent: list[str] = []
    done = asyncio.Event()
    with Meter(server_url, Clock()) as meter:
        sending = asyncio.ensure_future(send())
        found = await asyncio.to_thread(meter.requests, 0.3)
        done.set()
        await sending
    assert 0 < found < len(sent) * 1.5  # three times as many with those inside; others may send a few
