"""Wire: one connection to the server, used by one caller at a time.

redis-py opens the connection (TLS, auth, HELLO), `talk` speaks on it; redis-py's pool and retries are not used: those re-send
writes whose reply was lost (measured: one XADD left two entries). A call that fails or is cancelled in the middle closes the
connection, so no later call can read a reply that is not its own.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import redis.exceptions as rx
from redis.asyncio.connection import AbstractConnection

from ..errors import StoreError, StoreRefused, StoreUnanswered
from .door import Door, ShutOut
from .scripts import script
from .talk import Talk
from .translate import code_of, meaning_of, translate

Dial = Callable[[], Awaitable[AbstractConnection]]
"""Makes an unconnected connection to whoever is the right server now."""

CONFIRM_SECONDS = 1.0
"""How long one call waits for replicas: a live one confirms within a round trip, and who repeats the call asks anew who is the
primary."""

SENT = "the request had been sent"
"""Note on a cancellation that came between a request and its reply: the request may have taken effect."""


class Wire:
    """A connection that is made when needed and dropped when in doubt."""

    def __init__(
        self,
        dial: Dial,
        where: str,
        door: Door,
        *,
        timeout: float,
        connect_timeout: float,
        on_connect: Callable[[], None] | None = None,
    ) -> None:
        """`timeout` and `connect_timeout` in seconds: from a request to its reply, and to be connected and greeted. `on_connect`
        is called each time somebody let us in."""
        self._dial = dial
        self._where = where
        self._door = door
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._on_connect = on_connect
        self._connection: AbstractConnection | None = None
        self._talk: Talk | None = None
        self._round = self._silences = 0
        self._is_on_trial = False

    def __repr__(self) -> str:
        return f"<Wire {self._where} {'up' if self._talk else 'down'}>"

    @property
    def is_up(self) -> bool:
        """True when a call needs no connection first."""
        return self._talk is not None and not self._talk.is_over and self._silences == self._door.silences

    @property
    def is_over(self) -> bool:
        """True when the server has closed it since the last call, or one of its age has given no answer since: no outage, but who
        counts on what it did before must look who answers now, so `call` says it. `drop` makes the next call connect."""
        return self._talk is not None and not self.is_up

    async def call(
        self,
        *args: Any,
        timeout: float | None = None,
        first: tuple[Any, ...] | None = None,
        said: list[Any] | None = None,
        hear: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send one command, return its reply. `timeout` in seconds from sending; None takes the wire's own, and that a shorter
        one is over says nothing of the server. `first`, `said`: a command that is sent with it and begun before it, and where its
        reply goes, or its ResponseError. `hear`: called with the reply as it arrives; that it raises is logged, and changes
        nothing else.

        Raises:
            StoreUnreachable: nothing was sent. Repeat.
            StoreUnanswered: sent, no reply. Repeat if the command is idempotent.
            StoreRefused: the server said no.
        """
        talk = self._talk or await self._connect()
        sent = False
        try:
            if talk.is_over:  # said, not mended in silence: whoever claims must look whether the same server answers
                raise ConnectionResetError("the connection was closed while idle")
            if self._silences != self._door.silences:
                raise ConnectionResetError("another connection as old as this one gave no answer")
            sent = True
            reply = await talk.ask(args, self._timeout if timeout is None else timeout, first, said, hear)
        except rx.ResponseError as error:
            raise await self._refused(error) from error
        except (rx.RedisError, OSError, TimeoutError) as error:
            await self.drop()
            if not isinstance(error, TimeoutError):
                self._door.doubt(self._round)
            elif timeout is None or timeout >= self._timeout:
                self._door.fell_silent(self._silences)
                self._door.doubt(self._round)
            raise translate(error, sent=sent, where=self._where) from error
        except BaseException as error:  # cancelled in the middle: the reply would be read by the next caller
            if sent:
                error.add_note(SENT)
            await self.drop()
            raise
        if self._is_on_trial:
            self._is_on_trial = False
            self._door.open()
        return reply

    async def _refused(self, error: rx.ResponseError) -> StoreError:
        """Ours for the server's. Whoever may be the wrong server is left."""
        refusal = translate(error, sent=True, where=self._where)
        if meaning_of(refusal).elsewhere:
            await self.drop()
            self._door.failed(self._round, refusal, is_wrong=True)
        return refusal

    async def _connect(self) -> Talk:
        await self.drop()
        try:
            async with self._door.knock():
                self._round, self._silences = self._door.round, self._door.silences
                connection, talk = await self._greet()
        except ShutOut as shut:
            raise copy.copy(shut.cause) from None  # each caller raises one of its own: they collect tracebacks
        self._connection, self._talk = connection, talk
        self._is_on_trial = self._door.is_shut
        if self._on_connect is not None:
            self._on_connect()
        return talk

    async def _greet(self) -> tuple[AbstractConnection, Talk]:
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._dial()
                try:
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no annotation
                    return connection, Talk(connection)
                except BaseException:  # cut off between the socket and its greeting, redis-py leaves the socket open
                    await connection.disconnect(nowait=True)
                    raise
        except (rx.RedisError, OSError, TimeoutError) as error:
            raise translate(error, sent=False, where=self._where) from error

    async def run(self, name: str, prefix: str, *args: Any) -> Any:
        """Run a script by its SHA, loading it when the server does not have it (first use, SCRIPT FLUSH, restart)."""
        wanted = script(name)
        try:
            return await self.call("EVALSHA", wanted.sha, 1, prefix, *args)
        except StoreError as error:
            if getattr(error, "code", "") != "NOSCRIPT":
                raise
        await self.call("SCRIPT", "LOAD", wanted.text)
        return await self.call("EVALSHA", wanted.sha, 1, prefix, *args)

    async def run_confirmed(self, replicas: int, name: str, prefix: str, *args: Any, timeout: float | None = None) -> Any:
        """Run a script, and answer only when so many replicas have what it wrote. Both requests leave together. `timeout`: as
        `call`, and then a script that the server does not have is not loaded.

        Raises:
            StoreUnanswered: it took effect here, but too few replicas said so within a second: a failover may still lose it.
                Repeat it, if it is idempotent: the repeat waits for them again.
            StoreUnreachable, StoreRefused: as `call`; it did not happen.
        """
        wanted, said = script(name), list[Any]()
        wait = ("WAIT", replicas, int(min(CONFIRM_SECONDS, self._timeout / 2) * 1000))
        for _ in range(2):
            request = ("EVALSHA", wanted.sha, 1, prefix, *args)
            try:
                have = await self.call(*wait, timeout=timeout, first=request, said=said)
            except StoreRefused:
                if not said:
                    raise  # refused at the greeting
                have = -1  # WAIT at a server that is no primary any more; what became of the script, it has said itself
            reply = said.pop()
            if not isinstance(reply, rx.ResponseError):
                if have < replicas:
                    raise StoreUnanswered(
                        f"{self._where} has the request, but only {max(have, 0)} of {replicas} replicas confirmed it"
                    )
                return reply
            if code_of(reply) != "NOSCRIPT" or timeout is not None:
                break
            await self.call("SCRIPT", "LOAD", wanted.text)
        raise await self._refused(reply) from reply

    async def drop(self) -> None:
        """Close without waiting for anything; the next call connects anew."""
        talk, self._talk = self._talk, None
        connection, self._connection = self._connection, None
        if talk is not None:
            talk.close()
        if connection is not None:
            await connection.disconnect(nowait=True)
