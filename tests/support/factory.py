"""Factory: jobs, declarations and a worker by hand, with defaults, so that a test shows only what matters to it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine import Clock, Job
from engine.declared import HandlerSpec, QueueSpec
from engine.job import Body, Envelope, Notes, encode_payload, pack_body
from engine.keys import GROUP, prefix
from engine.outcome import Rules
from engine.store.base import text
from engine.store.claim import Claim
from engine.store.door import Door
from engine.store.link import Link
from engine.store.pages import ended_rows
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.replies import pairs
from engine.store.settles import Settles
from engine.store.wire import Wire
from engine.store.work import Reclaimed, StepReply

HOUR = 3_600_000
LEASE_MS = 10_000
_producers = itertools.count(1)


# --- plain values ----------------------------------------------------------------------------------------------------


def body(name: str = "greet", payload: object = None, **fields: Any) -> bytes:
    """A packed body."""
    return pack_body(Body(name, msgspec.Raw(encode_payload({"n": 1} if payload is None else payload)), **fields))


def envelope(**fields: Any) -> Envelope:
    """An envelope; the first attempt of a job of priority 5 without a key."""
    defaults: dict[str, Any] = {"attempt": 1, "stalls": 0, "priority": 5, "id": "1-1", "key": "", "losses": b"", "body": body()}
    return Envelope(**{**defaults, **fields})


def claim(queue: str = "q", tag: str = "5", entry: str = "1-1", **fields: Any) -> Claim:
    """A claim of an entry; fields go to its envelope."""
    return Claim(queue, tag, entry, envelope(**{"id": entry, **fields}), 0.0)


class NoNotes(Notes):
    """Notes that keep in memory what a handler writes."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.lines: list[str] = []

    async def write(self, field: str, value: bytes) -> None:
        """Keep it."""
        self.kept[field] = value

    async def read(self, field: str) -> bytes | None:
        """What was kept."""
        return self.kept.get(field)

    def log(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


def job(**fields: Any) -> Job:
    """A job as a handler sees it."""
    defaults: dict[str, Any] = {"queue": "q", "short_id": "1-1", "name": "greet", "attempt": 1, "attempts": 3, "notes": NoNotes()}
    return Job(**{**defaults, **fields})


async def nothing(payload: Any) -> None:
    """A handler that does nothing."""


def handler(fn: Callable[..., Any] = nothing, name: str = "greet", **fields: Any) -> HandlerSpec:
    """A declared handler."""
    return HandlerSpec(name, fn, fields.pop("rules", Rules()), fields.pop("timeout", 30.0), **fields)


def spec(name: str = "q", *handlers: HandlerSpec, **fields: Any) -> QueueSpec:
    """A declared queue with these handlers."""
    made = QueueSpec(name, **fields)
    made.handlers.update({one.name: one for one in handlers or (handler(),)})
    return made


# --- jobs in a store -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Now:
    """The instant a store with a chosen clock takes for now; starts at this machine's."""

    ms: int = field(default_factory=lambda: Clock().now_ms())

    def forward(self, ms: int) -> None:
        """Let time pass."""
        self.ms += ms


def at_time(store: RedisStore, now: Now) -> RedisStore:
    """The same server with a clock of the test's choice; nothing of its own to close."""
    return RedisStore(store.link, Clock(), test_now_ms=lambda: now.ms)


@contextlib.asynccontextmanager
async def lone_store(url: str, *, timeout: float = 5.0, connect_timeout: float = 5.0) -> AsyncIterator[RedisStore]:
    """A store of its own connections to a server of the test's own."""
    store = RedisStore(Link(url, clock=Clock(), timeout=timeout, connect_timeout=connect_timeout), Clock())
    try:
        yield store
    finally:
        await store.close()


async def enqueue(
    store: RedisStore, queue: str, n: int = 1, *, producer: str = "", data: bytes | None = None, **entry: Any
) -> list[str]:
    """Add `n` equal jobs in one call; their ids, in order."""
    name = producer or f"p{next(_producers)}"
    added = await store.enqueue(queue, name, 1, [Entry(body() if data is None else data, **entry)] * n)
    return [one.id for one in added]


async def enqueue_foreign(store: RedisStore, queue: str, value: bytes) -> str:
    """Put bytes that are no job among the waiting, counted so that the conservation law holds; the entry's id."""
    await enqueue(store, queue)
    entry = text(await store.link.call("XADD", f"{prefix(queue)}ready:5", "*", "j", value))
    await store.link.call("HINCRBY", f"{prefix(queue)}meta", "enqueued", 1)
    return entry


async def raw(store: RedisStore, queue: str, command: str, suffix: str, *args: Any) -> Any:
    """One command on a key of the queue."""
    return await store.link.call(command, prefix(queue) + suffix, *args)


async def usurp(store: RedisStore, queue: str, suffix: str) -> Callable[[], Any]:
    """Put a foreign type in a key's place; the answer puts back what was there."""
    key, aside = prefix(queue) + suffix, f"{prefix(queue)}aside:{suffix}"
    had = await store.link.call("EXISTS", key)
    if had:
        await store.link.call("RENAME", key, aside)
    await store.link.call("SET", key, "not ours")

    async def restore() -> None:
        await store.link.call("DEL", key)
        if had:
            await store.link.call("RENAME", aside, key)

    return restore


async def fall_asleep(store: RedisStore, queue: str, name: str = "sleeper") -> None:
    """Another worker looks, finds nothing and waits for the bell."""
    assert await Hand(store, queue, name).claim(9) == []


class _Shared(Wire):
    """A wire that borrows the link's connections, so that a worker by hand has nothing to close."""

    def __init__(self, store: RedisStore, queue: str) -> None:
        door = Door(Clock())
        super().__init__(lambda: store.link._address.dial(), "test", door, timeout=5.0, connect_timeout=5.0)
        self._store, self._queue = store, queue

    async def run(self, name: str, prefix: str, *args: Any) -> Any:
        return await self._store.link.run(name, self._queue, prefix, *args)


class Hand:
    """A worker by hand: claims, settles and repeats exactly when the test says so."""

    def __init__(self, store: RedisStore, queue: str, name: str = "w1", *, notes_ms: int = 60_000) -> None:
        self.store, self.queue, self.name = store, queue, name
        self.number = 0
        self.settles = Settles()
        self._notes_ms = notes_ms
        self._wire = _Shared(store, queue)
        self._last: tuple[int, int, int, Settles, bytes] = (0, 0, 0, Settles(), b"")

    async def step(self, want: int = 0, held: int = 0) -> StepReply:
        """Settle what was said, claim up to `want`."""
        self.prepare(want, held)
        return await self.again()

    def prepare(self, want: int = 0, held: int = 0) -> None:
        """Number a call that is lost on its way; `again` sends it."""
        settles, self.settles = self.settles, Settles()
        completed = [c for c in settles.claims if not any(o[1] is c for o in settles._others)] + [
            o[1] for o in settles._others if o[0] == "c"
        ]
        ran = [(c.id, c.name, c.envelope.attempt, 1000, 5, *([c.entry] if c.moved_id else [])) for c in completed]
        record = msgspec.msgpack.encode((self.name, ran)) if ran else b""
        self.number += 1
        self._last = (self.number, want, held, settles, record)

    async def again(self) -> StepReply:
        """The very same call once more, as after a lost reply."""
        number, want, held, settles, record = self._last
        return await self.store.step(self._wire, self.queue, self.name, number, want, held, settles, record, self._notes_ms)

    async def claim(self, n: int = 1, held: int = 0) -> list[Claim]:
        """Claim up to `n`."""
        return read(self.queue, await self.step(n, held))

    async def complete(self, *claims: Claim) -> list[str]:
        """Settle as completed; the lost entries."""
        for one in claims:
            self.settles.complete(one)
        return (await self.step()).lost

    async def retry(self, one: Claim, delay_ms: int = HOUR) -> list[str]:
        """Settle as failed, to be tried again; the lost entries."""
        self.settles.retry(one, delay_ms, "OSError: no", one.repacked(attempt=one.envelope.attempt + 1))
        return (await self.step()).lost

    async def snooze(self, one: Claim, delay_ms: int = HOUR) -> list[str]:
        """Settle as not now; the lost entries."""
        self.settles.snooze(one, delay_ms, one.repacked())
        return (await self.step()).lost

    async def release(self, *claims: Claim) -> list[str]:
        """Give back; the lost entries."""
        for one in claims:
            self.settles.release(one, one.repacked())
        return (await self.step()).lost

    async def bury(self, *claims: Claim, reason: str = "attempts used up") -> list[str]:
        """Settle as dead; the lost entries."""
        for one in claims:
            self.settles.bury(one, b"", "f00d", reason, one.repacked())
        return (await self.step()).lost

    async def cancel(self, *claims: Claim, reason: str = "asked") -> list[str]:
        """Settle as cancelled; the lost entries."""
        for one in claims:
            self.settles.cancel(one, reason, one.repacked())
        return (await self.step()).lost

    async def renew(self, *claims: Claim) -> tuple[list[str], list[str]]:
        """Renew the leases of these: lost entries, ids asked to cancel."""
        return await self.store.renew(self.queue, self.name, claims)

    async def lapse(self, *claims: Claim, ms: int = 2 * LEASE_MS) -> None:
        """Make leases old at once."""
        for one in claims:
            stream = f"{prefix(self.queue)}ready:{one.tag}"
            await self.store.link.call("XCLAIM", stream, GROUP, self.name, 0, one.entry, "IDLE", ms, "JUSTID")


def read(queue: str, reply: StepReply) -> list[Claim]:
    """The claims of a reply."""
    return [Claim.read(queue, tag, entry, value, 0.0) for tag, entry, value in reply.rows]


async def reclaim(store: RedisStore, queue: str, *, stall_limit: int = 3, worker: str = "reclaimer", **how: Any) -> Reclaimed:
    """One bite without grace, from the beginning of each stream."""
    return await store.reclaim(queue, worker, LEASE_MS, stall_limit, {}, grace=False, **how)


async def tell_lease(store: RedisStore, queue: str, worker: str, lease_ms: object) -> None:
    """A heartbeat that says so."""
    await store.heartbeat(queue, worker, msgspec.msgpack.encode({"names": ["greet"], "lease_ms": lease_ms}))


# --- where every job is ----------------------------------------------------------------------------------------------

_LOOK = """
local P, out = KEYS[1], {}
local function add(kind, value) out[#out + 1] = kind; out[#out + 1] = value end
for tag in (redis.call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
  local active = {}
  local p = redis.pcall('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', 1000)
  for _, r in ipairs(p.err and {} or p) do active[r[1]] = true end
  for _, x in ipairs(redis.call('XRANGE', P .. 'ready:' .. tag, '-', '+')) do
    local id = string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);') or ''
    add(active[x[1]] and 'active' or 'waiting', id == '' and x[1] or id)
  end
end
for _, id in ipairs(redis.call('ZRANGE', P .. 'scheduled', 0, -1)) do add('scheduled', id) end
for _, id in ipairs(redis.call('ZRANGE', P .. 'retrying', 0, -1)) do add('retrying', id) end
for _, x in ipairs(redis.call('XRANGE', P .. 'blocked', '-', '+')) do
  local id = string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);') or ''
  add('blocked', id == '' and x[1] or id)
end
for _, x in ipairs(redis.call('XRANGE', P .. 'dead', '-', '+')) do add('dead', x[2][10]) end
return { out, redis.call('XRANGE', P .. 'done', '-', '+') }
"""


async def whereabouts(store: RedisStore, queue: str) -> dict[str, list[str]]:
    """Job id -> every state it is found in, read from the structures themselves at one instant."""
    flat, done = await store.link.call("EVAL", _LOOK, 1, prefix(queue))
    found: dict[str, list[str]] = {}
    for state, job_id in zip(flat[::2], flat[1::2], strict=True):
        found.setdefault(text(job_id), []).append(text(state))
    for entry, fields in done:
        for row in ended_rows(queue, text(entry), pairs(fields)):
            found.setdefault(row.id, []).append(row.state.value)
    return found


async def states(store: RedisStore, queue: str, ids: Iterable[str]) -> list[str]:
    """The state of each job, in that order; several joined by `+` (a fault), '-' for none."""
    found = await whereabouts(store, queue)
    return ["+".join(found.get(job_id, ["-"])) for job_id in ids]
