"""Facts: all that a queue's keys hold, read in one script at one instant, and the form in which two looks can be compared.

It reads the structures themselves and shares no code with the scripts it judges. What no script reads back (histories, the time of
a loss, streams that only tell) is left out of the comparable form.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from engine.errors import StoreRefused
from engine.keys import prefix
from engine.store.base import text
from engine.store.pages import ended_rows
from engine.store.redis_store import RedisStore
from engine.store.replies import pairs
from engine.store.rows import id_order

OLD_MS = 1_800_000
"""Idle for longer is called old: a test makes a lease old by so much at once, and none takes so long."""

LIVE = ("waiting", "active", "scheduled", "retrying", "blocked")
ENDED = ("completed", "cancelled")

LOOK = f"""
local P, has, names, out = KEYS[1], {{}}, {{}}, {{}}
for _, name in ipairs(redis.call('KEYS', P .. '*')) do
  local suffix = string.sub(name, #P + 1)
  has[suffix] = true
  if suffix ~= 'events' then names[#names + 1] = suffix end
end
table.sort(names)
local streams, dedups, lists, notes = {{}}, {{}}, {{}}, {{}}
local function ids(packed)
  local found = {{}}
  for at = 1, #packed - 12, 13 do found[#found + 1] = string.format('%d-%d', struct.unpack('>I6I7', packed, at)) end
  return found
end
for _, name in ipairs(names) do
  local tag, key = string.match(name, '^ready:(.)$'), string.match(name, '^line:(.*)$')
  if tag then
    local stream, pending, last = P .. name, {{}}, ''
    local p = redis.pcall('XPENDING', stream, 'w', '-', '+', 1000)
    for _, r in ipairs(p.err and {{}} or p) do pending[#pending + 1] = {{ r[1], r[2], r[3] >= {OLD_MS} and 1 or 0 }} end
    for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      for x = 1, #g, 2 do
        if g[x] == 'last-delivered-id' then last = g[x + 1] end
      end
    end
    streams[#streams + 1] = {{ tag, redis.call('XRANGE', stream, '-', '+'), pending, last }}
  elseif key then
    lists[key] = ids(table.concat(redis.call('ZRANGE', P .. name, 0, -1)))
  elseif string.sub(name, 1, 6) == 'dedup:' then
    dedups[#dedups + 1] = redis.call('HGETALL', P .. name)
  elseif string.sub(name, 1, 6) == 'notes:' then
    notes[#notes + 1] = {{ string.sub(name, 7), redis.call('HKEYS', P .. name) }}
  end
end
local function hash(suffix)
  if not has[suffix] then return {{}} end
  local r = redis.pcall('HGETALL', P .. suffix)
  return r.err and {{}} or r
end
local function zset(suffix) return has[suffix] and redis.call('ZRANGE', P .. suffix, 0, -1, 'WITHSCORES') or {{}} end
local function stream(suffix) return has[suffix] and redis.call('XRANGE', P .. suffix, '-', '+') or {{}} end
local lines, rows = {{}}, hash('keys')
for i = 1, #rows, 2 do lines[#lines + 1] = {{ rows[i], ids(rows[i + 1]), #rows[i + 1] % 13, lists[rows[i]] or {{}} }} end
local done = stream('done')
for i, x in ipairs(done) do done[i] = x[2] end
local settled = stream('settled')
for i, x in ipairs(settled) do settled[i] = x[2] end
local bell = stream('bell')[1]
out = {{ hash('meta'), streams, zset('scheduled'), zset('retrying'), hash('jobs'), hash('where'), lines, stream('blocked'),
  stream('dead'), done, hash('flags'), zset('noted'), bell and bell[1] or '', names, dedups, hash('workers'), notes, settled }}
return {{ redis.sha1hex(cmsgpack.pack(out)), out }}
"""
_LOOK_SHA = hashlib.sha1(LOOK.encode(), usedforsecurity=False).hexdigest()


class Spot(NamedTuple):
    """A job in one place. Places that keep no envelope (a record of its completion) know less of it."""

    state: str
    entry: str = ""
    """Its entry in a stream, '' elsewhere."""
    tag: str = ""
    owner: str = ""
    is_old: bool = False
    """Claimed, and its lease has run out."""
    attempt: int = 0
    stalls: int = 0
    priority: str = ""
    key: str = ""
    body: bytes = b""
    due_ms: int = 0


class Line(NamedTuple):
    """An ordering key's row: who holds it, and the entries of `blocked` behind it."""

    holder: str
    row: tuple[str, ...]
    listed: tuple[str, ...]
    says_listed: bool

    @property
    def behind(self) -> tuple[str, ...]:
        """Entries that wait, in turn."""
        return self.row + self.listed


@dataclass(eq=False)
class Facts:
    """One look at a queue."""

    meta: dict[str, str]
    spots: dict[str, tuple[Spot, ...]]
    """Job id -> every place it is found in; a lawful job has one."""
    where: dict[str, str]
    jobs: frozenset[str]
    """Ids with a row in `jobs`."""
    lines: dict[str, Line]
    blocked: dict[str, str]
    """Entry of `blocked` -> job id."""
    flags: frozenset[str]
    noted: dict[str, str]
    bell: str
    names: tuple[str, ...]
    """Suffixes of every key of the queue."""
    dedups: dict[str, str]
    workers: frozenset[str]
    notes: dict[str, tuple[str, ...]]
    """Job id -> the fields that are kept of it."""
    settled: tuple[tuple[str, str], ...]
    """Ends that were announced to somebody: job id and outcome."""
    is_judged: bool = False
    """The laws of a state hold: an equal look is the same object, and is judged once."""

    def spot(self, job_id: str) -> Spot | None:
        """Where a job is; None when it is nowhere."""
        found = self.spots.get(job_id)
        return found[0] if found else None

    def state(self, job_id: str) -> str:
        """Its state, '-' when it is nowhere."""
        found = self.spots.get(job_id)
        return found[0].state if found else "-"

    @cached_property
    def pending(self) -> dict[str, tuple[str, str, bool]]:
        """Entry -> (owner, job id, is old) of everything claimed."""
        return {s.entry: (s.owner, i, s.is_old) for i, spots in self.spots.items() for s in spots if s.state == "active"}

    def count(self, name: str) -> int:
        """A flow counter."""
        return int(self.meta.get(name, 0))

    def many(self, *states: str) -> list[str]:
        """Ids of the jobs in one of these states."""
        return [i for i, spots in self.spots.items() if spots[0].state in states]

    @cached_property
    def form(self) -> str:
        """What scripts may read back, as text: two queues of equal form (up to the ids' numbers) go on equally."""
        meta = {k: _producer_row(v) if k.startswith("p:") else v for k, v in self.meta.items() if k not in _HISTORY}
        spots = [(i, *s) for i, places in sorted(self.spots.items()) for s in places]
        lines = sorted((key, *line) for key, line in self.lines.items())
        rest = (sorted(self.where.items()), sorted(self.flags), sorted(self.noted.items()), self.bell, self.names)
        more = (sorted(self.dedups.items()), sorted(self.workers), sorted(self.notes.items()))
        return repr((sorted(meta.items()), spots, lines, rest, more))


_HISTORY = frozenset(
    {
        "ms",
        "seq",
        "epoch",
        "retried",
        "snoozed",
        "stalled",
        "died",
        "released",
        "requeued",
        "expired",
        "dropped",
        "refused",
        "completed",
        "cancelled",
    }
)
"""Fields of `meta` that only tell what was. The id counter is no state either, being ahead of every id (a law looks at that)."""


def _producer_row(row: str) -> str:
    number, _, ms, first, rest = row.split("|", 4)
    return f"{number}|{ms}-{first}|{rest}"


async def look(store: RedisStore, queue: str, known: dict[bytes, Facts]) -> Facts:
    """All there is of a queue. `known` keeps what was read before, by its digest."""
    try:
        digest, raw = await store.link.call("EVALSHA", _LOOK_SHA, 1, prefix(queue))
    except StoreRefused:  # the first look at this server
        digest, raw = await store.link.call("EVAL", LOOK, 1, prefix(queue))
    found = known.get(digest)
    if found is None:
        found = known[digest] = read_facts(queue, raw)
    return found


_HEAD = re.compile(rb"(\d+);(\d+);(\d);([\d-]*);(\d+);(\d+);")


def _envelope(value: bytes, entry: str) -> tuple[str, dict[str, Any]]:
    """Job id and what an envelope says; an unreadable one is a job of its entry's id."""
    head = _HEAD.match(value)
    if head is None:
        return entry, {"body": value}
    attempt, stalls, priority, job_id, size, losses = head.groups()
    rest = value[head.end() :]
    key, body = rest[: int(size)], rest[int(size) + int(losses) :]
    fields = {"attempt": int(attempt), "stalls": int(stalls), "priority": text(priority), "key": text(key), "body": body}
    return text(job_id) or entry, fields


def read_facts(queue: str, raw: list[Any]) -> Facts:
    """The reply of the look."""
    meta = {text(k): text(v) for k, v in zip(raw[0][::2], raw[0][1::2], strict=True)}
    spots: dict[str, list[Spot]] = {}

    def add(job_id: str, spot: Spot) -> None:
        spots.setdefault(job_id, []).append(spot)

    for tag, entries, pending, last in raw[1]:
        owners = {text(entry): (text(owner), old == 1) for entry, owner, old in pending}
        top = id_order(text(last))
        for entry, fields in entries:
            name = text(entry)
            job_id, said = _envelope(fields[1], name)
            owner, is_old = owners.pop(name, ("", False))
            state = "active" if owner else "astray" if id_order(name) <= top else "waiting"
            add(job_id, Spot(state, name, text(tag), owner, is_old, **said))
        for name, (owner, _) in owners.items():
            add(f"?{name}", Spot("ghost", name, text(tag), owner))
    rows = {text(k): v for k, v in zip(raw[4][::2], raw[4][1::2], strict=True)}
    for at, state in ((2, "scheduled"), (3, "retrying")):
        for job, due in zip(raw[at][::2], raw[at][1::2], strict=True):
            job_id = text(job)
            _, said = _envelope(rows.get(job_id, b""), job_id)
            add(job_id, Spot(state, due_ms=int(float(due)), **said))
    blocked = {}
    for entry, fields in raw[7]:
        job_id, said = _envelope(fields[1], text(entry))
        blocked[text(entry)] = job_id
        add(job_id, Spot("blocked", text(entry), **said))
    for entry, fields in raw[8]:
        _, said = _envelope(fields[1], "")
        add(text(fields[9]), Spot("dead", text(entry), **said))
    for n, fields in enumerate(raw[9]):
        for row in ended_rows(queue, f"{n}-0", pairs(fields)):
            add(row.id, Spot(row.state.value, attempt=row.attempt))
    return Facts(
        meta=meta,
        spots={job_id: tuple(places) for job_id, places in spots.items()},
        where={text(k): text(v) for k, v in zip(raw[5][::2], raw[5][1::2], strict=True)},
        jobs=frozenset(rows),
        lines={text(key): _line(key, ids, mark, listed) for key, ids, mark, listed in raw[6]},
        blocked=blocked,
        flags=frozenset(text(name) for name in raw[10][::2]),
        noted={text(k): text(v) for k, v in zip(raw[11][::2], raw[11][1::2], strict=True)},
        bell=text(raw[12]),
        names=tuple(text(name) for name in raw[13]),
        dedups={text(k): text(v) for row in raw[14] for k, v in zip(row[::2], row[1::2], strict=True)},
        workers=frozenset(text(name) for name in raw[15][::2]),
        notes={text(job_id): tuple(sorted(text(one) for one in fields)) for job_id, fields in raw[16]},
        settled=tuple((text(fields[1]), text(fields[3])) for fields in raw[17]),
    )


def _line(key: bytes, ids: list[bytes], mark: int, listed: list[bytes]) -> Line:
    found = tuple(text(one) for one in ids)
    return Line(found[0] if found else "", found[1:], tuple(text(one) for one in listed), mark == 1)


IDS = re.compile(r"\b1\d{12}-\d+")


def renumbered(form: str) -> str:
    """The same text with each id replaced by its rank among those that occur: scripts compare ids and never do sums with them."""
    found = sorted(set(IDS.findall(form)), key=id_order)
    ranks = {one: f"#{n}" for n, one in enumerate(found)}
    return IDS.sub(lambda match: ranks[match[0]], form)
