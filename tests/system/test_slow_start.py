"""A slow line: a start asks some two dozen questions, and each has the whole time limit for its answer."""

from __future__ import annotations

import asyncio

import pytest

from engine import Engine, Settings
from tests.support.faults import Proxy
from tests.support.running import running

pytestmark = pytest.mark.slow


async def test_a_worker_starts_on_a_line_that_answers_each_question_in_time_and_not_all_of_them(
    server_url: str, queue: str
) -> None:
    """There and back takes an eighth of a second. Before, an engine opened only if all it asks was answered within one limit."""
    ran = asyncio.Event()
    async with Proxy(server_url) as proxy:
        proxy.slow(0.06)
        engine = Engine(settings=Settings(redis_url=proxy.url, connect_timeout=1.0))

        @engine.queue(queue).handler("do")
        async def do(n: int) -> None:
            ran.set()

        async with engine, running(engine):
            await do.enqueue(1)
            await asyncio.wait_for(ran.wait(), 15)
