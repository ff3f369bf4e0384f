"""Reading: asks Redis for everything it keeps of each queue, with redis-py and docs/keys.md alone.

Nothing scans the key space and no list is asked for whole: queues come from the registry, families from the keys that name them,
and everything is read a page at a time. The queues must be at rest: what moves while it is read would look like a fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import redis

from .kept import Kept, Line, QueueData, Stream, entry_ms, read_done, read_envelope, read_line, with_envelope

PAGE = 1000
"""Entries or rows a command."""
TAGS = "ABCDEFGHI123456789s"
"""Every ready stream there may be; workers look only at those that `meta` names."""
FLOWS = ("enqueued", "completed", "cancelled", "removed", "died", "requeued", "retried", "snoozed", "stalled", "released")
TIMEOUT = 30.0
"""Seconds a command may take."""


class StillMoving(Exception):
    """A queue changed while it was read: stop its workers and producers, then check again."""


class Reading(msgspec.Struct, kw_only=True):
    """All queues of a server."""

    server: str
    """Flavour and version."""
    clock_ahead_ms: float
    """The server's clock against this machine's; 0 when the difference is within what can be told."""
    queues: dict[str, QueueData]


class Door:
    """Raw commands: replies as they come, nothing renamed."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url, protocol=2, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        self._client.response_callbacks.clear()

    def ask(self, *command: Any) -> Any:
        """One command."""
        return self._client.execute_command(*command)

    def ask_all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Many commands, PAGE at a time."""
        answers: list[Any] = []
        for at in range(0, len(commands), PAGE):
            pipe = self._client.pipeline(transaction=False)
            pipe.response_callbacks = {}
            for command in commands[at : at + PAGE]:
                pipe.execute_command(*command)
            answers += pipe.execute()
        return answers

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    # --- pages -------------------------------------------------------------------------------------------------------

    def entries(self, key: str) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Every entry of a stream."""
        after = "-"
        while True:
            page = self.ask("XRANGE", key, after, "+", "COUNT", PAGE)
            for entry, flat in page:
                yield entry.decode(), {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
            if len(page) < PAGE:
                return
            after = f"({page[-1][0].decode()}"

    def pending(self, key: str) -> Iterator[tuple[str, str]]:
        """Every pending entry of a stream's group and whose it is."""
        after = "-"
        while True:
            page = self.ask("XPENDING", key, "w", after, "+", PAGE)
            for entry, worker, _, _ in page:
                yield entry.decode(), worker.decode()
            if len(page) < PAGE:
                return
            after = f"({page[-1][0].decode()}"

    def pairs(self, key: str) -> Iterator[tuple[bytes, bytes]]:
        """Every field of a hash, once."""
        cursor, seen = b"0", set()
        while True:
            cursor, flat = self.ask("HSCAN", key, cursor, "COUNT", PAGE)
            for field, value in zip(flat[::2], flat[1::2], strict=True):
                if field not in seen:
                    seen.add(field)
                    yield field, value
            if cursor == b"0":
                return

    def scores(self, key: str) -> Iterator[tuple[str, float]]:
        """Every member of a sorted set."""
        at = 0
        while True:
            flat = self.ask("ZRANGE", key, at, at + PAGE - 1, "WITHSCORES")
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                yield member.decode(), float(score)
            if len(flat) < 2 * PAGE:
                return
            at += PAGE

    def members(self, key: str) -> list[bytes]:
        """Every member of a sorted set, in its order."""
        found: list[bytes] = []
        while True:
            page = self.ask("ZRANGE", key, len(found), len(found) + PAGE - 1)
            found += page
            if len(page) < PAGE:
                return found


def read(url: str, queues: Sequence[str] = ()) -> Reading:
    """Everything of these queues; of every queue that was ever enqueued to, when none is named.

    Raises:
        StillMoving: somebody still works there.
        redis.RedisError: the server is away or refuses.
    """
    door = Door(url)
    try:
        names = sorted(queues or (field.decode() for field, _ in door.pairs("engine:queues")))
        return Reading(
            server=_server(door), clock_ahead_ms=_clock_ahead_ms(door), queues={name: read_queue(door, name) for name in names}
        )
    finally:
        door.close()


def read_queue(door: Door, name: str) -> QueueData:
    """Everything of one queue; errors as `read`."""
    prefix = f"engine:{{{name}}}:"
    data = QueueData(name=name, meta=_meta(door, prefix))
    _read_streams(door, prefix, data)
    _read_timed(door, prefix, data)
    _read_stream_of_jobs(door, prefix, data, "blocked")
    _read_stream_of_jobs(door, prefix, data, "dead")
    _read_done(door, prefix, data)
    _read_keys(door, prefix, data)
    data.where = {field.decode(): value.decode() for field, value in door.pairs(prefix + "where")}
    data.flags = {field.decode() for field, _ in door.pairs(prefix + "flags")}
    data.noted = dict(door.scores(prefix + "noted"))
    after = _meta(door, prefix)
    moved = [flow for flow in FLOWS if after.get(flow) != data.meta.get(flow)]
    if moved:
        raise StillMoving(f"queue {name} changed while it was read ({', '.join(moved)}): stop its workers and producers first")
    return data


def _meta(door: Door, prefix: str) -> dict[str, str]:
    return {field.decode(): value.decode(errors="replace") for field, value in door.pairs(prefix + "meta")}


def _read_streams(door: Door, prefix: str, data: QueueData) -> None:
    known = data.meta.get("tags", "")
    for tag in TAGS:
        key = f"{prefix}ready:{tag}"
        if not door.ask("EXISTS", key):
            continue
        stream = Stream(tag=tag, is_known=tag in known)
        groups = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in door.ask("XINFO", "GROUPS", key)]
        group = next((one for one in groups if one[b"name"] == b"w"), None)
        if group is None:
            stream.has_group = False
        else:
            stream.delivered = group[b"last-delivered-id"].decode()
            stream.pending = dict(door.pending(key))
        for entry, fields in door.entries(key):
            stream.entries += 1
            owner = stream.pending.get(entry, "")
            state = "active" if owner else "waiting"
            kept = Kept(queue=data.name, id=entry, state=state, entry=entry, tag=tag, worker=owner)
            data.jobs.append(_placed(kept, fields.get("j", b""), f"{tag}:{entry}"))
        data.streams.append(stream)


