"""Guard, counting: what a job costs in commands and bytes of the server, bytecode instructions and objects left to the collector.

All of it on an embedded server of its own, and with a worker that takes turns with it (`bench.steady`), so that two runs of one
version count the same.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from engine import Engine, Handler, Job, Settings
from engine.fleet import run
from engine.services.pool import Pool
from engine.worker import Worker

from .drain import PAYLOAD_TEXT, commandstats
from .steady import Gates, StillClock, in_turns, until

JOBS = 2_000
SINGLE = 200
INSTRUCTIONS, OBJECTS = "bytecode instructions a job", "objects left to the garbage collector a job"
CALLS, COMMANDS = "script calls a job", "commands in scripts a job"
START = "a worker's start: commands"
QUIET = 0.2
"""Seconds without a command after which a worker has started."""
OURS = str(Path(__file__).resolve().parent.parent / "engine")


class Payload(msgspec.Struct, frozen=True):
    """About 300 bytes, as an inbound message has."""

    conversation_id: str
    content: str


class Instructions:
    """Bytecode instructions of files in engine/, in this thread (not the lease keeper's)."""

    def __init__(self) -> None:
        self.executed = 0
        self._is_looking = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count from now on, until left."""
        before = sys.gettrace()
        sys.settrace(self._each)
        try:
            yield
        finally:
            sys.settrace(before)

    def unseen(self, look: Callable[[], bool]) -> Callable[[], bool]:
        """The same look, not counted: how often one looks depends on the machine."""

        def looked() -> bool:
            self._is_looking = True
            try:
                return look()
            finally:
                self._is_looking = False

        return looked

    def _each(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            self.executed += 1
        elif event == "call":
            if self._is_looking or not frame.f_code.co_filename.startswith(OURS):
                return None
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._each


class Counting:
    """One engine with a plain and a keyed queue, and what was counted on it."""

    def __init__(self, engine: Engine, gates: Gates, *, has_instructions: bool) -> None:
        self.counts: dict[str, float] = {}
        self._has_instructions = has_instructions
        self._engine = engine
        self._gates = gates
        self._ran: list[None] = []
        self.plain = self._declare("plain", keyed=False)
        self.keyed = self._declare("keyed", keyed=True)

    def _declare(self, name: str, *, keyed: bool) -> Handler[Payload, None]:
        ran = self._ran

        @self._engine.queue(name, keep_completed=1000).handler("noop", ordering_key="conversation_id" if keyed else None)
        async def noop(payload: Payload, job: Job) -> None:
            ran.append(None)

        return noop

    async def all(self) -> None:
        """Everything, in the order in which it is shown."""
        await self.plain.enqueue(_payload(0))  # scripts loaded, streams made
        await Worker(self._engine, burst=True).run()
        await self._count("enqueue one", SINGLE, self._one_by_one)
        await self._count("enqueue many", JOBS, lambda _: self.plain.enqueue_many(map(_payload, range(JOBS))))
        self.counts["a waiting job: bytes beside its payload"] = await self._bytes("plain", JOBS + SINGLE)
        await self._count("enqueue many with keys", JOBS, lambda _: self.keyed.enqueue_many(map(_payload, range(JOBS))))
        self.counts["a job of four to a key: bytes beside its payload"] = await self._bytes("keyed", JOBS)
        async with self._worker() as pools:
            await self._count("drain", JOBS + SINGLE, lambda seen: self._drain(pools["plain"], JOBS + SINGLE, seen))
            await self._count("drain with keys", JOBS, lambda seen: self._drain(pools["keyed"], JOBS, seen))
            await self._count("a single job, worker idle", SINGLE, lambda seen: self._one_at_a_time(pools["plain"], seen))

    async def _count(self, name: str, jobs: int, work: Callable[[Instructions], Awaitable[object]]) -> None:
        store, seen = self._engine.connection.store, Instructions()
        await store.link.call("CONFIG", "RESETSTAT")
        gc.collect()
        gc.disable()
        try:
            if self._has_instructions:
                with seen.counted():
                    await work(seen)
                self.counts[f"{name}: {INSTRUCTIONS}"] = seen.executed / jobs
            else:
                await work(seen)
            self.counts[f"{name}: {OBJECTS}"] = gc.collect() / jobs
        finally:
            gc.enable()
        found = await self._commands()
        self.counts[f"{name}: {CALLS}"] = found.pop("evalsha", 0) / jobs
        self.counts[f"{name}: {COMMANDS}"] = sum(found.values()) / jobs

    async def _commands(self) -> dict[str, int]:
        found = await commandstats(self._engine.connection.store)
        return {name: calls for name, calls in found.items() if name not in ("info", "config|resetstat")}

    # --- what is counted ---------------------------------------------------------------------------------------------

    async def _one_by_one(self, seen: Instructions) -> None:
        for i in range(SINGLE):
            await self.plain.enqueue(_payload(i))

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[dict[str, Pool]]:
        """A worker whose services have made their first pass, and whose pools have not yet claimed anything."""
        for queue in ("plain", "keyed"):
            self._gates.shut(queue)
        await self._engine.connection.store.link.call("CONFIG", "RESETSTAT")
        worker = Worker(self._engine)
        running = asyncio.ensure_future(worker.run())
        try:
            await until(lambda: len(self._gates.waiting) == 2 or running.done(), "a worker's start", look=0.01)
            self.counts[START] = await self._quiet()
            yield dict(worker.pools)
        finally:
            for queue in ("plain", "keyed"):
                self._gates.open(queue)
            worker.stop()
            await running

    async def _quiet(self) -> float:
        """Commands that the server has run when no more come."""
        loop = asyncio.get_running_loop()
        last, since = 0, loop.time()
        deadline = since + 60
        while loop.time() < min(since + QUIET, deadline):
            if (now := sum((await self._commands()).values())) != last:
                last, since = now, loop.time()
            await asyncio.wait({loop.create_future()}, timeout=0.02)
        return float(last)

    async def _drain(self, pool: Pool, jobs: int, seen: Instructions) -> None:
        expected = len(self._ran) + jobs
        self._gates.open(pool.spec.name)
        await self._done(pool, expected, seen)

    async def _done(self, pool: Pool, expected: int, seen: Instructions) -> None:
        await until(seen.unseen(lambda: len(self._ran) >= expected and pool.is_idle), "the end of the last job")

    async def _one_at_a_time(self, pool: Pool, seen: Instructions) -> None:
        """Each job finds the worker idle: enqueue, bell, claim, run, settle, rest."""
        for i in range(SINGLE):
            expected = len(self._ran) + 1
            await self.plain.enqueue(_payload(i))
            await self._done(pool, expected, seen)

    async def _bytes(self, queue: str, jobs: int) -> float:
        """What the server keeps for a job beside its payload, key by key: its memory as a whole also moves with its buffers."""
        call = self._engine.connection.store.link.call
        keys = [key for key in await call("KEYS", f"engine:{{{queue}}}:*") if not key.endswith(b":meta")]
        kept = sum([await call("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys])
        return float(kept / jobs - len(msgspec.msgpack.encode(_payload(0))))


def _payload(i: int) -> Payload:
    return Payload(f"conversation-{i % (JOBS // 4):05}", PAYLOAD_TEXT)


def measured(*, has_instructions: bool = True) -> dict[str, float]:
    """Every count, on a loop, a server and a directory of its own. Without instructions it takes a third of the time."""
    found: dict[str, float] = {}

    async def inner(directory: str, gates: Gates) -> bool:
        settings = Settings(data_dir=directory, lease=600.0)  # long: leases are renewed by the clock, which is not counted
        engine = Engine(settings=settings, clock=StillClock())
        counting = Counting(engine, gates, has_instructions=has_instructions)
        async with engine:
            await counting.all()
        found.update(counting.counts)
        return True

    with tempfile.TemporaryDirectory(prefix="guard-") as directory, in_turns() as gates:
        run(inner(str(Path(directory) / "data"), gates))
    return found
