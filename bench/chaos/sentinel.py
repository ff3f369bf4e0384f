"""Sentinel: a real primary, its replicas and three sentinels on loopback, whose primary may be killed, frozen or cut off.

async with Sentinels("valkey", down_after_ms=1000) as s:  # "redis": Debian's; else a program's name
    ...                                                   # applications connect to s.url
    s.kill_primary()
    seconds = await s.promoted()                          # another one is the primary now
    await s.mend()                                        # all are back, the old one as a replica, and agree
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import hiredis

from engine import Clock

from .node import Node, find_program, free_ports
from .wall import Wall

SERVICE = "jobs"
"""What the sentinels call the primary."""
SENTINELS, QUORUM = 3, 2
AGREE_SECONDS = 40.0
"""Sentinels look for replicas every 10 s, and take a server that came back into their order after 10 s more."""
LOOK_SECONDS, SLOW_LOOK_SECONDS = 0.02, 0.1
"""Between two looks: for who is the primary, which is timed, and for the rest."""


class Sentinels:
    """A primary, `replicas` and three sentinels while entered; gone with all their data when left."""

    def __init__(
        self,
        kind: str = "valkey",
        *,
        down_after_ms: int = 1000,
        replicas: int = 1,
        near_replicas: int = 0,
        options: Mapping[str, str] | None = None,
        wall: Wall | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`kind`: see `find_program`. `options`: settings of the servers beside the append-only file, which is on, fsync
        everysec. With a `wall`, the primary (and so many of the replicas) is on its near side and everybody else on its far
        side: see `isolate_primary`.

        Raises:
            ConfigError: there is no such program here.
        """
        self._clock = clock or Clock()
        self._room = tempfile.TemporaryDirectory(prefix="sentinel-")
        self._wall = wall
        program, room = find_program(kind), Path(self._room.name)
        far = replicas - near_replicas + SENTINELS
        hosts = [wall.near] * (1 + near_replicas) + [wall.far] * far if wall else ["127.0.0.1"] * (1 + replicas + SENTINELS)
        unders: list[tuple[str, ...]] = [wall.under(host) if wall else () for host in hosts]
        ports = free_ports(len(hosts))
        basics = {
            "appendonly": "yes", "appendfsync": "everysec", "save": '""', "maxmemory-policy": "noeviction",
            "repl-diskless-sync-delay": "0", "repl-diskless-load": "swapdb",
        }  # fmt: skip
        config = "\n".join(f"{name} {value}" for name, value in {**basics, **(options or {})}.items())
        self.servers = [
            Node(program, room / f"server-{i}", config, port=ports[i], host=hosts[i], under=unders[i], clock=self._clock)
            for i in range(1 + replicas)
        ]
        self.primary = self.servers[0]
        """As of the start, of the last `promoted` or the last `mend`."""
        config = (
            f"sentinel monitor {SERVICE} {hosts[0]} {ports[0]} {QUORUM}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} {max(10 * down_after_ms, 10_000)}"
        )
        self.sentinels = [
            Node(
                program, room / f"sentinel-{i}", config, port=ports[i], host=hosts[i], under=unders[i], role="sentinel",
                clock=self._clock,
            )
            for i in range(1 + replicas, len(hosts))
        ]  # fmt: skip

    def __repr__(self) -> str:
        return f"<Sentinels {self.primary.address}, {sum(node.is_up for node in self.servers)} of {len(self.servers)} servers up>"

    @property
    def url(self) -> str:
        """For applications: they ask the sentinels for the primary."""
        hosts = ",".join(f"{node.host}:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    async def __aenter__(self) -> Self:
        """Start all; returns when replicas follow and sentinels agree, some 3 s."""
        try:
            await self.primary.start()
            for replica in self.servers[1:]:
                await replica.start("--replicaof", *map(str, self.primary.address))
            await self._until(self._follows, "the replicas follow")
            for sentinel in self.sentinels:
                await sentinel.start()
            await self.agreed()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for node in (*self.sentinels, *self.servers):
            node.kill()
        self._room.cleanup()

    # --- faults ------------------------------------------------------------------------------------------------------

    def kill_primary(self) -> Node:
        """kill -9. Returns it."""
        self.primary.kill()
        return self.primary

    def freeze_primary(self) -> Node:
        """SIGSTOP: its connections stay open and nothing is answered; `mend` thaws it. Returns it."""
        self.primary.freeze()
        return self.primary

    def isolate_primary(self) -> Node:
        """Cut the primary, and whoever is on its side of the wall, off from replicas and sentinels; nobody is told. `mend`
        joins them again. Only with a wall. Returns it."""
        assert self._wall is not None, "built with a wall"
        self._wall.cut()
        return self.primary

    # --- waiting -----------------------------------------------------------------------------------------------------

    async def promoted(self, timeout: float = 30.0) -> float:
        """Wait until the sentinels name another primary, which takes writes; how many seconds that took from this call on.

        Raises:
            TimeoutError: they do not.
        """
        began, old = self._clock.mono(), self.primary

        async def is_named() -> bool:
            named = await self._named(self.sentinels[0])
            if named is None or named is old:
                return False
            self.primary = named
            return bool((await named.ask("ROLE"))[0] == b"master")

        await self._until(is_named, "another primary is named", timeout, LOOK_SECONDS)
        return self._clock.mono() - began

    async def mend(self, timeout: float = AGREE_SECONDS) -> None:
        """Join, thaw and restart whatever was cut off, frozen or killed, and wait until all agree. A killed server comes back as
        a replica, as whoever looks after it should start it: back as a primary it would take writes until it is demoted."""
        if self._wall is not None:
            self._wall.mend()
        named = await self._named(self.sentinels[0])
        self.primary = named or self.primary
        for node in self.servers:
            node.thaw()
            if not node.is_up:
                await node.start(*(("--replicaof", *map(str, self.primary.address)) if node is not self.primary else ()))
        await self.agreed(timeout)

    async def agreed(self, timeout: float = AGREE_SECONDS) -> None:
        """Wait until every sentinel names `primary`, knows the others, and every other server follows it.

        Raises:
            TimeoutError: they do not.
        """

        async def is_so() -> bool:
            for sentinel in self.sentinels:
                row = await sentinel.ask("SENTINEL", "MASTER", SERVICE)
                told = {name.decode(): value.decode() for name, value in zip(row[::2], row[1::2], strict=True)}
                if told["flags"] != "master" or await self._named(sentinel) is not self.primary:
                    return False
                if int(told["num-other-sentinels"]) != SENTINELS - 1 or int(told["num-slaves"]) != len(self.servers) - 1:
                    return False
            return await self._follows()

        await self._until(is_so, "sentinels and servers agree", timeout)

    async def _follows(self) -> bool:
        for node in self.servers:
            if node is self.primary:
                continue
            role = await node.ask("ROLE")
            if role[0] != b"slave" or (role[1].decode(), int(role[2])) != self.primary.address or role[3] != b"connected":
                return False
        return True

    async def _named(self, sentinel: Node) -> Node | None:
        found = await sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        address = (found[0].decode(), int(found[1]))
        return next((node for node in self.servers if node.address == address), None)

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], what: str, timeout: float = AGREE_SECONDS, look: float = SLOW_LOOK_SECONDS
    ) -> None:
        deadline = self._clock.mono() + timeout
        while True:
            try:
                if await holds():
                    return
            except (OSError, hiredis.ReplyError):
                pass  # on its way down or up
            if self._clock.mono() > deadline:
                raise TimeoutError(f"not within {timeout:g} s: {what}")
            await self._clock.sleep(look)
