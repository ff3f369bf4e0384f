"""Network: the lab's hand on the proxy: what each engine's connections go through, and the aims at moments of a job's life."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec

from engine import Clock

from .aims import Aim, Need, Side
from .link import Mode
from .processes import spawn
from .proxy import Order

START_SECONDS = 20.0


class Struck:
    """An aim that is armed: waits for its moment, and says what becomes of the connection then."""

    def __init__(self, network: Network, aim: Aim) -> None:
        self._network = network
        self._aim = aim
        self._hit = asyncio.Event()
        self.who = ""
        """The listener whose connection it struck."""
        self.times = 0

    def hit(self, who: str) -> None:
        """The proxy says that it struck."""
        self.who, self.times = who, self.times + 1
        self._hit.set()

    async def moment(self, seconds: float) -> bool:
        """Wait for it; False when it did not come in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._hit.wait()
        except TimeoutError:
            return False
        return True

    async def free(self, *, drop: bool) -> None:
        """Let the message that is held go on, or cut its connection."""
        await self._network.order(do="free", which=self._aim.id, drop=drop)


class Network:
    """The proxy of a run, while it is entered."""

    def __init__(self, directory: Path, port: int, clock: Clock) -> None:
        self._control = directory / "proxy.sock"
        self._log = directory / "proxy.log"
        self._port = port
        self._clock = clock
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._aims: dict[int, Struck] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Network:
        """Start the proxy and reach it.

        Raises:
            RuntimeError: it did not start; its log is named.
        """
        command = [sys.executable, "-m", "bench.chaos.proxy", str(self._control), str(self._port)]
        self._process = spawn(command, self._log)
        deadline = self._clock.mono() + START_SECONDS
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(str(self._control))
                break
            except OSError:
                if self._process.poll() is not None or self._clock.mono() > deadline:
                    raise RuntimeError(f"the proxy did not start; it said: {self._log.read_text()}") from None
                await self._clock.sleep(0.02)
        self._reading = asyncio.ensure_future(self._listen(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
        process = self._process
        if process is not None:
            process.terminate()
            while process.poll() is None:
                await self._clock.sleep(0.01)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = msgspec.json.decode(line)
            if "struck" in said:
                aim = self._aims.get(said["struck"])
                if aim is not None:
                    aim.hit(said["who"])
            elif (waiting := self._answers.pop(said["id"], None)) is not None and not waiting.done():
                waiting.set_result(said)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(RuntimeError(f"the proxy has ended; its log: {self._log}"))

    async def order(self, **what: Any) -> dict[str, Any]:
        """Give the proxy an order; its answer."""
        assert self._writer is not None, "ordered while it runs"
        order = Order(id=next(self._numbers), **what)
        answer = self._answers[order.id] = asyncio.get_running_loop().create_future()
        self._writer.write(msgspec.json.encode(order) + b"\n")
        told: dict[str, Any] = await answer
        return told

    async def url(self, who: str) -> str:
        """The address for an engine of that name; its listener is made at the first call."""
        if who not in self._ports:
            self._ports[who] = (await self.order(do="listen", who=(who,)))["ports"][0]
        return f"redis://127.0.0.1:{self._ports[who]}/0"

    @property
    def everybody(self) -> tuple[str, ...]:
        """All listeners."""
        return tuple(self._ports)

    async def cut(self, who: Iterable[str]) -> int:
        """Reset their connections; how many there were."""
        return int((await self.order(do="cut", who=tuple(who)))["links"])

    async def settled(self, who: str) -> dict[str, int]:
        """Queue -> monotonic ns: what had ended in that worker by then is settled, the server has answered."""
        return dict((await self.order(do="settled", who=(who,)))["settled"])

    @contextlib.asynccontextmanager
    async def mode(self, mode: Mode, who: Iterable[str], ms: int = 0) -> AsyncIterator[None]:
        """Let these connections pass so while entered, and as ever after it. What `swallow` killed stays dead."""
        chosen = tuple(who)
        await self.order(do="mode", who=chosen, mode=mode, ms=ms)
        try:
            yield
        finally:
            await self.order(do="mode", who=chosen, mode="pass")

    @contextlib.asynccontextmanager
    async def aim(
        self, script: str, side: Side, need: Need = "", *, who: Iterable[str] = (), cut: bool = False, times: int = 1
    ) -> AsyncIterator[Struck]:
        """Arm an aim while entered; withdrawn when left, and what it still holds is cut."""
        aim = Aim(id=next(self._numbers), who=tuple(who), script=script, side=side, need=need, cut=cut, times=times)
        struck = self._aims[aim.id] = Struck(self, aim)
        await self.order(do="aim", aim=aim)
        try:
            yield struck
        finally:
            del self._aims[aim.id]
            await self.order(do="unaim", which=aim.id)
            await self.order(do="free", which=aim.id, drop=True)
