"""Server: what we run on, as far as it will say. Version, role, durability class, memory, clock.

Managed services forbid some of these questions; what isn't answered is None, never guessed as good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from ..errors import StoreRefused
from .base import Verbs, text
from .replies import pairs

Durability = Literal["memory", "process", "disk", "replicated"]

DURABILITIES: tuple[Durability, ...] = ("memory", "process", "disk", "replicated")
"""Weakest first."""

_CONFIG = (
    *("appendfsync", "no-appendfsync-on-rewrite", "auto-aof-rewrite-percentage", "stop-writes-on-bgsave-error"),
    *("save", "min-replicas-to-write", "min-replicas-max-lag"),
)

Ask = Callable[..., Awaitable[Any]]
"""Sends the server one command."""

PINGS = 5
"""The median of so many: one alone may have met a scheduler's pause."""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as its primary sees it."""

    where: str
    state: str
    """`online` once it follows"""
    lag_seconds: int
    """since it last said how far it is"""
    behind_bytes: int


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The server as it describes itself."""

    flavour: Literal["redis", "valkey"]
    version: str
    mode: str
    """standalone, sentinel or cluster"""
    role: str
    """master or slave, in the server's words"""
    run_id: str
    uptime_seconds: int
    connected_replicas: int
    min_replicas_to_write: int | None
    min_replicas_max_lag: int | None
    """seconds a replica may be silent before it no longer counts; 0 means that the server counts none"""
    replicas: tuple[Replica, ...]
    is_aof_on: bool
    appendfsync: str | None
    skips_fsync_on_rewrite: bool
    """no-appendfsync-on-rewrite: while it rewrites its append-only file, nothing is flushed"""
    rewrites_aof: bool
    """False: the append-only file grows for ever"""
    last_rewrite_ok: bool
    last_snapshot_ok: bool
    stops_writes_without_snapshot: bool
    """it refuses every write after a failed RDB snapshot"""
    last_write_ok: bool
    """False while the server can't write its append-only file"""
    maxmemory: int
    """bytes, 0 no limit"""
    used_memory: int
    policy: str
    """what it does at maxmemory; only noeviction loses no jobs"""
    connected_clients: int
    maxclients: int
    ping_ms: float
    clock_ahead_ms: int
    """the server's clock against this machine's; over 0 the server is ahead"""

    @property
    def durability(self) -> Durability:
        """What an acknowledged enqueue survives: nothing, kill -9 of the server, a power loss, the loss of the machine (but
        for its last seconds: see `loss_seconds`).

        A replica alone is no durability: a primary that comes back empty makes its replicas empty too.
        """
        if not self.is_aof_on or self.appendfsync == "no" or self.skips_fsync_on_rewrite:
            return "memory"
        if self.role == "master" and (self.min_replicas_to_write or 0) >= 1 and self.lag_seconds and self.connected_replicas >= 1:
            return "replicated"
        return "disk" if self.appendfsync == "always" else "process"

    @property
    def lag_seconds(self) -> int:
        """With min-replicas-to-write: how long a replica may be silent and still count. 10 is the servers' default."""
        return 10 if self.min_replicas_max_lag is None else self.min_replicas_max_lag

    @property
    def loss_seconds(self) -> int:
        """In class replicated: of how many seconds the acknowledgements are lost at most when the server is cut off from its
        replicas. They report once a second and it looks once a second, so that is two more than `lag_seconds` (measured)."""
        return self.lag_seconds + 2

    def carries(self, asked: Durability) -> bool:
        """True when an acknowledged enqueue survives what `asked` names. Replicas are no disk: `disk` wants fsync always."""
        if asked == "disk":
            return self.is_aof_on and self.appendfsync == "always" and not self.skips_fsync_on_rewrite
        return DURABILITIES.index(self.durability) >= DURABILITIES.index(asked)

    @property
    def evicts_jobs(self) -> bool:
        """True when it deletes whatever it likes at its memory limit: then no class holds. volatile-* policies spare jobs, whose
        keys have no time to live."""
        return bool(self.maxmemory) and self.policy.startswith("allkeys-")

    @property
    def version_numbers(self) -> tuple[int, int]:
        """Major and minor, for comparing."""
        parts = [int(part) if part.isdigit() else 0 for part in self.version.split(".")[:2]]
        return (parts[0], parts[1] if len(parts) > 1 else 0)


