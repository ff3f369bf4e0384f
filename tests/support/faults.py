"""Faults on purpose: a proxy in front of the server that cuts, swallows or repeats, and a store that fails a chosen verb.

The proxy reads requests command by command, so a fault can be aimed at one script: cut before it is passed on (it did not
happen), cut after it was answered (it happened, the reply is lost: the fault that finds bugs), or nothing passes for a while.
"""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from engine.errors import StoreError
from engine.store.redis_store import RedisStore
from engine.store.scripts import script

Command = Sequence[bytes]
Matches = Callable[[Command], bool]


def calls(*names: str) -> Matches:
    """Matches calls of these scripts of ours."""
    shas = {script(name).sha.encode() for name in names}
    return lambda command: command[0].upper() == b"EVALSHA" and command[1] in shas


@dataclass(slots=True)
class Cut:
    """Cut the connection at a matching command: `before` it is passed on, or `after` its reply came (which is thrown away)."""

    matches: Matches
    when: Literal["before", "after"]
    every: int = 1
    """Only each n-th match."""
    times: int = 1
    seen: int = 0
    done: int = 0

    def hits(self, command: Command) -> bool:
        """True when it strikes now."""
        if self.done >= self.times or not self.matches(command):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.done += 1
        return True


class Proxy:
    """In front of one server, on a unix socket of its own. `async with Proxy(url) as proxy: proxy.url`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._directory = tempfile.TemporaryDirectory(prefix="cut-")
        self._socket = f"{self._directory.name}/p.sock"
        self._cuts: list[Cut] = []
        self._passing = asyncio.Event()
        self._passing.set()
        self._links: set[asyncio.Task[None]] = set()
        self.came = 0
        """Connections so far."""
        self._server: asyncio.Server | None = None
        self._keep: Matches | None = None
        self._delay = 0.0
        self.kept: list[bytes] = []
        """Requests that `keep` asked for, as they came."""

    def __repr__(self) -> str:
        return f"<Proxy {len(self._links)} links, {'passing' if self._passing.is_set() else 'a hole'}>"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self._socket}?db=0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._socket)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut_all()
        self._directory.cleanup()

    def cut(self, matches: Matches, when: Literal["before", "after"], *, every: int = 1, times: int = 1) -> Cut:
        """Cut at matching commands from now on; its `done` tells how often it struck."""
        made = Cut(matches, when, every, times)
        self._cuts.append(made)
        return made

    def keep(self, matches: Matches) -> None:
        """Keep a copy of matching requests from now on."""
        self._keep = matches

    async def replay(self, request: bytes) -> bytes:
        """Send the server an old copy of a request, as one that sat in a buffer; the beginning of its answer."""
        reader, writer = await self._dial()
        writer.write(request)
        answer = await reader.read(1 << 16)
        writer.close()
        await writer.wait_closed()
        return answer

    def slow(self, seconds: float) -> None:
        """From now on each message takes so long, each way."""
        self._delay = seconds

    def swallow(self) -> None:
        """From now on nothing passes, in either direction, and nobody is told."""
        self._passing.clear()

    def heal(self) -> None:
        """What was held back passes, late, and so does everything after it."""
        self._passing.set()

    def deaden(self) -> None:
        """Nothing passes any more on the connections that there are, and nobody is told; new ones pass."""
        self._passing.clear()
        self._passing = asyncio.Event()
        self._passing.set()

    async def hold(self, seconds: float) -> None:
        """Let nothing pass for so long: an outage of the network."""
        self.swallow()
        await asyncio.sleep(seconds)
        self.heal()

    async def cut_all(self) -> None:
        """Cut every connection there is."""
        links, self._links = self._links, set()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        link = asyncio.ensure_future(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(lambda _: writer.close())  # not in the link: one that is cut before it ran would never close

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            return  # cut, by us or by either side: what the proxy is for

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialing = asyncio.ensure_future(self._dial())
        try:
            up_reader, up_writer = await asyncio.shield(dialing)
        except asyncio.CancelledError:  # cut while it connects: what it gets must be closed all the same
            _, late = await dialing
            late.close()
            raise
        passing, dropping = self._passing, False
        answered = asyncio.Event()

        async def back() -> None:
            while data := await up_reader.read(1 << 16):
                answered.set()
                await asyncio.sleep(self._delay)
                await passing.wait()
                if not dropping:
                    writer.write(data)
                    await writer.drain()

        async def forth() -> None:
            nonlocal dropping
            while True:
                command, raw = await _read_command(reader)
                if self._keep is not None and self._keep(command):
                    self.kept.append(raw)
                await asyncio.sleep(self._delay)
                await passing.wait()
                struck = next((cut for cut in self._cuts if cut.hits(command)), None)
                if struck is not None and struck.when == "before":
                    return
                if struck is not None:
                    dropping = True
                    answered.clear()
                up_writer.write(raw)
                await up_writer.drain()
                if struck is not None:
                    await answered.wait()
                    return

        ways = {asyncio.ensure_future(back()), asyncio.ensure_future(forth())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up_writer.close()  # first: this link may be cut again while it waits
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._upstream)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(parts.path))
        return await asyncio.open_connection(parts.hostname, parts.port)


async def _read_command(reader: asyncio.StreamReader) -> tuple[list[bytes], bytes]:
    """One request: its words, and its bytes as they came."""
    head = await reader.readuntil(b"\r\n")
    raw, words = [head], []
    for _ in range(int(head[1:])):
        size = await reader.readuntil(b"\r\n")
        word = await reader.readexactly(int(size[1:]) + 2)
        raw += (size, word)
        words.append(word[:-2])
    return words, b"".join(raw)


class FaultyStore(RedisStore):
    """A store whose chosen verbs fail: before the call was sent, or after it took effect (its reply was lost)."""

    def fail(self, verb: str, error: StoreError, *, times: int = 1, after: bool = False) -> Callable[[], int]:
        """The next `times` calls of that verb raise `error`. Returns what tells how many have."""
        real = getattr(self, verb)
        failed = 0

        async def faulty(*args: Any, **kwargs: Any) -> Any:
            nonlocal failed
            if failed >= times:
                return await real(*args, **kwargs)
            failed += 1
            if after:
                await real(*args, **kwargs)
            raise error

        setattr(self, verb, faulty)
        return lambda: failed


class TurnedAway:
    """Stands where a server stood: lets each connection in, notes when it came, and hangs up."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self.came: list[float] = []
        """Seconds of the loop's clock."""

    async def __aenter__(self) -> Self:
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._socket, backlog=1000)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        self._socket.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(asyncio.get_running_loop().time())
        writer.close()

    async def lasted(self) -> float:
        """Seconds between the first that came and the last."""
        return self.came[-1] - self.came[0] if self.came else 0.0

    def most_in_a_second(self, after: float = 0.0) -> int:
        """The most that came within any one second, of those that came later than `after` seconds from the first."""
        late = [at - self.came[0] for at in self.came if at - self.came[0] > after]
        return max((bisect_right(late, at + 1.0) - n for n, at in enumerate(late)), default=0)
