"""Connection: from settings to a store that was looked at: reachable, new enough, a primary, and durable as asked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .clock import Clock
from .config import Settings
from .embedded import EmbeddedServer
from .errors import StoreUnsuitable
from .redis_url import redact_url
from .store.link import Link
from .store.redis_store import RedisStore
from .store.server import ServerInfo

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
"""Older servers lack script flags and stream commands that the engine's scripts use."""


class Connection:
    """Owns the link, and the use of the embedded server when nothing is configured."""

    def __init__(self, settings: Settings, *, url: str | None = None, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._url = url or settings.redis_url
        self._embedded = EmbeddedServer(Path(settings.data_dir)) if self._url is None else None
        self._store: RedisStore | None = None
        self.info: ServerInfo | None = None
        """The server as it was when we connected."""

    def __repr__(self) -> str:
        return f"<Connection {self._store or 'closed'}>"

    @property
    def is_embedded(self) -> bool:
        """True when the server is our own."""
        return self._embedded is not None

    async def open(self) -> RedisStore:
        """Start the embedded server if it is ours, connect and look.

        Raises:
            StoreUnreachable, StoreDenied: as the sentence says.
            StoreUnsuitable: too old, a replica, or it keeps less than ENGINE_DURABILITY asks for.
            ConfigError: the embedded server can't run here.
        """
        if self._embedded is not None:
            await self._embedded.__aenter__()
            self._url = self._embedded.url
        store = self.new_store()
        try:
            self.info = info = await store.server_info(wait=self._settings.connect_timeout)
            self.check(info)
        except BaseException:
            await store.close()
            if self._embedded is not None:
                await self._embedded.__aexit__(None, None, None)
            raise
        self._store = store
        return store

    @property
    def replicas(self) -> int:
        """How many replicas must have a job before its enqueue counts: as many as the server wants for its writes, when
        ENGINE_DURABILITY is `replicated`, else 0."""
        info = self.info
        return (info.min_replicas_to_write or 0) if info is not None and self._settings.durability == "replicated" else 0

    @property
    def store(self) -> RedisStore:
        """The open store."""
        assert self._store is not None, "Connection.open comes first"
        return self._store

    def new_store(self, most_seconds: float = math.inf) -> RedisStore:
        """Another store to the same server, for a thread with a loop of its own; the caller closes it. An answer may take as long
        as the settings say, `most_seconds` at most."""
        assert self._url is not None, "Connection.open comes first"
        settings = self._settings
        link = Link(
            self._url,
            clock=self._clock,
            timeout=min(settings.socket_timeout, most_seconds),
            connect_timeout=settings.connect_timeout,
            tls=_tls(settings),
        )
        return RedisStore(link, self._clock)

    async def revive(self) -> None:
        """Start the embedded server again if it has died; its data is where it was.

        Raises:
            ConfigError, StoreError: it can't be started; the sentence says why.
        """
        if self._embedded is not None:
            await self._embedded.__aenter__()
            await self._embedded.__aexit__(None, None, None)

    async def close(self) -> None:
        """Close the connections, then leave the embedded server: the last one out stops it."""
        if self._store is not None:
            await self._store.close()
            self._store = None
            if self._embedded is not None:
                await self._embedded.__aexit__(None, None, None)

    def check(self, info: ServerInfo) -> None:
        """Raises StoreUnsuitable when the server can't carry the engine, or keeps less than ENGINE_DURABILITY asks for."""
        where = redact_url(self._url).partition("?")[0] if self._url is not None else "the server"
        oldest = OLDEST[info.flavour]
        if info.version_numbers < oldest:
            name = info.flavour.capitalize()
            need = "Redis 7.0 or Valkey 7.2"
            raise StoreUnsuitable(f"{where} is {name} {info.version}: too old, the engine needs {need} or later", code="VERSION")
        if info.role != "master":
            raise StoreUnsuitable(
                f"{where} is a read-only replica: name the primary in REDIS_URL, or use redis+sentinel://", code="READONLY"
            )
        asked = self._settings.durability
        if asked not in (None, "memory") and info.evicts_jobs:
            raise StoreUnsuitable(
                f"{where} deletes jobs at its memory limit (maxmemory-policy {info.policy}), but ENGINE_DURABILITY asks for "
                f"{asked!r}: CONFIG SET maxmemory-policy noeviction, and in its configuration file",
                code="DURABILITY",
            )
        if asked is not None and not info.carries(asked):
            raise StoreUnsuitable(
                f"{where} has durability class {info.durability!r}, but ENGINE_DURABILITY asks for {asked!r}: "
                "engine doctor says what to set on the server",
                code="DURABILITY",
            )


def _tls(settings: Settings) -> dict[str, Any]:
    tls: dict[str, Any] = {}
    if settings.tls_ca:
        tls["ssl_ca_certs"] = settings.tls_ca
    if settings.tls_cert:
        tls["ssl_certfile"] = settings.tls_cert
    if settings.tls_key:
        tls["ssl_keyfile"] = settings.tls_key
    if settings.tls_insecure:
        tls |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return tls
