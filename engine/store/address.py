"""Address: from a URL to an unconnected connection to the right server, looked up anew at each connect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from ..errors import ConfigError

LAST_WORDS = 0.005
"""Seconds for what a server said before it hung up: it is here already, or never comes."""


async def _greet(connection: Any) -> None:
    """The greeting, as redis-py has it. A server that says no and hangs up before we have written (most clients, protected mode)
    is heard all the same: redis-py, and asyncio below it, would only tell that the connection was lost."""
    reader, ear = connection._reader, _second_ear(connection._writer)
    try:
        await connection.on_connect()
    except ConnectionError as error:
        if type(error) is ConnectionError:  # its children are refusals
            said = await _last_words(reader, ear)
            if said.startswith(b"-"):
                raise ResponseError(said[1:].partition(b"\r")[0].decode(errors="replace")) from None
        raise
    finally:
        if ear is not None:
            ear.close()


def _second_ear(writer: asyncio.StreamWriter) -> socket.socket | None:
    """The socket once more: asyncio closes its own when a write fails, with all that could still be read."""
    try:
        ear = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
    except OSError:  # Windows can't: there the lost connection is all that is told
        return None
    ear.setblocking(False)
    return ear


async def _last_words(reader: asyncio.StreamReader, ear: socket.socket | None) -> bytes:
    """What had been read when the connection was lost, or still lies in the socket."""
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            if said := await reader.readline():
                return said
    with contextlib.suppress(OSError):
        return b"" if ear is None else ear.recv(1024)
    return b""


Range = tuple[int, int, str]
"""First and last slot, and the node that has them, `host:port`."""


class _UnixConnection(UnixDomainSocketConnection):
    """redis-py's own greets twice, and takes what the server says to the first greeting for a lost connection."""

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(self.path)


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
            "redis_connect_func": _greet,
            "driver_info": DriverInfo(),  # made anew for each connection it would read the package's metadata each time: 0.7 ms
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        scheme = url.split("://")[0]
        self.is_cluster = scheme.endswith("+cluster")
        self._is_sentinel = scheme.endswith("+sentinel")
        self._is_secure = scheme.startswith("rediss")
        self._pool: ConnectionPool | None = None
        self._timeout = timeout
        self._first = 0

    async def dial(self, slot: int = 0) -> AbstractConnection:
        """A connection, not yet open, to the server that is right now: the primary, or the node that has the slot."""
        if self.is_cluster:
            return await self._dial_cluster(slot)
        if self._is_sentinel:
            return await self._dial_primary()
        if self._pool is None:
            kwargs = {**self._common, **(self._tls if self._is_secure else {})}
            self._pool = ConnectionPool.from_url(self._url, **kwargs)  # only as a reader of the URL: it never holds a connection
            if self._pool.connection_class is UnixDomainSocketConnection:
                self._pool.connection_class = _UnixConnection
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
        """Ask the Sentinels for the primary. One that was demoted meanwhile answers READONLY, after which the wire is dropped and
        this is asked again."""
        hosts, login, path, query = self._parts()
        service, _, db = path.partition("/")
        if not service:
            raise ConfigError(
                "redis+sentinel:// needs the service's name: redis+sentinel://host:26379/mymaster", setting="REDIS_URL"
            )
        asking = {part: query[name][0] for part in ("username", "password") if (name := f"sentinel_{part}") in query}
        try:
            found = await self._ask(hosts, asking, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service))
        except AuthenticationError as error:
            hint = "this was a Sentinel, whose log-in goes behind the ? of REDIS_URL as sentinel_username= and sentinel_password="
            raise AuthenticationError(f"{str(error).rstrip('.')} ({hint})", status_code=error.status_code) from error
        if not found:
            raise ConnectionError(f"no Sentinel that answers knows a service {service!r}")
        return self._plain(found[0].decode(), int(found[1]), {**login, "db": int(db or 0)})

    async def _dial_cluster(self, slot: int) -> AbstractConnection:
        """Ask the nodes of the URL for the one that has the slot; connects are rare, so each asks afresh."""
        for first, last, node in await self.ranges():
            if first <= slot <= last:
                return await self.dial_node(node)
        raise ConnectionError(f"no node of the cluster has slot {slot} now")

    async def ranges(self) -> list[Range]:
        """Which node of the cluster has which slots, from whichever node of the URL answers first."""
        hosts, login, _, _ = self._parts()
        rows = await self._ask(hosts, login, ("CLUSTER", "SLOTS"))
        return [(first, last, f"{(at[0] or b'').decode() or hosts[0][0]}:{int(at[1])}") for first, last, at, *_ in rows or ()]

    async def dial_node(self, node: str) -> AbstractConnection:
        """A connection, not yet open, to that node of the cluster."""
        host, _, port = node.rpartition(":")
        return self._plain(host, int(port), self._parts()[1])

    async def _ask(self, hosts: list[tuple[str, int]], login: dict[str, Any], command: tuple[str, ...]) -> Any:
        """The first answer that says something, from whoever did last time first; None when none says any, and when none answers
        at all, the last one's trouble. Each has its share of the time only: the machine that has just died may be the first
        of the URL, and whoever connects to it would wait for nothing until all the time is up."""
        share = self._timeout / (len(hosts) + 1)
        trouble: Exception | None = None
        found: Any = None
        for at in [(self._first + n) % len(hosts) for n in range(len(hosts))]:
            seed = self._plain(*hosts[at], login)
            try:
                async with asyncio.timeout(share):
                    await seed.connect()  # type: ignore[no-untyped-call]  # redis-py has no annotation
                    await seed.send_command(*command)
                    found = await seed.read_response()
            except (RedisError, OSError, TimeoutError) as error:
                trouble = error
            finally:
                await seed.disconnect(nowait=True)
            if found:
                self._first = at
                return found
        self._first += 1
        if trouble is not None:
            raise trouble
        return found

    def _plain(self, host: str, port: int, login: dict[str, Any]) -> Connection:
        if self._is_secure:
            return SSLConnection(host=host, port=port, **login, **self._common, **self._tls)
        return Connection(host=host, port=port, **login, **self._common)
