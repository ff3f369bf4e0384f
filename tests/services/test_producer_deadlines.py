"""Producers fail fast: whatever the server does, every caller hears in its own time what is known of its jobs, and none is doubled."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from engine import Clock, Engine, EnqueueUnknown, Handle, Settings, StoreUnreachable
from engine.events import DataLoss, Events
from engine.options import EnqueueOptions
from engine.producer import TOGETHER, Producer
from engine.store.producing import Enqueued, Entry
from engine.store.redis_store import RedisStore
from engine.store.scripts import script
from tests.support.factory import body, lone_store
from tests.support.faults import Proxy, calls
from tests.support.running import until
from tests.system.promises.servers import OwnServer

ONE = [Entry(body())]
LIMIT = 1.0
"""Seconds that an enqueue may take here."""
SLACK = 1.8
"""Seconds that a busy machine may add."""


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(server_url) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[RedisStore]:
    """A store behind the proxy, whose connections outlast the limit: the enqueue's own ends the wait."""
    async with lone_store(proxy.url) as store:
        yield store


@pytest.fixture
def own_server(server_kind: str) -> Iterator[OwnServer]:
    with OwnServer(server_kind) as server:
        yield server


class Caller:
    """One that enqueues; what it hears, and when."""

    def __init__(self, producer: Producer, queue: str, jobs: int = 1) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._task = asyncio.ensure_future(self._add(producer, queue, jobs))
        self.took = 0.0

    async def _add(self, producer: Producer, queue: str, jobs: int) -> list[Enqueued] | Exception:
        try:
            return await producer.add(queue, ONE * jobs)
        except Exception as error:
            return error
        finally:
            self.took = self._loop.time() - self._began

    async def heard(self) -> list[Enqueued] | Exception:
        return await self._task


def producer(store: RedisStore) -> Producer:
    return Producer(store, name="p", clock=Clock(), timeout=LIMIT)


@pytest.fixture
async def one(far: RedisStore, queue: str) -> AsyncIterator[Producer]:
    """A producer behind the proxy that was answered once, and so is connected."""
    one = producer(far)
    await one.add(queue, ONE)
    yield one
    await one.close()


