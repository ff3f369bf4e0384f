"""Server: what we run on, as far as it will say. Version, role, durability class, memory, clock.

Managed services forbid some of these questions; what isn't answered is None, never guessed as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import StoreRefused
from .base import Verbs, text
from .replies import pairs

Durability = Literal["memory", "process", "disk", "replicated"]

DURABILITIES: tuple[Durability, ...] = ("memory", "process", "disk", "replicated")
"""Weakest first."""

PINGS = 5
"""The median of so many: one alone may have met a scheduler's pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
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
    is_aof_on: bool
    appendfsync: str | None
    last_write_ok: bool
    """False while the server can't write its append-only file"""
    maxmemory: int
    """bytes, 0 no limit"""
    used_memory: int
    policy: str
    """what it does at maxmemory; only noeviction loses no jobs"""
    ping_ms: float
    clock_ahead_ms: int
    """the server's clock against this machine's; over 0 the server is ahead"""

    @property
    def durability(self) -> Durability:
        """What an acknowledged enqueue survives: nothing, kill -9 of the server, a power loss, the loss of the machine (but
        for its last seconds: see `lag_seconds`).

        A replica alone is no durability: a primary that comes back empty makes its replicas empty too.
        """
        if not self.is_aof_on or self.appendfsync == "no":
            return "memory"
        if self.role == "master" and (self.min_replicas_to_write or 0) >= 1 and self.lag_seconds and self.connected_replicas >= 1:
            return "replicated"
        return "disk" if self.appendfsync == "always" else "process"

    @property
    def lag_seconds(self) -> int:
        """With min-replicas-to-write: how long the server goes on acknowledging when its replicas are out of reach; a second
        more at worst, since it looks once a second. 10 is the servers' default."""
        return 10 if self.min_replicas_max_lag is None else self.min_replicas_max_lag

    def carries(self, asked: Durability) -> bool:
        """True when an acknowledged enqueue survives what `asked` names. Replicas are no disk: `disk` wants fsync always."""
        if asked == "disk":
            return self.is_aof_on and self.appendfsync == "always"
        return DURABILITIES.index(self.durability) >= DURABILITIES.index(asked)

    @property
    def version_numbers(self) -> tuple[int, int]:
        """Major and minor, for comparing."""
        parts = [int(part) if part.isdigit() else 0 for part in self.version.split(".")[:2]]
        return (parts[0], parts[1] if len(parts) > 1 else 0)


class ServerVerbs(Verbs):
    """Questions about the server itself."""

    async def server_info(self, queue: str = "") -> ServerInfo:
        """What the server says of itself; in a cluster, the node that has `queue`."""
        info: dict[str, str] = {}
        for section in ("server", "replication", "memory", "persistence"):
            info |= _lines(text(await self.link.call("INFO", section, queue=queue)))
        appendfsync = await self._config("appendfsync", queue)
        replicas = await self._config("min-replicas-to-write", queue)
        max_lag = await self._config("min-replicas-max-lag", queue)
        flavour: Literal["redis", "valkey"] = "valkey" if "valkey_version" in info else "redis"
        ping_ms = await self._ping_ms(queue)
        before_ms = self._clock.now_ms()
        seconds, micros = await self.link.call("TIME", queue=queue)
        server_ms = int(seconds) * 1000 + int(micros) // 1000
        return ServerInfo(
            flavour=flavour,
            version=info.get("valkey_version") or info.get("redis_version", "0.0"),
            mode=info.get("redis_mode") or info.get("server_mode", "standalone"),
            role=info.get("role", "master"),
            run_id=info.get("run_id", ""),
            uptime_seconds=_int(info, "uptime_in_seconds"),
            connected_replicas=_int(info, "connected_slaves"),
            min_replicas_to_write=int(replicas) if replicas is not None else None,
            min_replicas_max_lag=int(max_lag) if max_lag is not None else None,
            is_aof_on=_int(info, "aof_enabled") == 1,
            appendfsync=appendfsync,
            last_write_ok=info.get("aof_last_write_status", "ok") == "ok",
            maxmemory=_int(info, "maxmemory"),
            used_memory=_int(info, "used_memory"),
            policy=info.get("maxmemory_policy", ""),
            ping_ms=ping_ms,
            clock_ahead_ms=server_ms - (before_ms + self._clock.now_ms()) // 2,
        )

    async def _ping_ms(self, queue: str) -> float:
        took = []
        for _ in range(PINGS):
            before = self._clock.mono()
            await self.link.call("PING", queue=queue)
            took.append((self._clock.mono() - before) * 1000)
        return sorted(took)[PINGS // 2]

    async def _config(self, name: str, queue: str) -> str | None:
        try:
            found = pairs(await self.link.call("CONFIG", "GET", name, queue=queue))
        except StoreRefused:  # renamed or forbidden, as managed services do
            return None
        return text(found[name]) if name in found else None


def _lines(info: str) -> dict[str, str]:
    parts = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in parts}


def _int(info: dict[str, str], name: str) -> int:
    value = info.get(name, "0")
    return int(value) if value.isdigit() else 0
