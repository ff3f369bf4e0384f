"""Connections: no call is sent twice by itself, none hears another's reply, and none is left open, whatever is cut or cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from engine import Clock, StoreError, StoreUnanswered, StoreUnreachable
from engine.keys import prefix
from engine.store.address import Address
from engine.store.link import Link
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.scripts import script
from engine.store.wire import Wire
from engine.store.wires import MAX_WIRES
from tests.support.factory import body, lone_store
from tests.support.faults import Command, Proxy
from tests.support.running import until

# --- sent once -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(server_url) as proxy:
        yield proxy


def writes(command: Command) -> bool:
    """Not the greeting."""
    return command[0].upper() in (b"INCR", b"EVALSHA", b"EVAL", b"XADD")


CALLS: list[tuple[str, Callable[[RedisStore, Wire, str], Awaitable[object]]]] = [
    ("a command of the link", lambda s, w, q: s.link.call("INCR", f"{prefix(q)}count")),
    ("a command of a wire", lambda s, w, q: w.call("INCR", f"{prefix(q)}count")),
    ("a script", lambda s, w, q: s.enqueue(q, "p", 1, [Entry(body())])),
    ("a script of a wire", lambda s, w, q: w.run("heartbeat", prefix(q), 0, 0, "w1", b"")),
    ("a script that replicas confirm", lambda s, w, q: s.enqueue(q, "p", 1, [Entry(body())], replicas=1)),
]


@pytest.mark.parametrize("lost", ["its reply", "the connection, before it was passed on"])
@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
async def test_a_call_without_a_reply_was_sent_once(
    proxy: Proxy, store: RedisStore, queue: str, call: Callable[[RedisStore, Wire, str], Awaitable[object]], lost: str
) -> None:
    """redis-py by itself sends again, ten times: one XADD whose reply was lost left two entries. Whether and when is ours to say."""
    async with lone_store(proxy.url) as far:
        wire = far.link.new_wire(queue)
        for name in ("enqueue", "heartbeat"):  # NOSCRIPT would be an answer, after which it is sent again
            await store.link.call("SCRIPT", "LOAD", script(name).text)
        proxy.keep(writes)
        cut = proxy.cut(writes, "after" if lost == "its reply" else "before", times=100)
        with pytest.raises(StoreUnanswered):
            await call(far, wire, queue)
        assert (cut.done, len(proxy.kept)) == (1, 1)
        await wire.drop()
    await store.link.call("DEL", f"{prefix(queue)}count")


def connections() -> dict[str, Callable[[], Awaitable[AbstractConnection]]]:
    """A connection, not open, by every way that an address may lead."""

    def address(url: str) -> Address:
        return Address(url, timeout=5.0, name="engine", tls={})

    async def plain(url: str) -> AbstractConnection:
        return address(url)._plain("somewhere", 6379, {})

    ways: dict[str, Callable[[], Awaitable[AbstractConnection]]] = {}
    for url in ("redis://somewhere", "rediss://somewhere", "unix:///somewhere"):
        ways[url] = lambda url=url: address(url).dial()  # type: ignore[misc]  # the loop's value, kept
    for url in ("redis+sentinel://somewhere/s", "rediss+sentinel://somewhere/s", "redis+cluster://somewhere"):
        ways[url] = lambda url=url: plain(url)  # type: ignore[misc]  # likewise
    return ways


@pytest.mark.parametrize("way", connections())
async def test_no_connection_retries_or_times_out_by_itself(way: str) -> None:
    """The settings that this relies on, so that an update of redis-py can't bring them back unseen."""
    connection: Any = await connections()[way]()
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error in (None, [])
    assert connection.socket_timeout is None
    assert connection.health_check_interval == 0
    assert connection.socket_connect_timeout == 5.0
    assert connection.protocol == 3
    notices = connection.maint_notifications_config  # with them redis-py skips its look for a stale connection
    assert notices is None or not notices.enabled


async def test_a_greeting_is_made_once(proxy: Proxy) -> None:
    """redis-py's connections over unix sockets greet twice, and hide what is said to the first greeting."""
    proxy.keep(lambda command: command[0].upper() == b"HELLO")
    async with lone_store(proxy.url) as far:
        await far.link.call("PING")
    assert len(proxy.kept) == 1


