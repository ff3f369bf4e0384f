"""Keys: every Redis key of the engine, named once.

All keys of one queue share the hash tag `{queue}`, so they live in one cluster slot and one script may touch them all.
Scripts receive the prefix as KEYS[1] and add the suffixes below (`tests/test_house.py` holds the Lua and this file
together); why not one KEYS entry a key: docs/decisions/0002-one-prefix-key.md. What each key holds: docs/keys.md.
"""

from __future__ import annotations

import re

from .errors import BadName

NAMESPACE = "engine"
GROUP = "w"
"""The one consumer group of every ready stream."""

SUFFIXES: dict[str, str] = {
    "meta": "hash of what scripts read and write each call: id counter (ms, seq), streams in use (tags), epoch, paused, gate, "
    "rung (everybody who sleeps was rung), solo turn, beat, silences and grace of reclaim, flow counters (enqueued, completed, "
    "...), w:<worker> and p:<producer> last call and its answer",
    "metrics": "hash: per-name counters and histogram buckets for Prometheus",
    "ready:": "streams: ready:1 to ready:9 by priority, ready:A to ready:I released jobs in front of theirs (s: since when they "
    "could run), ready:s suspects that run alone",
    "bell": "stream of one entry: rung when something became runnable and somebody sleeps; idle workers wait on it",
    "control": "capped stream: acts that running workers must hear at once (cancel, pause, resume)",
    "jobs": "hash: id -> envelope of jobs in `scheduled` or `retrying`",
    "where": "hash: id -> place of every job that is not a fresh stream entry",
    "scheduled": "sorted set: id by due ms; delayed, snoozed and rate-limited jobs",
    "retrying": "sorted set: id by due ms; jobs in backoff",
    "blocked": "stream: envelopes of jobs behind their ordering key; the entry id of one blocked at enqueue is its job id",
    "keys": "hash: ordering key -> 13 bytes an id (ms, seq): the job that holds it, then up to 8 entries of `blocked` that wait "
    "behind it; `+` at the end: more are in its line",
    "line:": "sorted sets: line:<ordering key> the same 13 bytes for each entry that waits beyond the first 8, oldest first",
    "dedup:": "hashes: dedup:<class>:<generation> dedup key -> id and end of window; expire by themselves",
    "dead": "stream: the dead-letter queue: envelope, error, fingerprint",
    "done": "stream: packed records of completed jobs, several an entry",
    "settled": "capped stream: endings that somebody waits for (handle.result)",
    "flags": "hash: c<id> cancel asked for an active job, w<id> somebody waits for its end",
    "notes:": "hashes: notes:<id> progress, steps, log lines and result of one job",
    "noted": "sorted set: id of every job with notes, by the ms at which they may go (inf while alive)",
    "workers": "hash: worker -> heartbeat: host, pid, slots, lease, names it knows",
    "events": "capped stream: what happened, for other processes",
}
"""Suffix -> what it holds. A suffix ending in `:` is a family; its members are enumerable from other keys, so nothing
ever scans the key space."""

_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_JOB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_JOB_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,16}")
MAX_KEY_BYTES = 512
"""Longest ordering or dedup key, in UTF-8 bytes: they become field names and are repeated in every entry."""


def prefix(queue: str) -> str:
    """`engine:{messages}:`, what every key of the queue begins with."""
    return f"{NAMESPACE}:{{{queue}}}:"


def registry() -> str:
    """Hash of every queue that was ever enqueued to: name -> ms first seen. The one key outside the queues' slots."""
    return f"{NAMESPACE}:queues"


def check_queue(name: str) -> str:
    """Return `name` when it may name a queue; raises BadName otherwise."""
    if not isinstance(name, str) or not _QUEUE_NAME.fullmatch(name):
        raise BadName(
            f"queue name {shown(name)} is not usable: 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
        )
    return name


def check_job_name(name: str) -> str:
    """Return `name` when it may name a handler; raises BadName otherwise."""
    if not isinstance(name, str) or not _JOB_NAME.fullmatch(name):
        raise BadName(f"job name {shown(name)} is not usable: 1 to 128 letters, digits or '_ . : / -'")
    return name


def check_key(key: str, what: str) -> str:
    """Return an ordering or dedup key when it may be used; raises BadName otherwise. `what` names it in the sentence."""
    if not isinstance(key, str) or not key:
        raise BadName(f"{what} must be a non-empty string, got {shown(key)}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise BadName(f"{what} {shown(key)} is not valid text (it can't be written as UTF-8)") from None
    if size > MAX_KEY_BYTES:
        raise BadName(f"{what} is {size} bytes long, at most {MAX_KEY_BYTES} are allowed: use a hash of it")
    return key


def split_id(full_id: str) -> tuple[str, str]:
    """`messages/1763791234567-4` -> (`messages`, `1763791234567-4`); raises BadName when it is not a job's full id."""
    queue, slash, short = str(full_id).rpartition("/")
    if not slash or not _QUEUE_NAME.fullmatch(queue) or not _JOB_ID.fullmatch(short):
        raise BadName(f"{shown(full_id)} is no job id: it looks like messages/1763791234567-4")
    return queue, short


def shown(value: object, limit: int = 60) -> str:
    """A value from outside as it may appear in a sentence: quoted, control characters escaped, cut."""
    try:
        text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    except Exception:  # noqa: BLE001 - a repr of theirs that raises, an int too long to print: the sentence must still be said
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
