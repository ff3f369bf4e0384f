"""Worker main: a worker process for the system tests, with one scripted handler that journals what it does.

    python -m tests.support.worker_main '{"url": ..., "queue": ..., "journal": ...}'

A job's payload says what each of its starts does (`Script.plan`). `die` makes the process kill itself with SIGKILL at one moment
of the worker's life, by wrapping the store's `step` in this process only: the engine knows nothing of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine import Discard, Engine, Fixed, Handler, Job, PauseQueue, RateLimited, Retry, Settings, Snooze, connection
from engine.events import (
    DataLoss,
    Event,
    HandlerUnknown,
    JobDied,
    JobReleased,
    JobsReclaimed,
    LeaseLost,
    LoopBlocked,
    ServiceFailed,
    StoreDown,
    StoreUp,
    WorkerDraining,
    WorkerStarted,
    WorkerStopped,
)
from engine.fleet import run_worker
from engine.store.redis_store import RedisStore
from engine.store.settles import Settles
from engine.store.wire import Wire
from engine.store.work import StepReply
from tests.support.journal import Journal
from tests.support.running import until

NOTED: tuple[type[Event], ...] = (
    WorkerStarted, WorkerDraining, WorkerStopped, LeaseLost, LoopBlocked, DataLoss, StoreDown, StoreUp, JobsReclaimed,
    HandlerUnknown, JobReleased, JobDied, ServiceFailed,
)  # fmt: skip
"""Events that the process journals."""

Die = Literal["", "claimed", "before settle", "after settle"]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What one job does. `plan` has one act a start, the last one for all further starts; see `_act`."""

    n: int
    plan: tuple[str, ...] = ("ok",)
    seconds: float = 0.0
    key: str | None = None
    gate: str = ""
    """A file; act `gate` waits until it exists."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """How the process is set up; the tests declare the same queue from it."""

    url: str
    queue: str
    journal: str
    lease: float = 1.0
    concurrency: int = 5
    attempts: int = 3
    timeout: float = 30.0
    stall_limit: int = 3
    drain_timeout: float = 5.0
    socket_timeout: float = 5.0
    enqueue_timeout: float = 5.0
    die: Die = ""
    names: tuple[str, ...] = ("do", "thread")
    burst: bool = False


def build(config: Config, journal: Journal) -> tuple[Engine, dict[str, Handler[Any, Any]]]:
    """The application of both sides: worker processes run it, tests enqueue with it."""
    settings = Settings(
        redis_url=config.url,
        lease=config.lease,
        drain_timeout=config.drain_timeout,
        socket_timeout=config.socket_timeout,
        enqueue_timeout=config.enqueue_timeout,
    )
    app = Engine(settings=settings)
    queue = app.queue(
        config.queue,
        concurrency=config.concurrency,
        attempts=config.attempts,
        timeout=config.timeout,
        stall_limit=config.stall_limit,
        backoff=Fixed(0.05),
        keep_completed=1_000_000,
    )

    async def do(script: Script, job: Job) -> int | None:
        act = _begin(journal, script, job)
        try:
            return await _act(journal, act, script, job)
        finally:
            journal.write("end", job.id, n=script.n, attempt=job.attempt, key=script.key or "", text=act)

    def in_thread(script: Script, job: Job) -> None:
        act = _begin(journal, script, job)
        time.sleep(script.seconds)
        journal.write("end", job.id, n=script.n, attempt=job.attempt, key=script.key or "", text=act)

    known = {"do": do, "thread": in_thread}
    handlers = {name: queue.handler(name, ordering_key="key")(known[name]) for name in config.names}
    return app, handlers


def _begin(journal: Journal, script: Script, job: Job) -> str:
    """Journal the start; returns the act of this start."""
    before = len(journal.starts(script.n)) if len(script.plan) > 1 else 0
    act = script.plan[min(before, len(script.plan) - 1)]
    journal.write("start", job.id, n=script.n, attempt=job.attempt, key=script.key or "", text=act)
    return act


async def _act(journal: Journal, act: str, script: Script, job: Job) -> int | None:
    match act:
        case "ok" | "fail":
            await asyncio.sleep(script.seconds)
            if act == "fail":
                raise RuntimeError("scripted failure")
        case "result":
            return script.n
        case "retry":
            raise Retry(after=script.seconds)
        case "snooze":
            raise Snooze(after=script.seconds)
        case "limit job" | "limit queue":
            raise RateLimited(after=script.seconds, scope=act.split()[1])
        case "discard":
            raise Discard("scripted")
        case "pause":
            raise PauseQueue("scripted")
        case "step" | "step, kill":
            await job.step("once", lambda: journal.write("note", job.id, n=script.n, text="step ran"))
            if act == "step, kill":
                os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            await _until_told(journal, script, job)
        case "gate":
            await _until_open(script.gate)
        case "gate, fail":
            await _until_open(script.gate)
            raise RuntimeError("scripted failure")
        case "gate, step":
            await _until_open(script.gate)
            await job.step("once", lambda: journal.write("note", job.id, n=script.n, text="step ran"))
        case "swallow":  # every cancellation, for ever
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    journal.write("told", job.id, n=script.n, text="swallowed")
        case "block":  # the event loop
            time.sleep(script.seconds)  # noqa: ASYNC251 - to block the loop is what it is for
        case "hold":  # every thread of the process: C code that keeps Python's lock
            ctypes.PyDLL(None).usleep(int(script.seconds * 1_000_000))
        case "sys.exit":
            sys.exit(3)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise AssertionError(f"the script names no act: {act!r}")
    return None


async def _until_open(gate: str) -> None:
    await until(lambda: asyncio.to_thread(os.path.exists, gate), bool, timeout=3600.0)  # another process opens it


async def _until_told(journal: Journal, script: Script, job: Job) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        journal.write("told", job.id, n=script.n, text=f"cancelled={job.cancelled}")
        raise


def die_at(moment: Die) -> type[RedisStore]:
    """A store whose process ends, as by `kill -9`, the first time it comes to that moment."""

    class Dying(RedisStore):
        async def step(
            self, wire: Wire, queue: str, worker: str, number: int, want: int, held: int, settles: Settles, *rest: Any
        ) -> StepReply:
            if moment == "before settle" and len(settles):
                os.kill(os.getpid(), signal.SIGKILL)
            reply = await super().step(wire, queue, worker, number, want, held, settles, *rest)
            if (moment == "after settle" and len(settles)) or (moment == "claimed" and reply.rows):
                os.kill(os.getpid(), signal.SIGKILL)
            return reply

    return Dying


def main() -> int:
    """Run one worker until SIGTERM."""
    config = msgspec.json.decode(sys.argv[1], type=Config)
    if config.die:
        vars(connection)["RedisStore"] = die_at(config.die)  # a fault of this process, not of the engine
    journal = Journal(Path(config.journal))
    app, _ = build(config, journal)
    app.events.subscribe(lambda event: journal.write("note", "", text=msgspec.json.encode(event).decode()), *NOTED)
    return run_worker(app, burst=config.burst)


if __name__ == "__main__":
    sys.exit(main())
