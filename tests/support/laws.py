"""Laws: what must hold after every test, whatever it did."""

from __future__ import annotations

from engine.keys import prefix
from engine.store.audit import Verdict
from engine.store.base import text
from engine.store.redis_store import RedisStore

_LINES = """
local P, out = KEYS[1], {}
local rows = redis.call('HGETALL', P .. 'keys')
for i = 1, #rows, 2 do
  local part = {}
  for at = 1, #rows[i + 1] - 12, 13 do
    part[#part + 1] = string.format('%d-%d', struct.unpack('>I6I7', rows[i + 1], at))
  end
  local list = {}
  for _, one in ipairs(redis.call('ZRANGE', P .. 'line:' .. rows[i], 0, -1)) do
    list[#list + 1] = string.format('%d-%d', struct.unpack('>I6I7', one))
  end
  out[#out + 1] = { rows[i], part, list, #rows[i + 1] % 13 }
end
local blocked = {}
for _, x in ipairs(redis.call('XRANGE', P .. 'blocked', '-', '+')) do
  local id, size, at = string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);(%d+);%d+;()')
  blocked[#blocked + 1] = { x[1], id == '' and x[1] or id, string.sub(x[2][2], at, at + size - 1) }
end
return { out, blocked, redis.call('KEYS', P .. 'line:*') }
"""
ROOM = 8
"""Entries that wait in a key's row before a tail is begun: lua/parts/line.lua says the same."""


async def lines(store: RedisStore, queue: str) -> dict[str, list[str]]:
    """Ordering key -> the job that holds it and those behind it, in turn, from the structures themselves, which are checked:
    what is blocked stands in its key's line and nowhere else, and a tail is there exactly when its key's row says so."""
    rows, blocked, tails = await store.link.call("EVAL", _LINES, 1, prefix(queue))
    found: dict[str, list[str]] = {}
    job_of = {text(entry): (text(job_id), text(key)) for entry, job_id, key in blocked}
    named = 0
    for key, part, more, mark in rows:
        name, entries = text(key), [text(one) for one in (*part[1:], *more)]
        assert len(part) >= 1, f"nobody holds {name}"
        assert len(part) <= 1 + ROOM, f"{len(part)} ids in the row of {name}"
        assert mark == bool(more), f"{name}: its row says {mark}, its tail has {len(more)}"
        assert all(job_of.get(entry, ("", ""))[1] == name for entry in entries), f"line of {name}: {entries}, blocked: {job_of}"
        named += len(entries)
        found[name] = [text(part[0]), *(job_of[entry][0] for entry in entries)]
    assert named == len(blocked), f"{len(blocked)} are blocked, {named} stand in a line"
    assert len(tails) == sum(bool(more) for _, _, more, _ in rows), f"tails of nobody among {tails}"
    return found


async def assert_conserved(store: RedisStore, queue: str) -> None:
    """enqueued = waiting + active + scheduled + retrying + blocked + completed + dead + cancelled + removed."""
    c = await store.counts(queue)
    total = c.waiting + c.active + c.scheduled + c.retrying + c.blocked + c.completed + c.dead + c.cancelled + c.removed
    assert c.enqueued == total, f"conservation is off by {c.enqueued - total}: {c}"


async def assert_sound(store: RedisStore, queue: str) -> None:
    """No row of the queue contradicts another."""
    wrong = []
    async for rows in store.rows(queue, most=5_000):
        verdicts = await store.examine(queue, rows)
        wrong += [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is not Verdict.SOUND]
    assert not wrong, f"rows that contradict others: {wrong[:10]}"
