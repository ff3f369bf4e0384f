"""The proxy of the chaos lab: what it does to connections, and the moments of a job's life at which it strikes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import hiredis
import pytest

from bench.chaos.aims import Aim, Call, call_of, fits
from bench.chaos.network import Network
from bench.chaos.node import Node
from bench.chaos.resp import extent, words
from engine import Engine, Handler, Job, Settings, StoreError
from engine.store.scripts import script
from engine.worker import Worker

REPLIES = (
    b"+OK\r\n", b"-ERR no\r\n", b":7\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"$3\r\na\r\n\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n",
    b"*3\r\n*2\r\n:1\r\n$1\r\na\r\n%1\r\n+k\r\n~2\r\n:1\r\n:2\r\n,1.5\r\n", b">2\r\n+push\r\n:1\r\n", b"=5\r\ntxt:a\r\n",
)  # fmt: skip


def test_a_message_ends_where_it_ends_and_not_before() -> None:
    for reply in REPLIES:
        assert extent(reply + b"+next\r\n") == len(reply)
        assert [extent(reply[:cut]) for cut in range(len(reply))] == [-1] * len(reply), reply
    with pytest.raises(ValueError, match="no message"):
        extent(b"GET / HTTP/1.1\r\n")


def test_a_requests_words_are_read_as_they_were_packed() -> None:
    packed = hiredis.pack_command(("SET", "k", b"a\r\n$3\r\nb"))  # type: ignore[arg-type]  # its stub asks for a tuple of one
    assert words(packed) == [b"SET", b"k", b"a\r\n$3\r\nb"]


def step(*after: bytes) -> list[bytes]:
    head = [b"EVALSHA", script("step").sha.encode(), b"1", b"engine:{q}:", b"3", b"0", b"w", b"1", b"5", b"0", b"9", b""]
    return [*head, *after]


def test_a_step_that_settles_is_told_from_one_that_only_claims() -> None:
    assert call_of(step(b"0", b"0")) == Call("step", ends_jobs=False, queue="q")
    assert call_of(step(b"1", b"do", b"1", b"0")) == Call("step", ends_jobs=False, queue="q"), "counters alone end no job"
    assert call_of(step(b"0", b"1", b"5", b"0", b"1", b"1-1")) == Call("step", ends_jobs=True, queue="q")
    assert call_of(step(b"0", b"0", b"r", b"5", b"1-1", b"1-1", b"", b"200", b"why", b"env")).ends_jobs
    assert call_of([b"PING"]) == Call()


def test_an_aim_strikes_only_what_it_is_aimed_at() -> None:
    claimed = b"*3\r\n+ok\r\n*0\r\n*2\r\n$1\r\n5\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*0\r\n"
    nothing = b"*3\r\n+ok\r\n*0\r\n*0\r\n"
    aim = Aim(id=1, who=("w1",), script="step", side="reply", need="rows")
    assert fits(aim, "w1", Call("step"), claimed)
    assert not fits(aim, "w2", Call("step"), claimed)
    assert not fits(aim, "w1", Call("step"), nothing)
    assert not fits(aim, "w1", Call("step"), b"-NOSCRIPT no\r\n")
    assert not fits(aim, "w1", Call("step"))
    moved = Aim(id=2, script="reclaim", side="reply", need="moved")
    assert [fits(moved, "w", Call("reclaim"), b"*4\r\n*0\r\n:%d\r\n:0\r\n:0\r\n" % n) for n in (0, 2)] == [False, True]


@pytest.fixture
async def far(network: Network) -> AsyncIterator[Engine]:
    """An engine behind the proxy, as listener `w1`."""
    settings = Settings(redis_url=await network.url("w1"), socket_timeout=0.5, connect_timeout=5.0, enqueue_timeout=5.0)
    engine = Engine(settings=settings)
    async with engine:
        yield engine


def handler(engine: Engine, ran: list[str]) -> Handler[str, None]:
    @engine.queue("q").handler("do")
    async def do(text: str, job: Job) -> None:
        ran.append(text)

    return do


async def counted(engine: Engine) -> tuple[int, int]:
    counts = await engine.client.counts("q")
    return counts.enqueued, counts.completed


async def test_a_lost_reply_is_one_the_server_has_answered(network: Network, far: Engine) -> None:
    do = handler(far, [])
    await do.enqueue("before")
    async with network.aim("enqueue", "reply", cut=True, times=2) as struck:
        await do.enqueue("twice sent")
        assert struck.times == 2
    assert await counted(far) == (2, 0)


async def test_a_message_is_held_at_its_moment_until_it_is_freed(network: Network, far: Engine, node: Node) -> None:
    do = handler(far, [])
    await do.enqueue("before")
    async with network.aim("enqueue", "request", who=("w1",)) as struck:
        asked = asyncio.ensure_future(do.enqueue("held"))
        assert await struck.moment(5.0)
        assert struck.who == "w1"
        assert await node.ask("HGET", "engine:{q}:meta", "enqueued") == b"1"
        await struck.free(drop=False)
        await asked
    assert await counted(far) == (2, 0)


async def test_an_answer_that_gives_out_jobs_may_be_lost_and_each_runs_once(network: Network, far: Engine) -> None:
    ran: list[str] = []
    do = handler(far, ran)
    await do.enqueue_many(["a", "b", "c"])
    async with (
        network.aim("step", "reply", "rows", cut=True) as claim,
        network.aim("step", "reply", "settles", cut=True) as settle,
    ):
        await Worker(far, burst=True).run()
        assert (claim.times, settle.times) == (1, 1)
    assert sorted(ran) == ["a", "b", "c"]
    assert await counted(far) == (3, 3)


async def test_what_was_held_back_passes_late(network: Network, far: Engine) -> None:
    do = handler(far, [])
    await do.enqueue("before")
    async with network.mode("hold", ("w1",)):
        asked = asyncio.ensure_future(do.enqueue("late"))
        assert not (await asyncio.wait([asked], timeout=0.1))[0]
    await asked
    assert await counted(far) == (2, 0)


async def test_connections_are_refused_or_swallowed_and_work_again_afterwards(network: Network, far: Engine) -> None:
    do = handler(far, [])
    await do.enqueue("before")
    async with network.mode("refuse", ("w1",)):
        assert await network.cut(("w1",)) == 1
        asked = asyncio.ensure_future(do.enqueue("after a refusal"))
        assert not (await asyncio.wait([asked], timeout=0.1))[0]
    await asked
    async with network.mode("swallow", ("w1",)):
        asked = asyncio.ensure_future(do.enqueue("after a silence"))
        assert not (await asyncio.wait([asked], timeout=0.1))[0]
    await asked
    assert await counted(far) == (3, 0)


async def test_a_delay_keeps_the_order_of_messages(network: Network, far: Engine) -> None:
    do = handler(far, [])
    async with network.mode("delay", ("w1",), 20):
        ids = [(await do.enqueue(f"{n}")).id for n in range(3)]
    ids += [(await do.enqueue(f"{n}")).id for n in range(3)]
    assert len(set(ids)) == 6
    assert await counted(far) == (6, 0)


async def test_only_the_listeners_that_were_named_are_struck(network: Network, far: Engine) -> None:
    other = Engine(
        settings=Settings(redis_url=await network.url("w2"), socket_timeout=0.3, connect_timeout=0.3, enqueue_timeout=0.3)
    )
    do = handler(far, [])
    await do.enqueue("before")
    async with network.mode("refuse", ("w2",)):
        await do.enqueue("not struck")
        with pytest.raises(StoreError):
            await other.__aenter__()
