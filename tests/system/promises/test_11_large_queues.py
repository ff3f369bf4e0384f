"""Promise 11, beside a hundred thousand jobs of each kind: what people look at and what they do takes no longer than beside ten."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest

from engine import State
from engine.client import Client, Filter
from engine.declared import QueueSpec
from engine.keys import prefix
from engine.services.report import dead_info
from engine.store.base import text
from engine.store.pages import LARGEST_PAGE
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, body, enqueue, lone_store
from tests.support.laws import assert_conserved

from .servers import OwnServer
from .times import Times

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MANY = 100_000
QUEUE = "large"
BODY = body(payload={"text": "x" * 300})
OLD = 1_000
"""Dead jobs that died a day ago."""
LOOKS = (b"EVALSHA", b"XRANGE", b"XREVRANGE", b"XPENDING", b"ZRANGE", b"HMGET", b"HGETALL", b"HVALS", b"HKEYS")

_COPIES = """
local P, n, kind, body, info, old = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local function fmt(x) return string.format('%.0f', x) end
local counter = redis.call('HMGET', P .. 'meta', 'ms', 'seq')
local ms, seq = tonumber(counter[1]), tonumber(counter[2])
for i = 1, n do
  local id = fmt(ms) .. '-' .. fmt(seq + i)
  if kind == 'waiting' then
    redis.call('XADD', P .. 'ready:5', id, 'j', '1;0;5;;0;0;' .. body)
  elseif kind == 'blocked' then
    redis.call('XADD', P .. 'blocked', id, 'j', '1;0;5;;1;0;k' .. body)
    redis.call('ZADD', P .. 'line:k', 0, struct.pack('>I6I7', ms, seq + i))
  elseif kind == 'scheduled' then
    redis.call('ZADD', P .. 'scheduled', fmt(ms + 3600000 + i), id)
    redis.call('HSET', P .. 'jobs', id, '1;0;5;' .. id .. ';0;0;' .. body)
    redis.call('HSET', P .. 'where', id, 's')
  elseif kind == 'dead' then
    local entry = i <= old and fmt(ms - 86400000 + i) .. '-1' or id
    redis.call('XADD', P .. 'dead', entry, 'j', '3;0;5;' .. id .. ';0;0;' .. body, 'i', info, 'f', 'f' .. (i % 7), 'w', 'used up', 'id', id)
    redis.call('HSET', P .. 'where', id, 'd:' .. entry)
  else
    redis.call('XADD', P .. 'done', '*', 'r', info, 'n', 100, 'lost', '')
  end
end
local jobs = kind == 'completed' and n * 100 or n
if kind == 'completed' then
  redis.call('HINCRBY', P .. 'meta', 'completed', jobs)
  redis.call('HINCRBY', P .. 'meta', 'done_kept', jobs)
end
redis.call('HSET', P .. 'meta', 'seq', fmt(seq + n))
redis.call('HINCRBY', P .. 'meta', 'enqueued', jobs)
return fmt(ms) .. '-' .. fmt(seq + 1)
"""
"""Many jobs at once, in the places where the engine's own scripts put them; the law and the sample below tell whether they are."""


