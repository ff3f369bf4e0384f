"""Talk: one request and its reply at a time, over a socket that redis-py has opened and greeted.

redis-py knows every way to a server (TLS, passwords, HELLO, Sentinel, cluster), and those are used once a connection. Its streams
are used at every call, where they cost more than the server does (docs/performance.md). So after the greeting the socket's
transport is given this protocol instead: hiredis packs, hiredis parses, one future a call, no task and no buffer between.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import hiredis
import redis.exceptions as rx
from redis.asyncio.connection import AbstractConnection

LAST_LOOK: Final = 0.005
"""Seconds after a time limit for a reply that is already in the socket: uvloop looks at timers before it looks at sockets, so a
loop that was held up would find every reply too late."""


_NOT_YET = object()


class Talk(asyncio.Protocol):
    """Takes over a connection, which the caller keeps and disconnects; `ask` until `is_over`."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=rx.InvalidResponse, replyError=rx.ResponseError, notEnoughData=_NOT_YET)
        self._waiting: asyncio.Future[Any] | None = None
        self._said: list[Any] | None = None
        """Of two requests sent together: where the first one's reply goes."""
        writer = connection._writer
        if writer is None:
            raise rx.ConnectionError("the connection closed during its greeting")
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self.is_over = self._transport.is_closing()
        """True once nothing can be sent any more."""

    def __repr__(self) -> str:
        state = "over" if self.is_over else "waiting for a reply" if self._waiting else "idle"
        return f"<Talk {state}>"

    async def ask(
        self, args: tuple[Any, ...], timeout: float, first: tuple[Any, ...] | None = None, said: list[Any] | None = None
    ) -> Any:
        """Send one command, return its reply; a refusal is raised as redis-py's ResponseError, its text as the server sent it.

        A command `first` is sent with it, and begun before it: its reply, or its refusal, is put into `said`.

        Raises:
            TimeoutError: no reply within `timeout` seconds. The talk must be closed: the reply may still come.
            ConnectionError, InvalidResponse: the connection is gone, or what came is no RESP.
        """
        waiting = self._waiting = self._loop.create_future()
        self._said = said
        timer = self._loop.call_later(timeout, self._is_late, waiting, LAST_LOOK)
        try:
            request = hiredis.pack_command(args)
            self._transport.write(request if first is None else hiredis.pack_command(first) + request)
            reply = await waiting
        finally:
            timer.cancel()
            self._waiting = self._said = None
            del waiting  # its error's traceback leads here: a ring
        if isinstance(reply, rx.ResponseError):
            raise reply
        return reply

    def close(self) -> None:
        """Drop the connection without waiting for anything."""
        self.is_over = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came: the reply may be complete."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOT_YET:
                if not isinstance(reply, hiredis.PushNotification):
                    self._answer(reply)
        except rx.InvalidResponse as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server, the network or `close` ended it."""
        self.is_over = True
        self._fail(exc or ConnectionResetError("the connection was closed"))

    def _answer(self, reply: Any) -> None:
        if self._waiting is None:
            self.close()  # a reply to nothing: whatever comes next would be read as somebody else's
        elif self._said is not None and not self._said:
            self._said.append(reply)
        elif not self._waiting.done():
            self._waiting.set_result(reply)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _is_late(self, waiting: asyncio.Future[Any], last_look: float) -> None:
        if waiting.done():
            return
        if last_look:
            self._loop.call_later(last_look, self._is_late, waiting, 0.0)
        else:
            waiting.set_exception(TimeoutError())
