"""Seen: everything of one queue, read from the server in one call, in the shape in which the model can say it too.

What docs/keys.md says of the structures themselves is checked while reading: rows point at what is there, nothing lies twice or
aside, no key is nobody's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.job import State, unpack
from engine.keys import GROUP, prefix
from engine.store.base import text
from engine.store.pages import ended_rows
from engine.store.redis_store import RedisStore
from engine.store.replies import pairs
from engine.store.rows import id_order
from tests.support.laws import ROOM

_READ = """
local P, out = KEYS[1], {}
local call = redis.call
for _, key in ipairs(call('KEYS', P .. '*')) do
  local suffix, kind = string.sub(key, #P + 1), call('TYPE', key).ok
  local row = { suffix, kind }
  if kind == 'hash' then row[3] = call('HGETALL', key)
  elseif kind == 'zset' then row[3] = call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    row[3] = call('XRANGE', key, suffix == 'events' and '(' .. ARGV[1] or '-', '+')
    if string.sub(suffix, 1, 6) == 'ready:' then
      row[4] = call('XINFO', 'GROUPS', key)
      row[5] = call('XPENDING', key, 'w', '-', '+', 1000)
      row[6] = call('XINFO', 'CONSUMERS', key, 'w')
    end
  end
  out[#out + 1] = row
end
return out
"""
FLOWS = (
    *("enqueued", "completed", "cancelled", "removed", "retried", "snoozed", "stalled", "died", "released", "requeued"),
    *("expired", "refused", "dropped", "done_kept"),
)
FIELDS = {"ms", "seq", "tags", "epoch", "paused", "gate", "rung", "solo", "beat", "grace", "silences", "dedups", *FLOWS}
Form = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """One look at a queue."""

    form: Form
    """The same names and values as `comparing.form_of` makes of the model."""
    entries: dict[str, str] = field(default_factory=dict)
    """Job id -> its entry, of every job that is one."""
    done: list[str] = field(default_factory=list)
    """The entries of `done`."""
    consumers: set[str] = field(default_factory=set)
    bell: str = ""
    last_event: str = "0-0"
    news: Counter[tuple[str, str]] = field(default_factory=Counter)


class Reader:
    """Takes the rows of one look apart."""

    def __init__(self, rows: list[Any], now_ms: int) -> None:
        self.now_ms = now_ms
        self.left = {text(row[0]): row for row in rows}
        """Keys nobody has explained yet."""
        self.entries: dict[str, str] = {}
        self.where: dict[str, str] = {}
        """What `where` must hold, by what was found."""
        self.consumers: set[str] = set()
        self.meta = {name: text(value) for name, value in self.hash("meta").items()}

    def hash(self, suffix: str) -> dict[str, bytes]:
        """A hash that may not be there."""
        row = self.left.pop(suffix, None)
        return {} if row is None else pairs(row[2])

    def zset(self, suffix: str) -> list[tuple[str, float]]:
        """Members with scores, lowest first."""
        row = self.left.pop(suffix, None)
        flat = [] if row is None else row[2]
        return [(text(flat[i]), float(flat[i + 1])) for i in range(0, len(flat), 2)]

    def stream(self, suffix: str) -> list[tuple[str, dict[str, bytes]]]:
        """Entries, oldest first."""
        row = self.left.pop(suffix, None)
        return [] if row is None else [(text(entry), pairs(fields)) for entry, fields in row[2]]

    def job(self, entry: str, value: bytes, place: str) -> tuple[str, tuple[Any, ...]]:
        """A job's id and envelope from where it lies; it may lie in one place only."""
        envelope = unpack(value, entry)
        assert envelope.id not in self.entries, (
            f"{envelope.id} lies in two places: {self.entries[envelope.id]} and {place} {entry}"
        )
        self.entries[envelope.id] = entry
        if envelope.id != entry or place == "d":
            self.where[envelope.id] = f"{place}:{entry}"
        return envelope.id, (envelope.attempt, envelope.stalls, envelope.priority, envelope.key, envelope.losses, envelope.body)

    def ready(self, tag: str) -> list[tuple[str, str, tuple[Any, ...]]]:
        """Job, owner ('' waits) and envelope. Whatever was delivered is pending for somebody."""
        row = self.left.get(f"ready:{tag}")
        if row is None:
            return []
        (group,) = (pairs(one) for one in row[3])
        assert text(group["name"]) == GROUP
        pending = {text(one[0]): text(one[1]) for one in row[4]}
        self.consumers |= {text(pairs(one)["name"]) for one in row[5]}
        found = []
        for entry, fields in self.stream(f"ready:{tag}"):
            owner = pending.pop(entry, "")
            is_delivered = id_order(entry) <= id_order(text(group["last-delivered-id"]))
            assert bool(owner) == is_delivered, f"entry {tag}:{entry} was delivered, and is nobody's"
            assert set(fields) <= {"j", "s"}, f"fields {set(fields)}"
            job_id, envelope = self.job(entry, fields["j"], tag)
            found.append((job_id, owner, envelope))
        assert not pending, f"pending in {tag} and not there: {pending}"
        return found

    def timed(self, jobs: dict[str, bytes], where: dict[str, str]) -> Form:
        """Scheduled and retrying jobs, with what `jobs` keeps of them."""
        found: Form = {}
        for state in (State.SCHEDULED, State.RETRYING):
            rows = []
            for job_id, due in self.zset(state.value):
                assert job_id in jobs, f"{job_id} is {state}, and `jobs` knows nothing of it"
                envelope = unpack(jobs.pop(job_id), "")
                assert envelope.id == job_id, f"`jobs` has {envelope.id} under {job_id}"
                assert job_id not in self.entries, f"{job_id} is {state}, and an entry as well"
                place = "t" if state is State.RETRYING else where.get(job_id, "")
                assert place in ("s", "z", "t"), f"{job_id} is {state}, its row says {place!r}"
                self.where[job_id] = place
                about = envelope.attempt, envelope.stalls, envelope.priority, envelope.key, envelope.losses, envelope.body
                rows.append((job_id, int(due), place == "z", about))
            found[state.value] = sorted(rows)
        assert not jobs, f"`jobs` has rows of nobody: {sorted(jobs)}"
        return found

    def lines(self, job_of: dict[str, str]) -> dict[str, list[str]]:
        """Ordering key -> who holds it and who waits, in turn."""
        found = {}
        for key, row in self.hash("keys").items():
            part, mark = _ids(row), len(row) % 13
            more = [one for value in self.left.pop(f"line:{key}", (0, 0, ()))[2][::2] for one in _ids(value)]
            assert 1 <= len(part) <= 1 + ROOM, f"{len(part)} ids in the row of {key}"
            assert mark == bool(more), f"{key}: its row says {mark}, its tail has {len(more)}"
            found[key] = [part[0], *(job_of[entry] for entry in (*part[1:], *more))]
        return found

    def dedup(self) -> dict[str, tuple[str, int]]:
        """Dedup keys whose window is open."""
        found = {}
        classes = self.meta.get("dedups", "").split(",")
        for suffix in [s for s in self.left if s.startswith("dedup:")]:
            assert suffix.split(":")[1] in classes, f"{suffix} is of no class in {classes}"
            for key, row in self.hash(suffix).items():
                job_id, _, until = text(row).partition(";")
                if int(until) > self.now_ms:
                    assert key not in found, f"two windows are open for {key}"
                    found[key] = (job_id, int(until))
        return found

    def calls(self, mark: str) -> dict[str, Any]:
        """Last numbered calls: of workers number and refused entries, of producers number and time."""
        found: dict[str, Any] = {}
        for name in [name for name in self.meta if name.startswith(mark)]:
            parts = self.meta.pop(name).split("|")
            last = (int(parts[1]),) if mark == "p:" else (sorted(filter(None, parts[1].split(","))),)
            found[name[2:]] = (int(parts[0]), *last)
        return found


async def look(store: RedisStore, queue: str, now_ms: int, after_event: str) -> Seen:
    """Everything of the queue at one instant; of `events` only those after the given one."""
    return read(queue, await store.link.call("EVAL", _READ, 1, prefix(queue), after_event), now_ms, after_event)


def read(queue: str, rows: list[Any], now_ms: int, after_event: str) -> Seen:
    """Take one look apart. AssertionError, in a sentence: the structures contradict one another."""
    r = Reader(rows, now_ms)
    where = {job_id: text(place) for job_id, place in r.hash("where").items()}
    tags = r.meta.get("tags", "")
    form: Form = {"tags": tags, "ready": {tag: found for tag in tags if (found := r.ready(tag))}}
    blocked = [(entry, r.job(entry, fields["j"], "b")) for entry, fields in r.stream("blocked")]
    form["blocked"] = [about for _, about in blocked]
    form["lines"] = r.lines({entry: about[0] for entry, about in blocked})
    form |= r.timed(r.hash("jobs"), where)
    dead = [(text(f["id"]), r.job(e, f["j"], "d"), (text(f["w"]), text(f["f"]), f["i"])) for e, f in r.stream("dead")]
    assert all(job_id == about[0] for job_id, about, _ in dead), f"dead under another id: {dead}"
    form["dead"] = [(*about, epitaph) for _, about, epitaph in dead]
    done = r.stream("done")
    form["done"] = [_record(queue, entry, fields) for entry, fields in done]
    form["settled"] = [(text(f["id"]), text(f["o"])) for _, f in r.stream("settled")]
    form["control"] = [text(f["id"]) for _, f in r.stream("control") if f["act"] == b"cancel"]
    form["flags"] = sorted(r.hash("flags"))
    form["noted"] = dict(r.zset("noted"))
    form["notes"] = {job_id: notes for job_id in form["noted"] if (notes := r.hash(f"notes:{job_id}"))}
    form["metrics"] = {name: int(n) for name, n in r.hash("metrics").items()}
    form["workers"] = {name: int(row.partition(b";")[0]) for name, row in r.hash("workers").items()}
    form["dedup"] = r.dedup()
    form |= {"calls": r.calls("w:"), "producers": r.calls("p:")}
    form["counters"] = {name: n for name in FLOWS if (n := int(r.meta.get(name, 0)))}
    form |= {name: int(r.meta.get(name, 0)) for name in ("gate", "beat", "grace")}
    form |= {name: r.meta.get(name, "") for name in ("paused", "solo", "silences")}
    happened, bell = r.stream("events"), r.stream("bell")
    assert len(bell) <= 1, f"the bell has {len(bell)} entries"
    assert where == r.where, f"rows of `where` {_differ(where, r.where)}"
    assert set(r.meta) <= FIELDS, f"fields of `meta` that are nobody's: {sorted(set(r.meta) - FIELDS)}"
    assert not r.left, f"keys that are nobody's: {sorted(r.left)}"
    top = (int(r.meta.get("ms", 0)), int(r.meta.get("seq", 0)))
    over = [e for e in (*r.entries.values(), *r.entries, *(e for e, _ in bell)) if id_order(e) > top]
    assert not over, f"ids above the counter {top}: {over}"
    return Seen(
        form, r.entries, [entry for entry, _ in done], r.consumers, bell[0][0] if bell else "",
        happened[-1][0] if happened else after_event, Counter((text(f["k"]), text(f["id"])) for _, f in happened),
    )  # fmt: skip


def _ids(packed: bytes) -> list[str]:
    """The ids of a row of `keys` or of a line: 13 bytes each."""
    return ["{}-{}".format(*_id(packed[at : at + 13])) for at in range(0, len(packed) // 13 * 13, 13)]


def _id(short: bytes) -> tuple[int, int]:
    return int.from_bytes(short[:6], "big"), int.from_bytes(short[6:], "big")


def _record(queue: str, entry: str, fields: dict[str, bytes]) -> tuple[list[str], str | None]:
    rows = ended_rows(queue, entry, fields)
    if "x" in fields:
        return [row.id for row in rows], rows[0].reason
    assert int(fields["n"]) == len(rows), f"record {entry} says {int(fields['n'])}, names {[row.id for row in rows]}"
    return sorted(row.id for row in rows), None


def _differ(seen: dict[str, str], due: dict[str, str]) -> str:
    names = sorted(set(seen) | set(due))
    return ", ".join(f"{n}: {seen.get(n)!r}, not {due.get(n)!r}" for n in names if seen.get(n) != due.get(n))