async def test_of_a_server_that_is_not_there_every_waiting_caller_hears_in_its_own_time(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go one call after another: before, the last of many heard after as many limits as there were calls."""
    async with lone_store("unix:///nowhere/redis.sock") as nowhere:
        one = producer(nowhere)
        real, tried = nowhere.link.patient, itertools.count()

        def counting(*args: Any, **how: Any) -> Any:
            next(tried)
            return real(*args, **how)

        monkeypatch.setattr(nowhere.link, "patient", counting)
        callers = [Caller(one, queue, 1 + n % 60) for n in range(300)]
        for caller in callers:
            error = await caller.heard()
            assert isinstance(error, StoreUnreachable)
            assert "No such file" in str(error)
        assert max(caller.took for caller in callers) <= LIMIT + SLACK
        assert next(tried) <= 3, "not one for each of a hundred calls, when all know already"
        await one.close()


async def test_of_a_server_that_lets_nobody_in_they_hear_that_nothing_was_sent(proxy: Proxy, far: RedisStore, queue: str) -> None:
    proxy.swallow()
    one = producer(far)
    callers = [Caller(one, queue) for _ in range(300)]
    for caller in callers:
        assert isinstance(await caller.heard(), StoreUnreachable)
        assert caller.took <= LIMIT + SLACK
    await one.close()
    proxy.heal()


async def test_only_who_was_sent_for_hears_that_it_may_have_happened(
    proxy: Proxy, one: Producer, store: RedisStore, queue: str
) -> None:
    """The call under way gets no answer; those behind it were not sent, and adding them again is safe."""
    proxy.swallow()
    callers = [Caller(one, queue) for _ in range(300)]
    first, *others = [await caller.heard() for caller in callers]
    assert max(caller.took for caller in callers) <= LIMIT + SLACK
    assert isinstance(first, EnqueueUnknown)
    assert {type(other) for other in others} == {StoreUnreachable}
    proxy.heal()
    again: Any = await first.repeat()
    assert len(again) == 1
    for _ in others[:5]:
        await one.add(queue, ONE)
    assert (await store.counts(queue)).enqueued == 1 + 1 + 5


async def test_callers_of_one_call_hear_each_by_its_own_deadline_and_who_has_time_left_gets_its_answer(
    proxy: Proxy, one: Producer, store: RedisStore, queue: str
) -> None:
    """No answer comes for longer than the oldest caller waits, and for less than the others do."""
    cut = proxy.cut(calls("enqueue"), "after", times=10_000)
    sent = Caller(one, queue)  # goes at once, alone
    await asyncio.sleep(0.3)  # so much older than the next
    old = [Caller(one, queue, 2) for _ in range(3)]  # together with the younger ones, once the first has given up
    await asyncio.sleep(0.4)
    young = [Caller(one, queue, 3) for _ in range(3)]
    for caller in (sent, *old):
        assert isinstance(await caller.heard(), EnqueueUnknown)
        assert LIMIT - TOGETHER <= caller.took <= LIMIT + SLACK
    cut.times = 0
    answers = [await caller.heard() for caller in young]
    assert [len(answer) for answer in answers if isinstance(answer, list)] == [3, 3, 3]
    told = [await caller.heard() for caller in (sent, *old)]
    found: list[Any] = [await error.repeat() for error in told if isinstance(error, EnqueueUnknown)]
    assert [len(mine) for mine in found] == [1, 2, 2, 2]
    ids = {job.id for mine in (*found, *answers) for job in mine}
    assert len(ids) == (await store.counts(queue)).enqueued - 1 == 16


async def test_jobs_of_callers_that_gave_up_before_they_were_sent_are_not_sent(
    proxy: Proxy, one: Producer, store: RedisStore, queue: str
) -> None:
    proxy.swallow()
    sent, behind = Caller(one, queue), [Caller(one, queue) for _ in range(4)]
    await asyncio.sleep(0)
    for caller in behind[:2]:
        caller._task.cancel()
    proxy.heal()
    assert len(await sent.heard()) == len(await behind[2].heard()) == len(await behind[3].heard()) == 1  # type: ignore[arg-type]  # not errors
    assert (await store.counts(queue)).enqueued == 1 + 3


# --- how many requests it takes ---------------------------------------------------------------------------------------


async def requests(store: RedisStore) -> dict[str, int]:
    """How often the server was asked for what a producer may ask for, since CONFIG RESETSTAT."""
    found = await store.link.call("INFO", "commandstats")
    calls = re.findall(r"cmdstat_(evalsha|hget|hsetnx):calls=(\d+)", found.decode())
    return {name: int(count) for name, count in calls}


@pytest.mark.parametrize(("limit", "connection_limit"), [(5.0, 5.0), (3.0, 5.0), (5.0, 10.0)])
async def test_an_enqueue_is_one_request_whatever_the_time_limits_are(
    own_server: OwnServer, limit: float, connection_limit: float
) -> None:
    """A limit shorter than a connection's own was once kept by asking more patiently, and that took two requests each."""
    async with lone_store(own_server.url, timeout=connection_limit) as store:
        one = Producer(store, name="p", clock=Clock(), timeout=limit)
        await one.add("q", ONE)
        await store.link.call("CONFIG", "RESETSTAT")
        for _ in range(20):
            await one.add("q", ONE)
        assert await requests(store) == {"evalsha": 20}
        await one.close()


async def test_calls_that_waited_for_those_before_them_are_one_request_each(own_server: OwnServer) -> None:
    async with Proxy(own_server.url) as proxy, lone_store(proxy.url) as far, lone_store(own_server.url) as store:
        one = Producer(far, name="p", clock=Clock(), timeout=5.0)
        await one.add("q", ONE)
        await store.link.call("CONFIG", "RESETSTAT")
        proxy.slow(0.03)  # the last of these wait for three calls
        await asyncio.gather(*(one.add("q", ONE) for _ in range(301)))
        assert await requests(store) == {"evalsha": 4}
        await one.close()


async def test_calls_of_more_queues_than_there_are_connections_are_one_request_each(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.wires.MAX_WIRES", 2)
    async with lone_store(own_server.url) as store:
        one = Producer(store, name="p", clock=Clock(), timeout=5.0)
        for again in range(5):
            await asyncio.gather(*(one.add(f"q{n}", ONE) for n in range(9)))
            if again == 1:  # both are connected, and every queue was answered since
                await store.link.call("CONFIG", "RESETSTAT")
        assert await requests(store) == {"evalsha": 27}
        await one.close()


async def test_a_limit_shorter_than_a_connections_own_leaves_other_connections_alone(
    proxy: Proxy, far: RedisStore, one: Producer, queue: str
) -> None:
    """That no answer came in a connection's own time means that those of its age are dead too; in a shorter one it means less."""
    other = far.link.new_wire()
    before = await other.call("CLIENT", "ID")
    await one.add(queue, ONE)
    proxy.swallow()
    assert isinstance(await Caller(one, queue).heard(), EnqueueUnknown)
    proxy.heal()
    assert await other.call("CLIENT", "ID") == before
    await other.drop()


@pytest.mark.parametrize("how", ["in turn", "waiting for one connection"])
async def test_every_queue_hears_what_a_server_lost_also_when_another_queues_call_has_reconnected(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("engine.store.wires.MAX_WIRES", 1)
    events, told = Events(Clock()), list[DataLoss]()
    events.subscribe(told.append, DataLoss)
    async with Proxy(own_server.url) as proxy, lone_store(proxy.url) as far:
        one = Producer(far, name="p", clock=Clock(), timeout=5.0, events=events)
        for queue in ("a", "b", "c"):
            await one.add(queue, ONE)
        own_server.kill()
        shutil.rmtree(own_server.directory / "appendonlydir")
        own_server.start()
        async with lone_store(own_server.url) as other:  # somebody came before us: a missing script does not give it away
            await other.link.call("SCRIPT", "LOAD", script("enqueue").text)
        await proxy.cut_all()
        if how == "waiting for one connection":
            proxy.swallow()
        callers = [Caller(one, "a")]
        if how == "in turn":
            await callers[0].heard()
        await until(lambda: asyncio.sleep(0, proxy.came), lambda came: came == 2)  # it connects: the others wait for that
        callers += [Caller(one, "b"), Caller(one, "c")]
        await asyncio.sleep(0)
        proxy.heal()
        for caller in callers:
            assert len(await caller.heard()) == 1  # type: ignore[arg-type]  # not an error
        assert sorted(loss.queue for loss in told) == ["a", "b", "c"]
        await one.close()


# --- many in one call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_a_bulk_enqueue_fails_within_one_limit_and_says_how_many_are_in(own_server: OwnServer, how: str) -> None:
    engine = Engine(settings=Settings(redis_url=own_server.url, enqueue_timeout=LIMIT))
    queue = engine.queue("bulk")
    loop = asyncio.get_running_loop()
    struck = 0.0

    def strike(done: int) -> None:
        nonlocal struck
        if done == 500:
            (own_server.freeze if how == "frozen" else own_server.kill)()
            struck = loop.time()

    async with engine:
        with pytest.raises((EnqueueUnknown, StoreUnreachable)) as caught:
            await engine.enqueuing.enqueue_many("bulk", "do", [{"n": n} for n in range(2000)], EnqueueOptions(), strike)
        assert loop.time() - struck <= LIMIT + SLACK
        assert vars(caught.value)["done"] == 500
        await asyncio.to_thread(own_server.thaw if how == "frozen" else own_server.start)
        if isinstance(caught.value, EnqueueUnknown):
            handles = await caught.value.repeat()
            assert isinstance(handles, list)
            assert len({handle.id for handle in handles if isinstance(handle, Handle)}) == len(handles) == 600
        more = [{"n": n} for n in range(600 if isinstance(caught.value, EnqueueUnknown) else 500, 2000)]
        await queue.enqueue_many("do", more)
        counts = await until(lambda: engine.client.counts("bulk"), lambda counts: counts.waiting > 0)
        assert counts.enqueued == counts.waiting == 2000
