"""Watch: what the processes and the server take at one instant, by the system's and the server's own account."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Memory in MiB."""

    at_mono: float
    worker_rss: float
    """of the worker that is never killed"""
    worker_files: int
    """its open files and sockets"""
    worker_threads: int
    feed_rss: float
    """of this process, which enqueues and waits for results"""
    server_used: float
    """what the server's data takes"""
    server_rss: float
    keys: int
    connections: int
    consumers: int
    groups: int
    """beyond the one that each ready stream has"""
    waiting: int
    """jobs that have not ended"""
    kinds: Mapping[str, float] = field(default_factory=dict)
    """kind of key, as docs/keys.md calls it -> what all keys of that kind take"""


class Watch:
    """A connection of its own to the server; it names itself, so that faults leave it alone."""

    def __init__(self, url: str, queues: tuple[str, ...], server_pid: int) -> None:
        self.redis: Any = redis.Redis.from_url(url, client_name="watch", decode_responses=True)
        self._queues = queues
        self._server_pid = server_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.redis.close()

    def look(self, at_mono: float, worker: int) -> Sample:
        """Now; `worker` is a process."""
        info: dict[str, Any] = self.redis.info("memory") | self.redis.info("clients")
        consumers = groups = waiting = 0
        for queue in self._queues:
            at = f"engine:{{{queue}}}:"
            for tag in self.redis.hget(at + "meta", "tags") or "":
                found = self.redis.xinfo_groups(f"{at}ready:{tag}")
                groups += len(found) - 1
                consumers += sum(int(group["consumers"]) for group in found)
                waiting += int(self.redis.xlen(f"{at}ready:{tag}"))
            waiting += sum(int(self.redis.zcard(at + name)) for name in ("scheduled", "retrying"))
            waiting += int(self.redis.xlen(at + "blocked"))
        return Sample(
            at_mono=at_mono,
            worker_rss=rss(worker),
            worker_files=_entries(worker, "fd"),
            worker_threads=_entries(worker, "task"),
            feed_rss=rss(os.getpid()),
            server_used=int(info["used_memory"]) / MIB,
            server_rss=rss(self._server_pid),
            keys=int(self.redis.dbsize()),
            connections=int(info["connected_clients"]),
            consumers=consumers,
            groups=groups,
            waiting=waiting,
            kinds=self._kinds(),
        )

    def _kinds(self) -> dict[str, float]:
        """Asked key by key, so it takes as many commands as there are keys: some hundreds, every ten seconds."""
        names = list(self.redis.scan_iter(count=1000))
        with self.redis.pipeline(transaction=False) as many:
            for name in names:
                many.memory_usage(name, samples=0)  # 0: the whole key, no guess from a few of its items
            found = many.execute()
        sums: Counter[str] = Counter()
        for name, size in zip(names, found, strict=True):
            sums[kind_of(name)] += int(size or 0)  # None: it has gone meanwhile
        return {kind: size / MIB for kind, size in sums.items()}

    def key_names(self) -> list[str]:
        """Every key that holds something, for a report of what was left: the empty stream that a queue keeps for its next blocked
        job is nothing left. The server is the soak's own, so it may be asked."""
        streams = {name for name in self.redis.scan_iter(count=1000, _type="stream") if not self.redis.xlen(name)}
        return sorted(set(self.redis.scan_iter(count=1000)) - streams)


def kind_of(name: str) -> str:
    """What kind of key that is.

    >>> kind_of("engine:{soak-messages}:ready:1"), kind_of("engine:{soak-messages}:events"), kind_of("engine:queues")
    ('ready', 'events', 'queues')
    """
    return name.rpartition("}:")[2].removeprefix("engine:").partition(":")[0]


def rss(pid: int) -> float:
    """Resident memory of a process in MiB; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def _entries(pid: int, what: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except OSError:
        return 0
