"""RAW: the Redis commands a queue on streams can't do without, from Python and without any job logic; the yardstick's top.

python -m bench.peers.drivers.raw single|pipelined|apart|claim --count N      prints {"count", "seconds"} as JSON
python -m bench.peers.drivers.raw bare --count N --pool P --hold-ms MS        no Redis either: coroutines and the handler's work
python -m bench.peers.drivers.raw listen                                      waits for a bell, claims, writes the record
python -m bench.peers.drivers.raw load --rate R --seconds S                   open loop: adds an entry, rings the bell
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from bench.peers.drivers import common

STREAM, BELL, GROUP, CONSUMER = "raw:stream", "raw:bell", "w", "c"
BODY = msgspec.msgpack.encode(common.payload(1))
"""As our payloads are stored, so that the server gets as many bytes. Encoded once: encoding is job logic."""
BATCH = 100


async def single(client: Any, count: int) -> None:
    """XADD, each answered before the next."""
    for _ in range(count):
        await client.xadd(STREAM, {"j": BODY})


async def pipelined(client: Any, count: int) -> None:
    """XADD in pipelines of a hundred."""
    for start in range(0, count, BATCH):
        pipe = client.pipeline(transaction=False)
        for _ in range(min(BATCH, count - start)):
            pipe.xadd(STREAM, {"j": BODY})
        await pipe.execute()


async def claim(client: Any, count: int) -> None:
    """XREADGROUP of a hundred, then XACK and XDEL of them in the round trip that reads the next hundred."""
    done: list[bytes] = []
    left = count
    while left > 0 or done:
        pipe = client.pipeline(transaction=False)
        if done:
            pipe.xack(STREAM, GROUP, *done)
            pipe.xdel(STREAM, *done)
        pipe.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=BATCH)
        answer = (await pipe.execute())[-1]
        rows = _rows(answer)
        done = [entry for entry, _ in rows]
        left -= len(rows)


async def apart(client: Any, count: int) -> None:
    """XREADGROUP of a hundred, then XACK and XDEL of them: two round trips, as one writes it first."""
    left = count
    while left > 0:
        done = [entry for entry, _ in _rows(await client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=BATCH))]
        pipe = client.pipeline(transaction=False)
        pipe.xack(STREAM, GROUP, *done)
        pipe.xdel(STREAM, *done)
        await pipe.execute()
        left -= len(done)


async def bare(count: int, pool: int, hold_ms: int) -> None:
    """So many coroutines do nothing but a handler's work, one job after the other: what the event loop itself allows."""
    numbers = iter(range(count))

    async def slot() -> None:
        for seq in numbers:
            await common.handle(common.payload(seq, hold_ms=hold_ms))

    async with asyncio.TaskGroup() as group:
        for _ in range(pool):
            group.create_task(slot())


async def listen() -> None:
    """The two hops of a job that finds a worker idle: the bell, then the claim. What is done with it comes after."""
    bell, work = (Redis.from_url(common.redis_url(), single_connection_client=True) for _ in range(2))
    await work.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    heard: Any = "0-0"
    while True:
        heard = _rows(await bell.xread({BELL: heard}, block=0))[-1][0]
        rows = _rows(await work.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=BATCH))
        for _, fields in rows:
            now_ns = time.time_ns()
            common.record(int(fields[b"seq"]), int(fields[b"due"]), now_ns, now_ns)
        if rows:
            done = [entry for entry, _ in rows]
            pipe = work.pipeline(transaction=False)
            pipe.xack(STREAM, GROUP, *done)
            pipe.xdel(STREAM, *done)
            await pipe.execute()


async def load(rate: float, seconds: float) -> None:
    """Entry and ring in one round trip; never waits for an answer before the next."""
    pool = BlockingConnectionPool.from_url(common.redis_url(), max_connections=common.SIDE_BY_SIDE, timeout=None)
    async with Redis.from_pool(pool) as client, asyncio.TaskGroup() as calls:

        async def one(seq: int) -> None:
            entry: dict[Any, Any] = {"j": BODY, "seq": seq, "due": time.time_ns()}
            pipe = client.pipeline(transaction=False)
            pipe.xadd(STREAM, entry)
            pipe.xadd(BELL, {"t": 1}, maxlen=1, approximate=False)
            await pipe.execute()

        for seq in range(common.WARM_UP, common.WARM_UP + BATCH):
            await one(seq)
        began = time.perf_counter() + 0.3
        for seq in range(int(rate * seconds)):
            wait = began + seq / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            calls.create_task(one(seq))


def _rows(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a reply, in either protocol's form."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [row for batch in next(iter(answer.values())) for row in batch]
    return list(answer[0][1])


async def main() -> None:
    """One measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("single", "pipelined", "apart", "claim", "bare", "listen", "load"))
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--pool", type=int, default=5)
    parser.add_argument("--hold-ms", type=int, default=10)
    asked = parser.parse_args()
    began = time.perf_counter()
    if asked.what == "listen":
        await listen()
    elif asked.what == "load":
        await load(asked.rate, asked.seconds)
        seconds = time.perf_counter() - began
    elif asked.what == "bare":
        await bare(asked.count, asked.pool, asked.hold_ms)
        seconds = time.perf_counter() - began
    else:
        seconds = await _on_redis(asked.what, asked.count)
    print(json.dumps({"count": asked.count, "seconds": seconds}))


async def _on_redis(what: str, count: int) -> float:
    """Seconds that it takes on a connected client."""
    client = Redis.from_url(common.redis_url(), single_connection_client=True)
    await client.delete(STREAM)
    await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    if what in ("apart", "claim"):
        await pipelined(client, count)
    work = {"single": single, "pipelined": pipelined, "apart": apart, "claim": claim}[what]
    began = time.perf_counter()
    await work(client, count)
    seconds = time.perf_counter() - began
    await client.aclose()
    return seconds


if __name__ == "__main__":
    common.run(main())
