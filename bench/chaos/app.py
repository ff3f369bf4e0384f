"""App: the application under test. Its handlers do what their payload says, and write down each start and end.

A worker process is `engine --app bench.chaos.app:engine run`, with CHAOS_DIR naming the run's directory; CHAOS_CLOCK_OFFSET sets
its clock off by so many seconds, CHAOS_LEASE gives it another lease than the run's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from engine import Clock, Engine, Fixed, Job, Snooze

from .journal import Journal, read_settings
from .kinds import TIMEOUT, Script

DIRECTORY = Path(os.environ["CHAOS_DIR"])
MARKS = DIRECTORY / "marks"
BACKOFF = 0.2
SNOOZE = 0.2
DEAF = 0.3
"""Seconds that a deaf handler goes on after it was told to stop."""


class SkewedClock(Clock):
    """A wall clock that is off, as of a machine that was set wrong."""

    def __init__(self, seconds: float) -> None:
        self._off_ms = int(seconds * 1000)

    def now_ms(self) -> int:
        """This machine's wall clock as such a machine has it."""
        return super().now_ms() + self._off_ms


facts = read_settings(DIRECTORY)
journal = Journal(DIRECTORY, "worker", os.environ.get("ENGINE_WORKER_NAME", ""))
lease = float(os.environ.get("CHAOS_LEASE", "0"))
offset = float(os.environ.get("CHAOS_CLOCK_OFFSET", "0"))
engine = Engine(clock=SkewedClock(offset) if offset else Clock())


class Failed(Exception):
    """What a flaky handler raises."""


def times(script: Script, what: str) -> int:
    """How often this job did that before; counted outside Redis, and one more from now on."""
    path = MARKS / f"{script.n}.{what}"
    with path.open("ab") as file:
        before = file.tell()
        file.write(b".")
    return before


def begin(script: Script, job: Job) -> None:
    """Write down the start; crash, where that is what it does."""
    journal.note("start", n=script.n, job=job.id, kind=script.kind, queue=job.queue, key=script.key, attempt=job.attempt)
    if script.crashes and times(script, "crash") < script.crashes:
        if script.act == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)


def end(script: Script, job: Job, how: str) -> None:
    """Write down the end."""
    journal.note("end", n=script.n, job=job.id, kind=script.kind, queue=job.queue, key=script.key, attempt=job.attempt, how=how)


def give(script: Script, job: Job) -> None:
    """End as the payload says: by returning, or by raising."""
    if script.snoozes and times(script, "snooze") < script.snoozes:
        end(script, job, "snoozed")
        raise Snooze(SNOOZE)
    if job.attempt <= script.fails:
        end(script, job, "failed")
        if script.act == "quit":
            sys.exit(4)
        raise Failed(f"attempt {job.attempt} of {script.fails} that fail")
    end(script, job, "ok")


async def run(script: Script, job: Job) -> None:
    """The body of the async handler, between its start and its end."""
    if script.act == "block":
        time.sleep(script.seconds)  # noqa: TID251, ASYNC251 - blocks the event loop: the fault that this job is
    elif script.act == "hang" and job.attempt <= script.fails:
        await engine.clock.sleep(3600)
    elif script.seconds and (script.act != "deaf" or job.attempt <= script.fails):
        await engine.clock.sleep(script.seconds)


async def do(script: Script, job: Job) -> None:
    """The async handler."""
    begin(script, job)
    began = engine.clock.mono()
    try:
        await run(script, job)
    except asyncio.CancelledError:
        journal.note("told", n=script.n, job=job.id, attempt=job.attempt)
        # its timeout tells it to stop as well: that is a failed attempt, whatever it answers
        timed_out = script.act in ("hang", "deaf") and job.attempt <= script.fails and engine.clock.mono() - began >= TIMEOUT
        if script.act == "deaf":
            await engine.clock.sleep(DEAF)
            end(script, job, "failed" if timed_out else "ok")
            return
        end(script, job, "failed" if timed_out else "cancelled")
        raise
    give(script, job)


def sync(script: Script, job: Job) -> None:
    """The plain handler, run in a thread."""
    begin(script, job)
    time.sleep(script.seconds)  # noqa: TID251 - in a thread of its own, as a plain handler may
    give(script, job)


MARKS.mkdir(exist_ok=True)
for _name, _facts in facts.queues.items():
    _queue = engine.queue(
        _name,
        concurrency=_facts.concurrency,
        attempts=_facts.attempts,
        lease=lease or _facts.lease_ms / 1000,
        stall_limit=_facts.stall_limit,
        backoff=Fixed(BACKOFF),
        timeout=30.0,
        keep_completed=100_000_000,
    )
    _queue.handler("do")(do)
    _queue.handler("sync")(sync)