class ServerVerbs(Verbs):
    """Questions about the server itself."""

    async def server_info(self, queue: str = "", *, wait: float | None = None) -> ServerInfo:
        """What the server says of itself; in a cluster, the node that has `queue`. `wait`: seconds to be patient with each
        question: there are a dozen, and on a slow line one limit for all was too short. None: each is sent once. Errors as
        `Wire.call`."""

        async def ask(*args: str) -> Any:
            if wait is None:
                return await self.link.call(*args, queue=queue)
            return await self.link.patient(lambda: self.link.call(*args, queue=queue), timeout=wait)

        info: dict[str, str] = {}
        for section in ("server", "clients", "replication", "memory", "persistence"):
            info |= _lines(text(await ask("INFO", section)))
        config = await _config(ask)
        min_replicas = config.get("min-replicas-to-write")
        max_lag = config.get("min-replicas-max-lag")
        flavour: Literal["redis", "valkey"] = "valkey" if "valkey_version" in info else "redis"
        ping_ms = await self._ping_ms(ask)
        before_ms = self._clock.now_ms()
        seconds, micros = await ask("TIME")
        server_ms = int(seconds) * 1000 + int(micros) // 1000
        return ServerInfo(
            flavour=flavour,
            version=info.get("valkey_version") or info.get("redis_version", "0.0"),
            mode=info.get("redis_mode") or info.get("server_mode", "standalone"),
            role=info.get("role", "master"),
            run_id=info.get("run_id", ""),
            uptime_seconds=_int(info, "uptime_in_seconds"),
            connected_replicas=_int(info, "connected_slaves"),
            min_replicas_to_write=int(min_replicas) if min_replicas is not None else None,
            min_replicas_max_lag=int(max_lag) if max_lag is not None else None,
            replicas=_replicas(info),
            is_aof_on=_int(info, "aof_enabled") == 1,
            appendfsync=config.get("appendfsync"),
            skips_fsync_on_rewrite=config.get("no-appendfsync-on-rewrite") == "yes",
            rewrites_aof=config.get("auto-aof-rewrite-percentage") != "0",
            last_rewrite_ok=info.get("aof_last_bgrewrite_status", "ok") == "ok",
            last_snapshot_ok=info.get("rdb_last_bgsave_status", "ok") == "ok",
            stops_writes_without_snapshot=config.get("stop-writes-on-bgsave-error") == "yes" and config.get("save") != "",
            last_write_ok=info.get("aof_last_write_status", "ok") == "ok",
            maxmemory=_int(info, "maxmemory"),
            used_memory=_int(info, "used_memory"),
            policy=info.get("maxmemory_policy", ""),
            connected_clients=_int(info, "connected_clients"),
            maxclients=_int(info, "maxclients"),
            ping_ms=ping_ms,
            clock_ahead_ms=server_ms - (before_ms + self._clock.now_ms()) // 2,
        )

    async def _ping_ms(self, ask: Ask) -> float:
        took = []
        for _ in range(PINGS):
            before = self._clock.mono()
            await ask("PING")
            took.append((self._clock.mono() - before) * 1000)
        return sorted(took)[PINGS // 2]


async def _config(ask: Ask) -> dict[str, str]:
    """What it says of its configuration; nothing where the question is renamed or forbidden, as managed services do."""
    try:
        found = pairs(await ask("CONFIG", "GET", *_CONFIG))
    except StoreRefused:
        return {}
    return {name: text(value) for name, value in found.items()}


def _lines(info: str) -> dict[str, str]:
    parts = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in parts}


def _int(info: dict[str, str], name: str) -> int:
    value = info.get(name, "0")
    return int(value) if value.isdigit() else 0


def _replicas(info: dict[str, str]) -> tuple[Replica, ...]:
    """The lines `slave0:ip=...,port=...,state=online,offset=...,lag=1` of a primary."""
    found = []
    for at in range(_int(info, "connected_slaves")):
        said = dict(part.split("=", 1) for part in info.get(f"slave{at}", "").split(",") if "=" in part)
        if said:
            behind = max(_int(info, "master_repl_offset") - _int(said, "offset"), 0)
            where = f"{said.get('ip', '?')}:{said.get('port', '?')}"
            found.append(Replica(where=where, state=said.get("state", ""), lag_seconds=_int(said, "lag"), behind_bytes=behind))
    return tuple(found)
