"""Talk: one request and its reply at a time, over a socket that redis-py has opened and greeted.

redis-py knows every way to a server (TLS, passwords, HELLO, Sentinel, cluster), and those are used once a connection. Its streams
are used at every call, where they cost more than the server does (docs/performance.md). So after the greeting the socket's
transport is given this protocol instead: hiredis packs, hiredis parses, one future a call, no task and no buffer between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import hiredis
import redis.exceptions as rx
from redis.asyncio.connection import AbstractConnection

from ..clock import Clock
from ..masking import mask_text

LAST_LOOK: Final = 0.005
"""Seconds after a time limit for a reply that is already in the socket: uvloop looks at timers before it looks at sockets, so a
loop that was held up would find every reply too late."""


_log = logging.getLogger(__name__)
_NOT_YET = object()
_mono = Clock().mono
"""Always real time: a server does not wait for a test's clock. Not the loop's, which stands still while a handler blocks it."""


class Talk(asyncio.Protocol):
    """Takes over a connection, which the caller keeps and disconnects; `ask` until `is_over`."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=rx.InvalidResponse, replyError=rx.ResponseError, notEnoughData=_NOT_YET)
        self._waiting: asyncio.Future[Any] | None = None
        self._due_mono = self._armed_mono = 0.0
        """When the reply is too late, and when the timer looks after it; both `_mono`."""
        self._timer: asyncio.TimerHandle | None = None
        self._said: list[Any] | None = None
        """Of two requests sent together: where the first one's reply goes."""
        self._hear: Callable[[Any], None] | None = None
        self._has_told = False
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
        self,
        args: tuple[Any, ...],
        timeout: float,
        first: tuple[Any, ...] | None = None,
        said: list[Any] | None = None,
        hear: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send one command, return its reply; a refusal is raised as redis-py's ResponseError, its text as the server sent it.

        A command `first` is sent with it, and begun before it: its reply, or its refusal, is put into `said`. `hear` is
        called with the reply at the very moment it arrives, before the caller's turn on the loop comes; that it raises is logged,
        once a connection, and the caller gets its reply all the same.

        Raises:
            TimeoutError: no reply within `timeout` seconds. The talk must be closed: the reply may still come.
            ConnectionError, InvalidResponse: the connection is gone, or what came is no RESP.
        """
        waiting = self._waiting = self._loop.create_future()
        self._said = said
        self._hear = hear
        self._due_mono = due_mono = _mono() + timeout
        if self._timer is None or due_mono < self._armed_mono:
            self._arm(due_mono)
        try:
            request = hiredis.pack_command(args)
            self._transport.write(request if first is None else hiredis.pack_command(first) + request)
            reply = await waiting
        finally:
            self._waiting = self._said = self._hear = None
            del waiting  # its error's traceback leads here: a ring
        if isinstance(reply, rx.ResponseError):
            raise reply
        return reply

    def close(self) -> None:
        """Drop the connection without waiting for anything."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
            if self._hear is not None and not isinstance(reply, rx.ResponseError):
                try:
                    self._hear(reply)
                except Exception as error:  # noqa: BLE001 - beyond us is the transport, which closes a connection for it
                    self._tell(error)
            self._waiting.set_result(reply)

    def _tell(self, error: Exception) -> None:
        if not self._has_told:
            self._has_told = True
            _log.error("what hears replies at once failed: %s", mask_text(f"{type(error).__name__}: {error}"))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _arm(self, due_mono: float) -> None:
        """One timer, which stays for the calls that follow: to make and cancel one a call took a tenth of it."""
        if self._timer is not None:
            self._timer.cancel()
        self._armed_mono = due_mono
        self._timer = self._loop.call_later(due_mono - _mono(), self._look)

    def _look(self) -> None:
        self._timer, waiting = None, self._waiting
        if waiting is None or waiting.done():
            return
        if _mono() < self._due_mono:
            self._arm(self._due_mono)
        else:
            self._loop.call_later(LAST_LOOK, _give_up, waiting)


def _give_up(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