class Large:
    """The store, and an id from the middle of each kind."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.middle: dict[str, str] = {}

    async def fill(self) -> None:
        await self.store.register_queue(QUEUE, 1)
        await enqueue(self.store, QUEUE)
        await enqueue(self.store, QUEUE, 10, ordering_key="k")  # the holder, eight in its row, one in its tail
        try:
            raise OSError("nobody there: " + "y" * 200)
        except OSError as error:
            now_ms = await self.store.now_ms()
            info, _ = dead_info(error, reason="used up", history=(), worker="w", organization_id="o", now_ms=now_ms)
        ran = msgspec.msgpack.encode(("w", [(f"1-{n}", "greet", 1, 1000, 5) for n in range(100)]))
        for kind, value in (("dead", info), ("waiting", b""), ("blocked", b""), ("scheduled", b""), ("completed", ran)):
            n = MANY // 100 if kind == "completed" else MANY
            for at in range(0, n, 5_000):
                args = (min(n - at, 5_000), kind, BODY, value, OLD if at == 0 else 0)
                first = text(await self.store.link.call("EVAL", _COPIES, 1, prefix(QUEUE), *args))
                if at == n // 2:
                    self.middle[kind] = f"{QUEUE}/{first}"


@pytest.fixture
async def large(server_kind: str) -> AsyncIterator[Large]:
    with OwnServer(server_kind, "--appendonly", "no") as server:
        async with lone_store(server.url) as store:
            made = Large(store)
            await made.fill()
            yield made
            await assert_conserved(store, QUEUE)


async def test_beside_a_hundred_thousand_of_each_kind_every_look_and_every_bite_stays_under_two_milliseconds(
    large: Large,
) -> None:
    store, middle = large.store, large.middle
    client = Client(store, {QUEUE: QueueSpec(QUEUE)})
    counts = await store.counts(QUEUE)
    assert min(counts.waiting, counts.scheduled, counts.blocked, counts.dead, counts.completed) >= MANY
    times = Times(store.link.call, *LOOKS)
    await times.begin()
    await times.known(5)
    await times.dearest("stats", client.stats)
    for state in State:
        await times.dearest(f"a page of {state.value}", partial(store.page, QUEUE, state, limit=LARGEST_PAGE))
    await times.dearest("jobs", partial(client.jobs, queue=QUEUE, limit=5))
    for kind in ("waiting", "scheduled", "blocked", "dead"):
        await times.dearest(f"job, {kind}", partial(client.job, middle[kind]))
    await times.dearest("failures", partial(client.failures, most=100))
    await times.dearest("retry-failed", partial(client.retry_failed, Filter(error="nobody there"), rate=100_000, limit=7))
    await times.dearest("clean, looking", partial(client.clean, ("dead", "completed"), 3_600, dry_run=True))
    await times.dearest("clean, dead", partial(store.sweep_dead, QUEUE, counts.now_ms - 3_600_000, limit=50))
    await times.dearest("clean, ended", partial(store.sweep_done, QUEUE, counts.now_ms + 3_600_000, limit=200, kind="completed"))
    for kind in ("waiting", "scheduled", "blocked"):
        assert (await client.job(middle[kind])).state.value == kind
        await times.dearest(f"cancel, {kind}", CancelNext(client, middle[kind]))
    await renew_beside_many_flags(store, times)
    await times.known(5)
    assert times.report() == {}
    for command in times.commands:
        assert is_bounded([word.decode(errors="replace") for word in command]), command


class CancelNext:
    """Each call cancels one job more, from an id on."""

    def __init__(self, client: Client, first: str) -> None:
        self._client = client
        self._upto, _, seq = first.rpartition("-")
        self._numbers = itertools.count(int(seq))

    async def __call__(self) -> None:
        assert (await self._client.cancel(f"{self._upto}-{next(self._numbers)}")).outcome == "cancelled"


async def renew_beside_many_flags(store: RedisStore, times: Times) -> None:
    """A hundred leases, while somebody waits for the end of a hundred thousand jobs."""
    hand = Hand(store, QUEUE)
    claims = await hand.claim(100)
    fill = "for i = 1, tonumber(ARGV[1]) do redis.call('HSET', KEYS[1], 'w1-' .. i, '1') end"
    await store.link.call("EVAL", fill, 1, prefix(QUEUE) + "flags", MANY)
    await store.cancel(QUEUE, claims[7].id, "why")
    assert await hand.renew(*claims) == ([], [claims[7].id])
    await times.dearest("renew", partial(hand.renew, *claims))


def is_bounded(words: list[str]) -> bool:
    """It reads a page at most, or what does not grow with the jobs."""
    match words[0].upper():
        case "XRANGE" | "XREVRANGE":
            return words[2] == words[3] or ("COUNT" in words and int(words[words.index("COUNT") + 1]) <= LARGEST_PAGE)
        case "ZRANGE":
            return int(words[3]) - int(words[2]) < LARGEST_PAGE
        case "HGETALL" | "HVALS" | "HKEYS":
            return words[1].endswith((":queues", ":workers", ":meta")) or ":notes:" in words[1]
    return True