def _placed(kept: Kept, value: bytes, place: str) -> Kept:
    """With its envelope, and the row of `where` that a job which is no fresh entry must have."""
    envelope = read_envelope(value, kept.id)
    found = with_envelope(kept, envelope, value)
    if envelope is None or envelope.id == kept.entry:
        return found
    return msgspec.structs.replace(found, id=envelope.id, place=place)


def _read_timed(door: Door, prefix: str, data: QueueData) -> None:
    envelopes = {field.decode(): value for field, value in door.pairs(prefix + "jobs")}
    data.rows = set(envelopes)
    for state in ("scheduled", "retrying"):
        for job, due in door.scores(prefix + state):
            value = envelopes.get(job)
            if value is None:
                data.strays.append(f"{job} is in {state} and its envelope is not in jobs")
                continue
            kept = Kept(queue=data.name, id=job, state=state, due_ms=int(due), place="t" if state == "retrying" else "s or z")
            data.jobs.append(with_envelope(kept, read_envelope(value, job), value))


def _read_stream_of_jobs(door: Door, prefix: str, data: QueueData, state: str) -> None:
    """`blocked` or `dead`."""
    for entry, fields in door.entries(prefix + state):
        kept = Kept(queue=data.name, id=entry, state=state, entry=entry)
        if state == "blocked":
            data.jobs.append(_placed(kept, fields.get("j", b""), f"b:{entry}"))
            continue
        found = with_envelope(kept, read_envelope(fields.get("j", b""), entry), fields.get("j", b""))
        reason = fields.get("w", b"").decode(errors="replace")
        job = fields.get("id", b"").decode(errors="replace")
        place = f"d:{entry}"
        data.jobs.append(msgspec.structs.replace(found, id=job, place=place, ended_ms=entry_ms(entry), reason=reason))


def _read_done(door: Door, prefix: str, data: QueueData) -> None:
    for entry, fields in door.entries(prefix + "done"):
        try:
            jobs, counted = read_done(data.name, entry, fields)
        except ValueError as error:
            data.strays.append(str(error))
            continue
        data.jobs += jobs
        data.counted += counted


def _read_keys(door: Door, prefix: str, data: QueueData) -> None:
    """Rows of `keys`, and the list of each, whether its row tells of one or not."""
    rows = dict(door.pairs(prefix + "keys"))
    lengths = door.ask_all([("ZCARD", f"{prefix}line:".encode() + key) for key in rows])
    for (key, row), length in zip(rows.items(), lengths, strict=True):
        rest = door.members(f"{prefix}line:{key.decode()}") if length else []
        try:
            data.keys[key.decode(errors="replace")] = read_line(row, rest)
        except ValueError as error:
            data.strays.append(f"the row of ordering key {key!r}: {error}")
            data.keys[key.decode(errors="replace")] = Line(holder="")


def _server(door: Door) -> str:
    lines = dict(line.split(":", 1) for line in door.ask("INFO", "server").decode().splitlines() if ":" in line)
    if "valkey_version" in lines:
        return f"Valkey {lines['valkey_version']}"
    return f"Redis {lines.get('redis_version', '?')}"


def _clock_ahead_ms(door: Door, wall_ns: Callable[[], int] = time.time_ns) -> float:
    """The smallest of some looks, because a look is as true as it is short; 0 when the truth may be 0."""
    best = (float("inf"), 0.0)
    for _ in range(9):
        before = wall_ns()
        seconds, micros = door.ask("TIME")
        after = wall_ns()
        ahead_ms = (int(seconds) * 1e9 + int(micros) * 1e3 - (before + after) / 2) / 1e6
        best = min(best, ((after - before) / 2e6, ahead_ms))
    doubt, ahead_ms = best
    return 0.0 if abs(ahead_ms) <= doubt + 1.0 else ahead_ms
