"""Damage: what a hand, a script of somebody else's or half a restore may do to one key of a queue, for every kind of key there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from engine.keys import SUFFIXES, prefix
from engine.store.base import text
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, body, enqueue, raw

FUTURE = "99999999999999-1"
"""An id that no clock of ours comes to."""


async def busy(store: RedisStore, queue: str) -> None:
    """A queue that has every key: jobs in each state, notes, a long line, dedup keys, marks, ends that somebody waits for."""
    hand = Hand(store, queue)
    await store.heartbeat(queue, "w1", msgspec.msgpack.encode({"host": "h", "pid": 1, "names": ["greet"]}))
    await store.enqueue(queue, "dedups", 1, [Entry(body(), dedup_key="d", dedup_window_ms=HOUR)])
    await enqueue(store, queue, 4)
    retried, snoozed, dead, noted, plain = await hand.claim(5)
    await store.await_end(queue, plain.id)
    await store.note(queue, "w1", noted.tag, noted.entry, noted.id, "progress", b"1;2")
    await store.note(queue, "w1", noted.tag, noted.entry, noted.id, "log", b"line")
    await store.note(queue, "w1", noted.tag, noted.entry, noted.id, "step:one", b"x")
    await hand.retry(retried)
    await hand.snooze(snoozed)
    await hand.bury(dead)
    hand.settles.count("greet;completed", 1)
    await hand.complete(noted, plain)
    await enqueue(store, queue, 3, ordering_key="k")
    await enqueue(store, queue, 12, ordering_key="many")
    await enqueue(store, queue, 2, delay_ms=HOUR)
    active, released = await hand.claim(2)
    await hand.release(released)
    await store.cancel(queue, active.id, "asked")


@dataclass(frozen=True)
class Damage:
    """One key of a kind is deleted, of a foreign type, or has something in it (`command`) that the engine never wrote."""

    suffix: str
    command: tuple[str, ...] = ()
    """After the name of the command the arguments behind the key; () for a foreign type, `DEL` for a key that goes"""

    def __str__(self) -> str:
        return f"{self.suffix} {' '.join(self.command) or 'foreign'}"

    @property
    def is_foreign(self) -> bool:
        """True when the key's place is taken by another type."""
        return not self.command

    async def do(self, store: RedisStore, queue: str) -> str:
        """The key that was damaged."""
        key = prefix(queue) + self.suffix
        if self.suffix.endswith(":"):
            found = sorted(text(one) for one in await store.link.call("KEYS", key.replace("{", "\\{").replace("}", "\\}") + "*"))
            assert found, f"the queue has no {self.suffix}"
            key = f"{key}5" if self.suffix == "ready:" else found[0]
        assert await store.link.call("EXISTS", key), f"the queue has no {key}"
        if self.is_foreign:
            await store.link.call("DEL", key)
            await store.link.call("SET", key, "not ours")
        else:
            name, *rest = self.command
            await store.link.call(name, key, *rest)
        return key


_JUNK: dict[str, list[str]] = {
    "meta": [
        *("HSET ms abc", "HSET ms 3", "HSET seq inf", "HSET tags 5z55", "HSET tags abc", "HSET paused abc", "HSET gate nan"),
        *(f"HSET {field} abc" for field in ("beat", "rung", "solo", "epoch", "dedups", "enqueued", "retried", "done_kept")),
        *("HSET grace inf", "HSET silences 99999999999999,99999999999999;", "HSET w:w1 abc|", "HSET p:dedups 1|x"),
        *(f"HDEL {field}" for field in ("ms", "seq", "tags")),
    ],
    "metrics": ["HSET greet;completed abc"],
    "ready:": ["XADD * x y", "XADD * j rubbish", f"XADD {FUTURE} j rubbish"],
    "bell": [f"XADD {FUTURE} t x", "XADD * x y"],
    "control": ["XADD * x y", f"XADD {FUTURE} act cancel id zzz"],
    "jobs": ["HSET zzz rubbish", "HSET 1-1 rubbish"],
    "where": ["HSET zzz ??", "HSET 1-1 5:" + "9" * 30, "HSET 1-1 t", "HSET 1-1 d:x"],
    "scheduled": ["ZADD 1 zzz", "ZADD inf zzz", "ZADD -inf 1-1", "ZADD 1e300 1-1"],
    "retrying": ["ZADD 1 zzz", "ZADD inf zzz", "ZADD -inf 1-1", "ZADD 1e300 1-1"],
    "blocked": ["XADD * x y", "XADD * j rubbish", "XADD * j 1;0;5;--;1;0;kX", f"XADD {FUTURE} j rubbish"],
    "keys": [*("HSET j " + "x" * size for size in (5, 13, 14)), "HSET k ab", "HSET many abc", "HSET j +"],
    "line:": ["ZADD 0 ab", "ZADD 0 thirteen-bytes", "ZADD 5 abcdefghijklm"],
    "dedup:": ["HSET d abc", "HSET d 1-1;abc", "HSET zzz ;"],
    "dead": ["XADD * x y", "XADD * j rubbish", f"XADD {FUTURE} j rubbish"],
    "done": ["XADD * q 1", "XADD * r rubbish n abc", "XADD * r rubbish"],
    "settled": ["XADD * x y", "XADD * id 1-1"],
    "flags": ["HSET c 1", "HSET zzz 1", "HSET c1-1 abc"],
    "notes:": ["HSET progress abc", "HSET lines abc", "HSET steps abc", "HSET log:x abc", "HSET result abc"],
    "noted": ["ZADD inf zzz", "ZADD 1 zzz", "ZADD -inf 1-1"],
    "workers": ["HSET w9 junk", "HSET w9 " + "9" * 30 + ";x", "HSET w1 junk"],
    "events": ["XADD * x y"],
}


def damages() -> Iterator[Damage]:
    """Every kind of key, deleted, of a foreign type, and with what is none of the engine's in it."""
    assert set(_JUNK) == set(SUFFIXES), "a kind of key that nobody damages"
    for suffix in SUFFIXES:
        yield Damage(suffix)
        yield Damage(suffix, ("DEL",))
        for words in _JUNK[suffix]:
            yield Damage(suffix, tuple(words.split(" ")))


async def forget(store: RedisStore, queue: str) -> None:
    """No key of the queue is left, whatever was done to it."""
    for key in await store.link.call("KEYS", f"engine:\\{{{queue}\\}}:*"):
        await store.link.call("DEL", key)
    await store.unregister_queue(queue)


async def meta(store: RedisStore, queue: str, field: str) -> str:
    """A field of the hash `meta`."""
    return text(await raw(store, queue, "HGET", "meta", field) or b"")
