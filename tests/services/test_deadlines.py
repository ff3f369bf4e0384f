"""Deadlines: on a connection that swallows everything, no call of ours outlasts the time it says, new connections included."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from engine import Clock, EnqueueUnknown, ResultTimeout, Settings, StoreError, StoreUnanswered, StoreUnreachable
from engine import results as results_room
from engine.client import Client
from engine.connection import Connection
from engine.events import Events
from engine.producer import Producer
from engine.results import Results
from engine.services import bell as bell_room
from engine.services.bell import Bell
from engine.services.holdings import Holdings
from engine.services.lease_keeper import LEAST_LIMIT, LeaseKeeper, Reports, time_limit
from engine.services.outage import Outage
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.settles import Settles
from engine.store.wire import CONFIRM_SECONDS
from tests.support.factory import Hand, body, enqueue, lone_store
from tests.support.faults import Proxy
from tests.support.running import until

ANSWER, GREETING = 0.4, 0.6
"""Seconds: the two limits of a connection in these tests."""
BLOCK, MARGIN = 0.3, 0.4
SLACK = 1.0
"""Seconds that a busy machine may add."""


@dataclass(frozen=True)
class Case:
    """A call, and how long it may take on a connection that is up; one that must connect first may take GREETING more."""

    name: str
    call: Callable[[Hole], Awaitable[object]]
    limit: float
    error: tuple[type[Exception], ...] = (StoreUnanswered,)


class Hole:
    """What the calls need, over a proxy that will swallow everything."""

    def __init__(self, store: RedisStore, queue: str, url: str) -> None:
        self.store, self.queue, self.url = store, queue, url
        self.clock = Clock()
        self.events = Events(self.clock)
        self.outage = Outage(self.clock, self.events)
        self.wire = store.link.new_wire(queue)
        self.results = Results(store, self.clock)
        self.producer = Producer(store, name="deadlines", clock=self.clock, timeout=1.0)
        self.bell = Bell(
            store,
            [queue],
            clock=self.clock,
            events=self.events,
            outage=self.outage,
            on_ring=lambda queue: None,
            on_cancel=lambda queue, job_id: None,
        )
        self.job_id = ""

    async def listen(self) -> None:
        """One read of the bell, which takes its own errors: then it is in an outage."""
        await self.bell.run_once()
        assert self.outage.is_on
        raise StoreUnanswered("told to the outage")

    async def close(self) -> None:
        await self.results.close()
        await self.bell.close()
        await self.wire.drop()


def step(hole: Hole) -> Awaitable[object]:
    return hole.store.step(hole.wire, hole.queue, "w", 1, 0, 0, Settles(), b"", 60_000)


CASES = [
    Case("one command", lambda h: h.store.link.call("PING"), ANSWER),
    Case("one script", lambda h: h.store.counts(h.queue), ANSWER),
    Case("a script that replicas confirm", lambda h: h.store.enqueue(h.queue, "p", 1, [Entry(body())], replicas=1),
         ANSWER + CONFIRM_SECONDS),
    Case("a pool's step", step, ANSWER),
    Case("the bell", Hole.listen, BLOCK + MARGIN),
    Case("events that block", lambda h: h.store.events(h.queue, block_ms=int(BLOCK * 1000)), BLOCK + ANSWER, (StoreUnreachable,)),
    Case("a patient call", lambda h: h.store.link.patient(lambda: h.store.counts(h.queue), timeout=1.0), 1.0),
    Case("a look of the client's", lambda h: Client(h.store, patience=0.8).counts(h.queue), 0.8),
    Case("a result", lambda h: h.results.wait(h.queue, h.job_id, 0.9), 0.9, (ResultTimeout, StoreError)),
    Case("an enqueue", lambda h: h.producer.add(h.queue, [Entry(body())]), 1.0, (EnqueueUnknown,)),
]  # fmt: skip


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(server_url) as proxy:
        yield proxy


@pytest.fixture
async def hole(proxy: Proxy, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hole]:
    for room in (bell_room, results_room):
        monkeypatch.setattr(room, "BLOCK_SECONDS", BLOCK)
        monkeypatch.setattr(room, "MARGIN", MARGIN)
    async with lone_store(proxy.url, timeout=ANSWER, connect_timeout=GREETING) as far:
        made = Hole(far, queue, proxy.url)
        (made.job_id,) = await enqueue(store, queue)
        yield made
        await made.close()


async def timed(case: Case, hole: Hole) -> tuple[str, float, Exception | None]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        await case.call(hole)
    except Exception as error:
        return case.name, loop.time() - began, error
    return case.name, loop.time() - began, None


async def test_a_connection_that_is_up_and_swallows_everything_hangs_nobody(proxy: Proxy, hole: Hole) -> None:
    """Half open: sent, and never answered."""
    link = hole.store.link  # a connection for each; on a busy machine a greeting may take longer than the test's limit for one
    await asyncio.gather(*(link.patient(lambda: link.call("PING"), timeout=10) for _ in CASES))
    await step(hole)
    await hole.bell.begin()
    await hole.bell._wire.call("PING")
    await hole.producer.add(hole.queue, [Entry(body())])
    proxy.swallow()
    found = await asyncio.gather(*(timed(case, hole) for case in CASES))
    for case, (name, took, error) in zip(CASES, found, strict=True):
        assert isinstance(error, case.error), f"{name}: {error!r}"
        assert took <= case.limit + SLACK, f"{name} took {took:.2f} s"
    proxy.heal()


async def test_a_server_that_lets_nobody_in_hangs_nobody_either(proxy: Proxy, hole: Hole) -> None:
    """Nothing was sent, which each call says."""
    proxy.swallow()
    for case, (name, took, error) in zip(CASES, await asyncio.gather(*(timed(case, hole) for case in CASES)), strict=True):
        assert isinstance(error, (StoreUnreachable, ResultTimeout) if name != "the bell" else StoreUnanswered), (
            f"{name}: {error!r}"
        )
        assert took <= case.limit + GREETING + SLACK, f"{name} took {took:.2f} s"
    proxy.heal()


async def test_a_start_says_within_its_time_that_nobody_answers(proxy: Proxy) -> None:
    proxy.swallow()
    settings = Settings(redis_url=proxy.url, connect_timeout=GREETING, socket_timeout=ANSWER)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StoreUnreachable):
        await Connection(settings, clock=Clock()).open()
    assert loop.time() - began <= GREETING + SLACK
    proxy.heal()


async def test_a_name_that_is_looked_up_for_ever_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()

    def never(*_: object, **__: object) -> object:
        found.wait()
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", never)  # the loop asks it in a thread
    async with lone_store("redis://somewhere:6379", timeout=ANSWER, connect_timeout=GREETING) as far:
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(StoreUnreachable):
                await far.link.call("PING")
            assert loop.time() - began <= GREETING + SLACK
            began = loop.time()
            with pytest.raises(StoreUnreachable, match="can't be reached"):
                await Producer(far, name="p", clock=Clock(), timeout=1.0).add("q", [Entry(body())])
            assert loop.time() - began <= 1.0 + SLACK
        finally:
            found.set()  # the thread ends


# --- the lease keeper, which renews over a connection of its own ------------------------------------------------------------


@pytest.mark.parametrize(("leases_ms", "seconds"), [((10_000,), 10 / 3), ((60_000, 3_000), 1.0), ((1_000,), LEAST_LIMIT)])
def test_a_renewal_waits_for_a_third_of_the_shortest_lease_at_most(leases_ms: tuple[int, ...], seconds: float) -> None:
    assert time_limit(leases_ms) == pytest.approx(seconds)


@pytest.mark.parametrize(("socket_timeout", "limit"), [(5.0, 2.0), (0.5, 0.5)])
def test_the_keepers_limit_is_that_of_the_settings_or_shorter(socket_timeout: float, limit: float) -> None:
    settings = Settings(redis_url="unix:///nowhere", socket_timeout=socket_timeout, connect_timeout=30.0)
    link = Connection(settings, clock=Clock()).new_store(2.0).link
    assert link.timeout == limit
    assert link._connect_timeout == 30.0  # a greeting is several round trips: cut short it would never be through


async def test_a_renewal_that_hangs_neither_stops_the_look_at_the_loop_nor_the_end(store: RedisStore, queue: str) -> None:
    """It waits in the thread that also watches the loop: seen as "the whole process stood still", for every outage of 1 s."""
    hangs = threading.Event()

    class Hanging(RedisStore):
        async def renew(self, queue: str, worker: str, entries: object) -> tuple[list[str], list[str]]:
            hangs.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            """The link is the test's."""

    await enqueue(store, queue)
    hand, holdings = Hand(store, queue), Holdings()
    (claim,) = await hand.claim(1)
    claim.renewed_mono -= 100.0
    holdings.of(queue)[claim.entry] = claim
    reports = Reports(lost=lambda *_: None, asked=lambda *_: None, blocked=lambda *_: None)
    keeper = LeaseKeeper(
        holdings, lambda: Hanging(store.link, Clock()), {queue: 10_000}, worker="w1", clock=Clock(), reports=reports
    )
    looks = set()

    async def looks_on() -> int:
        looks.add(keeper._last_tick)
        return len(looks)

    keeper.start()
    try:
        await asyncio.to_thread(hangs.wait, 10.0)
        await until(looks_on, lambda found: found >= 5)
    finally:
        began = asyncio.get_running_loop().time()
        await keeper.stop()
    assert asyncio.get_running_loop().time() - began <= SLACK
    await hand.complete(claim)
