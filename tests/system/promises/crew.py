"""Crew: the worker processes of one test, the producer beside them, and the journal of what their handlers did.

`async with Crew(config) as crew` opens the producer; `crew.start()` starts a worker process. Leaving kills what still runs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from engine import Handle
from engine.store.redis_store import RedisStore
from engine.store.rows import QueueCounts
from tests.support.journal import Journal, Line
from tests.support.running import until
from tests.support.worker_main import Config, Script, build

ROOT = Path(__file__).resolve().parents[3]


class Member:
    """One worker process."""

    def __init__(self, config: Config, journal: Journal, env: Mapping[str, str] | None = None) -> None:
        self._journal = journal
        command = [sys.executable, "-m", "tests.support.worker_main", msgspec.json.encode(config).decode()]
        self.process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, env=env)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """The events of that kind it journalled."""
        found = [msgspec.json.decode(x.text) for x in self._journal.lines("note") if x.pid == self.pid and x.text.startswith("{")]
        return [note for note in found if note["kind"] == kind]

    async def noted(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait for so many events of a kind."""

        async def ask() -> list[dict[str, Any]]:
            return self.notes(kind)

        return await until(ask, lambda notes: len(notes) >= count, timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        self.process.kill()
        self.process.wait()

    async def ended(self, timeout: float = 10.0) -> int:
        """Wait for its end; its exit code (negative: the signal that killed it)."""

        async def ask() -> int | None:
            return self.process.poll()

        code = await until(ask, lambda code: code is not None, timeout)
        assert code is not None
        return code

    async def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, and wait; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(timeout)


class Crew:
    """Worker processes and a producer of one queue."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.journal = Journal(Path(config.journal))
        self.app, handlers = build(config, self.journal)
        self.do = handlers["do"]
        self.handlers = handlers
        self.members: list[Member] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.app)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self.members:
            member.kill()
        await self._stack.aclose()
        self.journal.close()

    @property
    def store(self) -> RedisStore:
        """The producer's store."""
        return self.app.connection.store

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.config.queue

    async def start(self, *, env: Mapping[str, str] | None = None, **changes: Any) -> Member:
        """Start a worker process, with these changes to the configuration; returns when it is at work."""
        member = self.launch(env=env, **changes)
        await member.noted("worker.started")
        return member

    def launch(self, *, env: Mapping[str, str] | None = None, **changes: Any) -> Member:
        """Start a worker process without waiting for it."""
        member = Member(msgspec.structs.replace(self.config, **changes), self.journal, env)
        self.members.append(member)
        return member

    async def add(self, *scripts: Script, **options: Any) -> list[Handle[Any]]:
        """Enqueue these jobs, in this order."""
        return await self.do.enqueue_many(scripts, **options)

    async def job(self, *plan: str, n: int = 0, seconds: float = 0.0, key: str | None = None, gate: str = "") -> str:
        """Enqueue one job; its full id."""
        (handle,) = await self.add(Script(n=n, plan=plan, seconds=seconds, key=key, gate=gate))
        return handle.id

    async def counts(self) -> QueueCounts:
        """How many jobs are where; waits for a server that is on its way back."""
        return await self.store.link.patient(lambda: self.store.counts(self.queue), timeout=10.0)

    async def when(self, holds: Callable[[QueueCounts], bool], timeout: float = 15.0) -> QueueCounts:
        """Wait until the counts hold."""
        return await until(self.counts, holds, timeout)

    async def completed(self, count: int) -> QueueCounts:
        """Wait until so many jobs are completed."""
        return await self.when(lambda c: c.completed >= count)

    async def all_ended(self, timeout: float = 20.0) -> QueueCounts:
        """Wait until every job is completed, dead or cancelled."""
        return await self.when(lambda c: c.completed + c.dead + c.cancelled + c.removed == c.enqueued, timeout)

    async def keep(self, members: int, *, timeout: float, **changes: Any) -> int:
        """Keep so many worker processes alive until every job has ended; how many died meanwhile."""
        crew = [self.launch(**changes) for _ in range(members)]
        died = 0

        async def replace_the_dead() -> QueueCounts:
            nonlocal died
            for place, member in enumerate(crew):
                if member.process.poll() is not None:
                    died += 1
                    crew[place] = self.launch(**changes)
            return await self.counts()

        await until(replace_the_dead, lambda c: c.completed + c.dead + c.cancelled == c.enqueued, timeout)
        return died

    def gate(self, name: str = "gate") -> str:
        """A gate for act `gate`, shut until `open`."""
        return str(self.journal.path.with_name(name))

    def open(self, gate: str) -> None:
        """Let the handlers that wait at this gate go on."""
        Path(gate).touch()

    async def started(self, n: int = 0, times: int = 1, timeout: float = 10.0) -> list[Line]:
        """Wait until job `n` was started so many times."""

        async def ask() -> list[Line]:
            return self.journal.starts(n)

        return await until(ask, lambda starts: len(starts) >= times, timeout)

    async def ends(self) -> list[Line]:
        """Every end of a handler so far."""
        return self.journal.ends()

    async def told(self, n: int = 0, timeout: float = 10.0) -> Line:
        """Wait until the handler of job `n` was told to stop."""

        async def ask() -> list[Line]:
            return self.journal.lines("told", n=n)

        return (await until(ask, bool, timeout))[0]


def numbered(count: int, *plan: str, first: int = 0, seconds: float = 0.0, keys: Iterable[str | None] = (None,)) -> list[Script]:
    """So many jobs with the same plan, their keys taken in turn."""
    in_turn = list(keys)
    return [Script(n=first + i, plan=plan or ("ok",), seconds=seconds, key=in_turn[i % len(in_turn)]) for i in range(count)]
