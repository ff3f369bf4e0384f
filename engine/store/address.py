"""Address: from a URL to an unconnected connection to the right server, looked up anew at each connect."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import RedisCluster, Sentinel
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from ..errors import ConfigError
from ..keys import prefix

SENTINEL, CLUSTER = "+sentinel", "+cluster"


class Address:
    """Knows whether the URL names one server, a Sentinel service or a cluster, and dials accordingly."""

    def __init__(self, url: str, *, timeout: float, name: str, tls: dict[str, Any]) -> None:
        self._url = url
        self._tls = tls
        self._common: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),  # the client library re-sends writes by default
            "socket_connect_timeout": timeout,
            "socket_timeout": None,  # Wire holds the time limit; redis-py's own makes a task for each send
            "client_name": name,
            "protocol": 3,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self.is_cluster = CLUSTER in url.split("://")[0]
        self._pool: ConnectionPool | None = None
        self._cluster: RedisCluster | None = None

    async def dial(self, queue: str) -> AbstractConnection:
        """A connection, not yet open, to the server that is right now: the primary, or the node that has the queue's slot."""
        if self.is_cluster:
            return await self._dial_cluster(queue)
        if self._pool is None:
            self._pool = self._sentinel_pool() if SENTINEL in self._url.split("://")[0] else self._single_pool()
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no annotation
        return made

    def _single_pool(self) -> ConnectionPool:
        kwargs = {**self._common, **(self._tls if self._url.startswith("rediss") else {})}
        return ConnectionPool.from_url(self._url, **kwargs)

    def _parts(self) -> tuple[list[tuple[str, int]], dict[str, Any], str, dict[str, list[str]]]:
        parts = urlsplit(self._url)
        hosts = []
        default = 26379 if SENTINEL in parts.scheme else 6379
        for item in parts.netloc.rpartition("@")[2].split(","):
            host, _, port = item.rpartition(":") if ":" in item else (item, "", str(default))
            hosts.append((host.strip("[]"), int(port)))
        login: dict[str, Any] = {}
        if parts.username:
            login["username"] = unquote(parts.username)
        if parts.password:
            login["password"] = unquote(parts.password)
        return hosts, login, parts.path.strip("/"), parse_qs(parts.query)

    def _sentinel_pool(self) -> ConnectionPool:
        hosts, login, path, query = self._parts()
        service, _, db = path.partition("/")
        if not service:
            raise ConfigError(
                "redis+sentinel:// needs the service's name: redis+sentinel://host:26379/mymaster", setting="REDIS_URL"
            )
        secure = self._url.startswith("rediss")
        common = {**self._common, **({"ssl": True, **self._tls} if secure else {})}
        watch = {**common, "client_name": None, "socket_timeout": self._common["socket_connect_timeout"]}
        if "sentinel_password" in query:
            watch["password"] = query["sentinel_password"][0]
        sentinel = Sentinel(hosts, sentinel_kwargs=watch)  # type: ignore[no-untyped-call]  # redis-py has no annotation
        pool: ConnectionPool = sentinel.master_for(service, db=int(db or 0), **login, **common).connection_pool
        return pool

    async def _dial_cluster(self, queue: str) -> AbstractConnection:
        hosts, login, _, _ = self._parts()
        secure = self._url.startswith("rediss")
        # a fresh look at the slots for each connect: connects are rare, and happen when slots have moved
        cluster = RedisCluster(
            host=hosts[0][0],
            port=hosts[0][1],
            retry=Retry(NoBackoff(), 0),
            socket_timeout=self._common["socket_connect_timeout"],
            ssl=secure,
            **login,
        )
        try:
            await cluster.initialize()
            node = cluster.get_node_from_key(prefix(queue) if queue else "engine")
            if node is None:
                raise ConfigError("the cluster has no node for that slot yet", setting="REDIS_URL")
            cls = SSLConnection if secure else Connection
            return cls(host=node.host, port=node.port, **login, **self._common, **(self._tls if secure else {}))
        finally:
            await cluster.aclose()

    async def close(self) -> None:
        """Let go of what the look-ups hold."""
        if self._pool is not None:
            await self._pool.disconnect()
