"""Prefetch: nothing waits in a worker for long: not behind handlers that turned slow, nor when the queue is paused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from engine import Engine, Handler, PauseQueue, RateLimited
from engine.services.prefetch import AHEAD, HORIZON, LOOK, WARY, Prefetch
from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, claim
from tests.support.fake_clock import FakeClock
from tests.support.running import running, until


class Buffer:
    """A buffer whose looks come when the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.average: float | None = 0.0001
        self.given_back: list[Claim] = []
        self.prefetch = Prefetch(self.clock, average=lambda: self.average, give_back=self.given_back.append)

    def fill(self, n: int) -> list[Claim]:
        claims = [claim() for _ in range(n)]
        for one in claims:
            self.prefetch.put(one)
        return claims

    def look(self, *, late: float = 0.0) -> None:
        """The next look, on time or so many seconds late."""
        if self.prefetch._timer is not None:
            self.prefetch._timer.cancel()
        self.clock.jump(LOOK + late)
        self.prefetch._look()

    def take(self, n: int) -> None:
        for _ in range(n):
            assert self.prefetch.take() is not None


@pytest.fixture
async def buffer() -> AsyncIterator[Buffer]:
    made = Buffer()
    yield made
    made.prefetch.close()


async def test_what_the_slots_come_to_stays(buffer: Buffer) -> None:
    buffer.fill(100)
    buffer.look()
    buffer.take(100)
    buffer.fill(60)
    buffer.look()
    assert buffer.given_back == []


async def test_what_they_do_not_come_to_is_given_back_in_its_order(buffer: Buffer) -> None:
    claims = buffer.fill(100)
    buffer.look()
    buffer.take(10)
    buffer.look()
    assert buffer.given_back == claims[20:], "as many stay as were started between the looks"
    assert buffer.prefetch.ahead(5) == 0, "it has just guessed wrong"


async def test_no_more_is_claimed_ahead_than_the_slots_took_lately(buffer: Buffer) -> None:
    assert buffer.prefetch.ahead(5) == AHEAD, "nothing is known of their pace yet"
    buffer.fill(50)
    buffer.look()
    buffer.take(50)
    buffer.look()
    assert buffer.prefetch.ahead(5) == 40
    buffer.look()
    assert buffer.prefetch.ahead(5) == 40, "nothing waited meanwhile: who was slow is the server"
    buffer.fill(10)
    buffer.look()
    buffer.look()
    buffer.clock.jump(60)
    assert buffer.prefetch.ahead(5) == 5, "one for each slot, to learn it again"


async def test_it_dares_again_after_a_while_and_waits_longer_each_time(buffer: Buffer) -> None:
    pauses = []
    for _ in range(4):
        buffer.fill(10)
        buffer.look()
        buffer.look()
        assert len(buffer.prefetch) == 0
        waited = 0.0
        while not buffer.prefetch.ahead(5):
            buffer.clock.jump(WARY / 4)
            waited += WARY / 4
        pauses.append(waited)
    assert pauses == [WARY, WARY * 2, WARY * 4, WARY * 8]


async def test_a_process_that_stood_still_judges_its_handlers_at_the_next_look(buffer: Buffer) -> None:
    buffer.fill(100)
    buffer.look()
    buffer.look(late=3.0)
    assert buffer.given_back == []
    buffer.look(late=3.0)
    assert len(buffer.given_back) == 100, "who blocks the loop again and again is slow"


async def test_slow_runs_claim_nothing_ahead_and_fast_ones_no_more_than_the_most(buffer: Buffer) -> None:
    assert buffer.prefetch.ahead(5) == AHEAD
    buffer.average = HORIZON * 1.01
    assert buffer.prefetch.ahead(5) == 0
    buffer.average = HORIZON / 2
    assert buffer.prefetch.ahead(5) == 10
    buffer.average = None
    assert buffer.prefetch.ahead(5) == 0


