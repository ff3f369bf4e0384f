"""Address: from a URL to an unconnected connection to the right server, looked up anew at each connect."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from ..errors import ConfigError
from ..keys import prefix, registry


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
            "driver_info": DriverInfo(),  # made anew for each connection it would read the package's metadata each time: 0.7 ms
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        scheme = url.split("://")[0]
        self.is_cluster = scheme.endswith("+cluster")
        self._is_sentinel = scheme.endswith("+sentinel")
        self._is_secure = scheme.startswith("rediss")
        self._pool: ConnectionPool | None = None

    async def dial(self, queue: str) -> AbstractConnection:
        """A connection, not yet open, to the server that is right now: the primary, or the node that has the queue's slot."""
        if self.is_cluster:
            return await self._dial_cluster(queue)
        if self._is_sentinel:
            return await self._dial_primary()
        if self._pool is None:
            kwargs = {**self._common, **(self._tls if self._is_secure else {})}
            self._pool = ConnectionPool.from_url(self._url, **kwargs)  # only as a reader of the URL: it never holds a connection
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no annotation
        return made

    def _parts(self) -> tuple[list[tuple[str, int]], dict[str, Any], str, dict[str, list[str]]]:
        parts = urlsplit(self._url)
        hosts = []
        default = 26379 if self._is_sentinel else 6379
        for item in parts.netloc.rpartition("@")[2].split(","):
            host, _, port = item.rpartition(":") if ":" in item else (item, "", str(default))
            hosts.append((host.strip("[]"), int(port)))
        login: dict[str, Any] = {}
        if parts.username:
            login["username"] = unquote(parts.username)
        if parts.password:
            login["password"] = unquote(parts.password)
        return hosts, login, parts.path.strip("/"), parse_qs(parts.query)

    async def _dial_primary(self) -> AbstractConnection:
        """Ask the Sentinels, in the order of the URL, for the primary. One that was demoted meanwhile answers READONLY, after
        which the wire is dropped and this is asked again."""
        hosts, login, path, query = self._parts()
        service, _, db = path.partition("/")
        if not service:
            raise ConfigError(
                "redis+sentinel:// needs the service's name: redis+sentinel://host:26379/mymaster", setting="REDIS_URL"
            )
        sentinel_login = {"password": query["sentinel_password"][0]} if "sentinel_password" in query else {}
        found = await self._ask(hosts, sentinel_login, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service))
        if not found:
            raise ConnectionError(f"no Sentinel knows a service {service!r}")
        return self._plain(found[0].decode(), int(found[1]), {**login, "db": int(db or 0)})

    async def _dial_cluster(self, queue: str) -> AbstractConnection:
        """Ask the nodes of the URL for the one that has the queue's slot; connects are rare, so each asks afresh."""
        hosts, login, _, _ = self._parts()
        slot = key_slot((prefix(queue) if queue else registry()).encode())
        for first, last, node, *_ in await self._ask(hosts, login, ("CLUSTER", "SLOTS")):
            if first <= slot <= last:
                return self._plain(node[0].decode() or hosts[0][0], int(node[1]), login)
        raise ConnectionError(f"no node of the cluster has slot {slot} now")

    async def _ask(self, hosts: list[tuple[str, int]], login: dict[str, Any], command: tuple[str, ...]) -> Any:
        """The first answer of any of these; the last one's trouble when none answers."""
        trouble: Exception = ConnectionError("the URL names no host")
        for host, port in hosts:
            seed = self._plain(host, port, login)
            try:
                await seed.connect()  # type: ignore[no-untyped-call]  # redis-py has no annotation
                await seed.send_command(*command)
                return await seed.read_response()
            except (RedisError, OSError) as error:
                trouble = error
            finally:
                await seed.disconnect(nowait=True)
        raise trouble

    def _plain(self, host: str, port: int, login: dict[str, Any]) -> Connection:
        if self._is_secure:
            return SSLConnection(host=host, port=port, **login, **self._common, **self._tls)
        return Connection(host=host, port=port, **login, **self._common)
