"""Proxy: stands between the engines of a run and their server, in a process of its own; one listener for each of them.

    python -m bench.chaos.proxy CONTROL_SOCKET SERVER_PORT

Commanded over a unix socket, one JSON object a line (`network.py` is the other end). What a listener does with its connections:
pass; delay; hold (nothing passes, what came meanwhile passes late: an outage); swallow (what comes is lost, the connections stay
open and are dead for ever: half-open); refuse. Aims (`aims.py`) hold or cut at one message.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

import msgspec

from .aims import Aim, Call, fits
from .link import PASS, Doing, End, Link, Mode, reset


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab says to the proxy; answered with {"id": id, ...}."""

    id: int
    do: Literal["listen", "mode", "cut", "aim", "unaim", "free", "settled"]
    who: tuple[str, ...] = ()
    """Listeners; none: all."""
    mode: Mode = "pass"
    ms: int = 0
    """Delay each way."""
    aim: Aim | None = None
    which: int = 0
    """The aim to withdraw or to free."""
    drop: bool = False
    """Cut the connection that the aim held, instead of letting it go on."""


class Door(asyncio.Protocol):
    """What a listener makes for a new connection: a link, unless it refuses."""

    def __init__(self, hub: Hub, who: str) -> None:
        self._hub = hub
        self._who = who

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the way to the server."""
        assert isinstance(transport, asyncio.Transport)
        if self._hub.mode_of(self._who).mode == "refuse":
            reset(transport)
            return
        link = Link(self._hub, self._who, transport)
        self._hub.links.add(link)
        transport.set_protocol(End(link, is_near=True))
        self._hub.spawn(link.open(self._hub.port))


class Hub:
    """All links of the run."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.links: set[Link] = set()
        self.aims: dict[int, Aim] = {}
        self.settled: dict[str, dict[str, int]] = {}
        """Listener -> queue -> when the last step that was answered had come: what had ended by then is settled."""
        self._doing: dict[str, Doing] = {}
        self._left: dict[int, int] = {}
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lab: asyncio.StreamWriter | None = None

    def mode_of(self, who: str) -> Doing:
        """What that listener does now."""
        return self._doing.get(who, PASS)

    def aim_for(self, who: str, call: Call, reply: bytes | None = None) -> Aim | None:
        """The aim that strikes this message."""
        return next((aim for aim in self.aims.values() if fits(aim, who, call, reply)), None) if self.aims else None

    def spawn(self, what: Any) -> None:
        """Run it; kept until it ends."""
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def struck(self, aim: Aim, link: Link) -> None:
        """An aim fitted: tell the lab; withdraw it when it has struck as often as it shall."""
        self._left[aim.id] -= 1
        if self._left[aim.id] <= 0:
            self.aims.pop(aim.id, None)
        self._say({"struck": aim.id, "who": link.who})

    def _say(self, what: dict[str, Any]) -> None:
        if self._lab is not None:
            self._lab.write(msgspec.json.encode(what) + b"\n")

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry out the lab's orders until it hangs up; then end."""
        self._lab = writer
        decode = msgspec.json.Decoder(Order).decode
        while line := await reader.readline():
            order = decode(line)
            self._say({"id": order.id, **await self._carry_out(order)})

    async def _carry_out(self, order: Order) -> dict[str, Any]:
        chosen = [link for link in self.links if not order.who or link.who in order.who]
        if order.do == "listen":
            return {"ports": [await self._listen(who) for who in order.who]}
        if order.do == "mode":
            self._doing |= dict.fromkeys(order.who, Doing(order.mode, order.ms))
            for link in chosen:
                link.turn()
        elif order.do == "cut":
            for link in chosen:
                link.drop()
        elif order.do == "aim" and order.aim is not None:
            self.aims[order.aim.id], self._left[order.aim.id] = order.aim, order.aim.times
        elif order.do == "unaim":
            return {"was": self.aims.pop(order.which, None) is not None}
        elif order.do == "free":
            for link in [one for one in self.links if one.held_by == order.which]:
                link.held_by = 0
                link.drop() if order.drop else link.turn()
        elif order.do == "settled":
            return {"settled": self.settled.get(order.who[0], {})}
        return {"links": len(chosen)}

    async def _listen(self, who: str) -> int:
        server = await asyncio.get_running_loop().create_server(lambda: Door(self, who), "127.0.0.1", 0)
        self._listeners.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port


async def serve(control: str, port: int) -> None:
    """Until the lab hangs up."""
    hub = Hub(port)
    over = asyncio.Event()

    async def lab(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await hub.obey(reader, writer)
        finally:
            over.set()

    async with await asyncio.start_unix_server(lab, control):
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
