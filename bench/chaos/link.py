"""Link: one connection of an engine through the proxy: what passes, is held, delayed, swallowed or cut, a message at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from .aims import NO_CALL, Aim, Call, call_of
from .resp import extent, words

Mode = Literal["pass", "delay", "hold", "swallow", "refuse"]


class Doing(msgspec.Struct, frozen=True):
    """What a listener does with what comes."""

    mode: Mode = "pass"
    ms: int = 0


PASS = Doing()


class Rules(Protocol):
    """What a link asks the proxy's hub, and tells it."""

    settled: dict[str, dict[str, int]]
    links: set[Link]

    def mode_of(self, who: str) -> Doing:
        """What that listener does now."""

    def aim_for(self, who: str, call: Call, reply: bytes | None = None) -> Aim | None:
        """The aim that strikes this message."""

    def struck(self, aim: Aim, link: Link) -> None:
        """An aim fitted."""


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

    def __init__(self, hub: Rules, who: str, near: asyncio.Transport) -> None:
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
