"""Faults of a soak: slow ones, in turn, that a week in production brings. The steady worker is never killed: it is weighed."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

from bench.stage import Stage, Workers
from engine import Clock

from .watch import Watch

APP = "bench.soak.app:engine"
FREEZE_SECONDS = 15.0
"""Longer than a lease of 10 s."""


class Faults:
    """The second worker, which comes and goes, and what happens to it and to the server."""

    def __init__(self, stage: Stage, watch: Watch, clock: Clock) -> None:
        self._stage = stage
        self._watch = watch
        self._clock = clock
        self._second: tuple[AsyncExitStack, Workers] | None = None
        kinds = [self.killed, self.connections_cut, self.replaced, self.scripts_gone, self.frozen]
        kinds += [self.file_rewritten, self.paused]
        self._turn: Iterator[Callable[[], Awaitable[None]]] = itertools.cycle(kinds)
        self.done: list[str] = []

    async def begin(self) -> None:
        """Start the second worker."""
        stack = AsyncExitStack()
        self._second = (stack, await stack.enter_async_context(self._stage.workers(APP)))

    async def end(self) -> None:
        """Stop it."""
        if self._second is not None:
            stack, _ = self._second
            self._second = None
            await stack.aclose()

    async def next(self) -> str:
        """The next fault in turn; its name."""
        kind = next(self._turn)
        await kind()
        self.done.append(kind.__name__)
        return kind.__name__

    def _pid(self) -> int:
        assert self._second is not None, "begin comes first"
        return self._second[1].pids[0]

    async def killed(self) -> None:
        """kill -9 of the second worker, and a new one."""
        os.kill(self._pid(), signal.SIGKILL)
        await self.end()
        await self.begin()

    async def replaced(self) -> None:
        """A deploy: SIGTERM, and a new one."""
        await self.end()
        await self.begin()

    async def frozen(self) -> None:
        """SIGSTOP for longer than a lease."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await self._clock.sleep(FREEZE_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def connections_cut(self) -> None:
        """The server drops every connection but ours."""
        mine = self._watch.redis.client_id()
        for client in self._watch.redis.client_list():
            if int(client["id"]) != mine:
                self._watch.redis.client_kill_filter(_id=client["id"])

    async def scripts_gone(self) -> None:
        """The server forgets its scripts."""
        self._watch.redis.script_flush()

    async def file_rewritten(self) -> None:
        """The append-only file is rewritten: a fork."""
        self._watch.redis.bgrewriteaof()

    async def paused(self) -> None:
        """The server takes no write for two seconds."""
        self._watch.redis.execute_command("CLIENT", "PAUSE", "2000", "WRITE")
        await self._clock.sleep(2.0)