async def test_where_a_socket_cannot_be_had_twice_a_greeting_is_made_all_the_same(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows: only the last words of a server that hangs up are not heard there."""

    def refuse(handle: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("engine.store.address.os.dup", refuse)
    async with lone_store(proxy.url) as far:
        await far.link.call("PING")


async def test_a_listener_that_raises_costs_neither_the_reply_nor_the_connection(
    store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs inside the transport, which closed the connection for it, and told asyncio's own log each time."""

    def fail(reply: object) -> None:
        raise LookupError("planted, token=Zq9secret")

    wire = store.link.new_wire()
    client = await wire.call("CLIENT", "ID")
    assert [await wire.call("CLIENT", "ID", hear=fail) for _ in range(3)] == [client] * 3
    await wire.drop()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "what hears replies at once failed: LookupError: planted, token=•••"


# --- connections that die unseen ----------------------------------------------------------------------------------------


async def test_of_connections_that_died_unseen_one_is_waited_for_and_no_other(proxy: Proxy) -> None:
    """A firewall that forgot a process tells nobody. Each idle connection had to be found dead by a call of its own, a timeout
    each: a worker with a few of them stood still for several times its socket timeout."""
    link = Link(proxy.url, clock=Clock(), timeout=0.3)
    own = [link.new_wire() for _ in range(2)]
    await asyncio.gather(*(link.call("PING") for _ in range(3)), *(wire.call("PING") for wire in own))
    assert proxy.came == 5
    proxy.deaden()
    with pytest.raises(StoreUnanswered):
        await link.call("PING")
    await asyncio.gather(*(link.call("PING") for _ in range(3)))
    for wire in own:
        with pytest.raises(StoreUnreachable, match="as old as this one"):  # said at once, and nothing was sent
            await wire.call("PING")
        await wire.call("PING")
    assert proxy.came == 10
    await asyncio.gather(link.close(), *(wire.drop() for wire in own))


# --- cancelled at random ---------------------------------------------------------------------------------------------

FUZZ = 2.0
"""Seconds of calls."""
CALLERS = 40


class Fuzz:
    """Callers that each say something of their own and must hear just that, however others are cancelled."""

    def __init__(self, link: Link, seed: int) -> None:
        self._link = link
        self._random = random.Random(seed)
        self._own = [link.new_wire() for _ in range(4)]
        self._free = list(self._own)
        self.calls = self.cancelled = 0

    async def call(self, word: str) -> object:
        match self._random.randrange(4):
            case 0:
                return await self._link.call("ECHO", word)
            case 1:
                return await self._link.call("EVAL", "return ARGV[1]", 0, word)
            case 2 if self._free:
                wire = self._free.pop()
                try:
                    said: list[Any] = []
                    heard = await wire.call("ECHO", word, first=("ECHO", word + "!"), said=said)
                    assert said == [(word + "!").encode()]
                    return heard
                finally:
                    self._free.append(wire)
            case _:
                return await self._link.patient(lambda: self._link.call("ECHO", word), timeout=5.0)

    async def caller(self, number: int, until_mono: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until_mono:
            self.calls += 1
            word = f"{number}-{self.calls}"
            task = asyncio.ensure_future(self.call(word))
            wait = self._random.choice((0.0, 0.0005, 0.003, 1.0, 1.0))
            try:
                if self._random.random() < 0.3:
                    async with asyncio.timeout(wait):
                        heard = await task
                else:
                    done, _ = await asyncio.wait({task}, timeout=wait)
                    for _ in range(self._random.randrange(1, 3) if not done else 0):  # twice: while it winds up from the first
                        task.cancel()
                        await asyncio.sleep(0)
                    heard = await task
            except (asyncio.CancelledError, TimeoutError):
                self.cancelled += 1
                continue
            except StoreError as error:
                raise AssertionError(f"{word}: {error!r}") from error
            assert heard == word.encode(), f"{word} heard {heard!r}"

    async def close(self) -> None:
        for wire in self._own:
            await wire.drop()


@pytest.mark.parametrize("seed", [1, 2])
async def test_cancelled_calls_leave_no_reply_to_others_and_no_connection_behind(
    server_url: str, store: RedisStore, seed: int
) -> None:
    asyncio.get_running_loop().set_debug(False)
    link = Link(server_url, clock=Clock(), name=f"fuzz-{seed}")
    fuzz = Fuzz(link, seed)

    async def connections() -> int:
        listed = (await store.link.call("CLIENT", "LIST")).decode()
        return sum(f"name=fuzz-{seed} " in line for line in listed.splitlines())

    end = asyncio.get_running_loop().time() + FUZZ
    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(fuzz.caller(number, end))
    print(f"seed {seed}: {fuzz.calls} calls, {fuzz.cancelled} of them cancelled, {await connections()} connections")
    assert fuzz.calls > 200
    assert fuzz.cancelled > fuzz.calls / 10
    (wires,) = link._wires.values()
    assert await connections() <= len([wire for wire in wires._made if wire.is_up]) + len(fuzz._own) <= CALLERS + len(fuzz._own)
    assert await link.call("ECHO", "after") == b"after"
    assert len(wires._free) == len(wires)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:  # every place in the bounded set is free again
        for _ in range(MAX_WIRES):
            group.create_task(link.call("PING"))
    await fuzz.close()
    await link.close()
    await until(connections, lambda found: found == 0)
