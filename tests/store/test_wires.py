"""The connections that calls share: bounded, handed on in order, none lost to a caller that gave up."""

from __future__ import annotations

import asyncio

from engine import Clock, EngineClosed, StoreError
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from engine.store.wire import Wire
from engine.store.wires import MAX_WIRES, Wires
from tests.support.running import until


async def test_the_wire_used_last_is_taken_first_and_no_more_are_made_than_may_be(store: RedisStore) -> None:
    wires = Wires(store.link.new_wire)
    taken = [wires.take() for _ in range(MAX_WIRES)]
    assert None not in taken
    assert wires.take() is None
    assert taken[3] is not None
    wires.give(taken[3])
    assert wires.take() is taken[3]


async def test_a_wire_that_is_up_is_taken_before_one_that_would_have_to_connect(store: RedisStore) -> None:
    wires = Wires(store.link.new_wire)
    up, other = wires.take(), wires.take()
    assert up is not None
    assert other is not None
    await up.call("PING")
    wires.give(up)
    wires.give(other)
    assert wires.take_up() is up
    assert wires.take_up() is None
    assert wires.take() is other
    wires.give(up)
    wires.give(other)
    assert wires.take() is up
    await up.drop()


async def test_who_waits_gets_the_next_free_wire_in_order(store: RedisStore) -> None:
    wires, taken = _all_taken(store)
    first, second = (asyncio.ensure_future(wires.wait()) for _ in range(2))
    await asyncio.sleep(0)
    for wire in taken[:2]:
        wires.give(wire)
    assert [await first, await second] == taken[:2]
    assert wires.take() is None


async def test_a_caller_that_gave_up_is_passed_over(store: RedisStore) -> None:
    wires, taken = _all_taken(store)
    gone, patient = (asyncio.ensure_future(wires.wait()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    wires.give(taken[0])
    assert await patient is taken[0]


async def test_a_wire_that_came_as_its_caller_gave_up_goes_to_the_next(store: RedisStore) -> None:
    wires, taken = _all_taken(store)
    gone, patient = (asyncio.ensure_future(wires.wait()) for _ in range(2))
    await asyncio.sleep(0)
    wires.give(taken[0])
    gone.cancel()
    assert await patient is taken[0]
    wires.give(taken[0])
    assert wires.take() is taken[0]


async def test_more_calls_at_once_than_connections_are_all_answered(store: RedisStore) -> None:
    answers = await asyncio.gather(*(store.link.call("INCR", "calls") for _ in range(3 * MAX_WIRES)))
    assert sorted(answers) == list(range(1, 3 * MAX_WIRES + 1))
    clients = await store.link.call("CLIENT", "LIST")
    assert clients.count(b" addr=") <= MAX_WIRES + 8


async def test_closing_refuses_who_waits_and_leaves_no_connection(server_url: str, store: RedisStore) -> None:
    link = Link(server_url, clock=Clock(), name="closing")
    under_way = [asyncio.ensure_future(link.call("BLPOP", "never", 5)) for _ in range(MAX_WIRES)]
    await until(lambda: _connections(store, "closing"), lambda found: found == MAX_WIRES)
    waiting = [asyncio.ensure_future(link.call("INCR", "calls-after")) for _ in range(3)]
    await asyncio.sleep(0)
    await link.close()
    answers = await asyncio.gather(*under_way, *waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreError) for answer in answers[:MAX_WIRES])
    assert [type(answer) for answer in answers[MAX_WIRES:]] == [EngineClosed] * 3
    assert await store.link.call("GET", "calls-after") is None
    await until(lambda: _connections(store, "closing"), lambda found: found == 0)


async def test_who_is_cancelled_as_the_link_closes_is_cancelled(store: RedisStore) -> None:
    wires, _ = _all_taken(store)
    gone = asyncio.ensure_future(wires.wait())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(wires.close(EngineClosed("closed")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    await closing


async def test_a_connection_that_was_being_made_while_the_link_closed_is_closed_too(server_url: str, store: RedisStore) -> None:
    link = Link(server_url, clock=Clock(), name="opening")
    call = asyncio.ensure_future(link.call("PING"))
    await asyncio.sleep(0)
    await link.close()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: _connections(store, "opening"), lambda found: found == 0)


async def _connections(store: RedisStore, name: str) -> int:
    return int((await store.link.call("CLIENT", "LIST")).count(f" name={name} ".encode()))


def _all_taken(store: RedisStore) -> tuple[Wires, list[Wire]]:
    wires = Wires(store.link.new_wire)
    taken = [wire for _ in range(MAX_WIRES) if (wire := wires.take()) is not None]
    assert len(taken) == MAX_WIRES
    return wires, taken