class Provider:
    """A queue of two slots whose handler is fast until the test turns it slow, or makes it refuse."""

    def __init__(self, engine: Engine, queue: str) -> None:
        self.engine, self.queue = engine, queue
        self.slow = False
        self.refusal: Exception | None = None
        self.calls = 0
        self.let_go = asyncio.Event()
        self.warmed = asyncio.Event()

        @engine.queue(queue, concurrency=2).handler("send")
        async def send(n: int) -> None:
            self.calls += 1
            if self.calls == 1000:
                self.warmed.set()
            if self.refusal is not None:
                raise self.refusal
            if self.slow:
                await self.let_go.wait()

        self.send: Handler[int, None] = send

    async def warm(self) -> None:
        """Fast runs, so that the pool claims ahead."""
        await self.send.enqueue_many(range(1000))
        await self.warmed.wait()
        self.calls = 0


@pytest.fixture
async def provider(make_engine: Callable[..., Engine], queue: str) -> AsyncIterator[Provider]:
    made = Provider(make_engine(), queue)
    yield made
    made.let_go.set()


async def test_when_handlers_turn_slow_an_idle_worker_gets_the_rest(provider: Provider, store: RedisStore) -> None:
    async with provider.engine, running(provider.engine):
        await provider.warm()
        provider.slow = True
        await provider.send.enqueue_many(range(300))
        await until(lambda: store.counts(provider.queue), lambda c: (c.active, c.waiting) == (2, 298), timeout=3)
        assert len(await Hand(store, provider.queue, "idle").claim(300)) == 298
        provider.let_go.set()


@pytest.mark.parametrize(
    "refusal", [RateLimited(after=60, scope="queue"), PauseQueue("token revoked")], ids=["rate limited", "paused"]
)
async def test_once_a_provider_has_said_no_nothing_more_is_sent_to_it(
    provider: Provider, store: RedisStore, refusal: Exception
) -> None:
    async with provider.engine, running(provider.engine):
        await provider.warm()
        provider.refusal = refusal
        await provider.send.enqueue_many(range(300))
        counts = await until(lambda: store.counts(provider.queue), lambda c: c.active == 0 and c.waiting + c.scheduled == 300)
        assert counts.waiting >= 290
        assert provider.calls <= 5, "jobs that waited in the worker were started all the same"


async def test_a_pause_by_hand_reaches_what_waits_in_the_worker(provider: Provider, store: RedisStore) -> None:
    async with provider.engine, running(provider.engine):
        await provider.warm()
        provider.slow = True
        await provider.send.enqueue_many(range(300))
        await until(lambda: store.counts(provider.queue), lambda c: c.active >= 2)
        await store.pause(provider.queue, "stop")
        await until(lambda: store.counts(provider.queue), lambda c: c.active == 2)
        provider.let_go.set()
        counts = await until(lambda: store.counts(provider.queue), lambda c: c.active == 0)
        assert counts.waiting == 298


async def test_what_is_lost_is_not_given_back(buffer: Buffer) -> None:
    lost, kept = buffer.fill(2)
    lost.told = "lost"
    buffer.prefetch.shed()
    assert buffer.given_back == [kept]


async def test_urgent_jobs_pass_those_that_were_given_back(provider: Provider, store: RedisStore) -> None:
    async with provider.engine, running(provider.engine):
        await provider.warm()
        provider.slow = True
        await provider.send.enqueue_many(range(300))
        await until(lambda: store.counts(provider.queue), lambda c: (c.active, c.waiting) == (2, 298), timeout=3)
        urgent = await provider.send.enqueue(1, priority=1)
        (first,) = await Hand(store, provider.queue, "idle").claim(1)
        assert first.full_id == urgent.id
        provider.let_go.set()


async def test_handlers_that_wait_for_nothing_let_the_loop_turn(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()
    seen: list[int] = []

    @engine.queue(queue, concurrency=1).handler("spin")
    async def spin(n: int) -> None:
        seen.append(n)
        until_mono = time.monotonic() + (0.02 if n >= 1000 else 0.0)
        while time.monotonic() < until_mono:
            pass

    async with engine, running(engine):
        await spin.enqueue_many(range(1000))
        await until(lambda: store.counts(queue), lambda c: c.completed == 1000)
        await spin.enqueue_many(range(1000, 1300))
        await until(lambda: store.counts(queue), lambda c: c.completed > 1000)
        assert len(seen) < 1064, "nothing was settled before sixty-four had run"
        await store.pause(queue, "enough")
        await until(lambda: store.counts(queue), lambda c: c.active == 0)
        assert len(seen) < 1200
