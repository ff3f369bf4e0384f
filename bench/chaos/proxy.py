"""Proxy: stands between the engines of a run and their server, in a process of its own; one listener for each of them.

    python -m bench.chaos.proxy CONTROL_SOCKET SERVER_PORT

Commanded over a unix socket, one JSON object a line (`network.py` is the other end). What a listener does with its connections:
pass; delay; hold (nothing passes, what came meanwhile passes late: an outage); swallow (what comes is lost, the connections stay
open and are dead for ever: half-open); refuse. Aims (`aims.py`) hold or cut at one message.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from .aims import NO_CALL, Aim, Call, call_of, fits
from .resp import extent, words

Mode = Literal["pass", "delay", "hold", "swallow", "refuse"]


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


def reset(transport: asyncio.BaseTransport) -> None:
    """Close with RST: what a peer sees whose other end is gone."""
    assert isinstance(transport, asyncio.Transport)
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


@dataclass(frozen=True, slots=True)
class Message:
    """One request or reply on its way."""

    data: bytes
    up: bool
    came_ns: int
    """When the proxy had it, by the machine's monotonic clock."""


class Link:
    """One connection of an engine, and ours to the server for it."""

    def __init__(self, hub: Hub, who: str, near: asyncio.Transport) -> None:
        self._hub = hub
        self.who = who
        self.near = near
        self.far: asyncio.Transport | None = None
        self._up, self._down = bytearray(), bytearray()
        self._waiting: deque[tuple[Call, int]] = deque()
        """Requests that were passed on and not answered, and when they came."""
        self._parked: list[tuple[Message, bool]] = []
        """What came while nothing passes, and whether it was looked at."""
        self.held_by = 0
        self._last_at = {True: 0.0, False: 0.0}
        """When the last delayed message of each way is due, by the loop's clock: none overtakes another."""
        self._is_dead = False
        """Shubowed something: it never carries anything again."""
        self._is_leaving = False

    async def open(self, port: int) -> None:
        """Connect to the server; what came meanwhile goes up. Resets the engine's side when there is none."""
        loop = asyncio.get_running_loop()
        try:
            self.far, _ = await loop.create_connection(lambda: End(self, is_near=False), "127.0.0.1", port)
        except OSError:
            self.drop()
            return
        self.turn()

    def feed(self, data: bytes, *, up: bool) -> None:
        """Bytes came, from the engine (`up`) or from the server."""
        mode = self._hub.mode_of(self.who)
        if self._is_dead or mode.mode == "swallow":
            self._is_dead = True
            return
        buffer = self._up if up else self._down
        buffer += data
        while (end := extent(buffer)) > 0:
            message = Message(bytes(buffer[:end]), up, time.monotonic_ns())
            del buffer[:end]
            self._offer_in(mode.ms / 1000 if mode.mode == "delay" else 0.0, message)

    def _offer_in(self, seconds: float, message: Message) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not seconds and self._last_at[message.up] < now:
            self._offer(message)
            return
        self._last_at[message.up] = at = max(now + seconds, self._last_at[message.up] + 1e-6)
        loop.call_at(at, self._offer, message)

    def _offer(self, message: Message) -> None:
        if self.far is None or self._parked or self.held_by or self._hub.mode_of(self.who).mode == "hold":
            self._parked.append((message, False))
        else:
            self._pass(message, seen=False)

    def turn(self) -> None:
        """Something changed: pass on what is parked, as far as it goes."""
        while self._parked and self.far is not None and not self.held_by and self._hub.mode_of(self.who).mode != "hold":
            message, seen = self._parked.pop(0)
            self._pass(message, seen=seen)
        if self._is_leaving and not self._parked:
            self.drop()

    def _pass(self, message: Message, *, seen: bool) -> None:
        if message.up:
            self._pass_up(message, seen)
        else:
            self._pass_down(message, seen)

    def _pass_up(self, message: Message, seen: bool) -> None:
        call = call_of(words(message.data))
        aim = None if seen else self._hub.aim_for(self.who, call)
        if aim is not None:
            self._strike(aim, message)
            return
        assert self.far is not None, "passed on only while connected"
        self._waiting.append((call, message.came_ns))
        self.far.write(message.data)

    def _pass_down(self, message: Message, seen: bool) -> None:
        if message.data[:1] != b">" and not seen:  # a push answers no request
            call, came_ns = self._waiting.popleft() if self._waiting else (NO_CALL, 0)
            if call.script == "step" and message.data[:1] != b"-":
                self._hub.settled.setdefault(self.who, {})[call.queue] = came_ns
            aim = self._hub.aim_for(self.who, call, message.data)
            if aim is not None:
                self._strike(aim, message)
                return
        if not self.near.is_closing():
            self.near.write(message.data)

    def _strike(self, aim: Aim, message: Message) -> None:
        self._hub.struck(aim, self)
        if aim.cut:
            self.drop()
            return
        self.held_by = aim.id
        self._parked.insert(0, (message, True))

    def leave(self, *, is_near: bool) -> None:
        """One side has gone. What is parked on its way to the other still arrives, as it does in a network."""
        if is_near and self._parked and not self.held_by and not self._is_dead:
            self._is_leaving = True
        elif not is_near and self._is_dead:
            self.far = None  # half-open: nobody tells the engine
        else:
            self.drop()

    def drop(self) -> None:
        """Cut both sides."""
        self._parked.clear()
        reset(self.near)
        if self.far is not None:
            reset(self.far)
        self._hub.links.discard(self)


class End(asyncio.Protocol):
    """One side of a link."""

    def __init__(self, link: Link, *, is_near: bool) -> None:
        self._link = link
        self._is_near = is_near

    def data_received(self, data: bytes) -> None:
        """Hand it to the link; what is no RESP can't be passed on."""
        try:
            self._link.feed(data, up=self._is_near)
        except ValueError:
            self._link.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side learns it."""
        self._link.leave(is_near=self._is_near)


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


class Doing(msgspec.Struct, frozen=True):
    """What a listener does with what comes."""

    mode: Mode = "pass"
    ms: int = 0


PASS = Doing()


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
