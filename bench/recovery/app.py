"""The application whose workers are killed: jobs that wait, and jobs that hold their process up.

Each start and end is a line of a file, with the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import os
import time

import msgspec

from engine import Clock, Engine, Job

FILE, LEASE, QUEUES, CONCURRENCY = "RECOVERY_FILE", "RECOVERY_LEASE", "RECOVERY_QUEUES", "RECOVERY_CONCURRENCY"
"""How a run tells its workers what to do."""
TRIAL = 1_000_000


class Work(msgspec.Struct, frozen=True):
    """A job's payload, in seconds."""

    wait: float = 0.0
    block: float = 0.0
    """The event loop stands still, other threads run."""
    hold: float = 0.0
    """One call holds the interpreter lock: no thread runs."""


def names(queues: int) -> list[str]:
    """The queues of a run."""
    return [f"recovery-{n}" for n in range(queues)]


clock = Clock()
engine = Engine(clock=clock)
_file = os.open(os.environ.get(FILE, os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(what: str, job: Job) -> None:
    """A line; one small write to a file that is opened for appending is whole, whoever else writes."""
    os.write(_file, f"{what} {job.id} {os.getpid()} {time.monotonic_ns()}\n".encode())


def hold(seconds: float) -> None:
    """About so long, however fast this machine is."""
    began = clock.mono()
    sum(range(TRIAL))
    sum(range(int(TRIAL * seconds / max(clock.mono() - began, 1e-6))))


async def work(payload: Work, job: Job) -> None:
    """Wait as for a provider, or be rude."""
    note("start", job)
    if payload.block:
        time.sleep(payload.block)  # noqa: TID251, ASYNC251 - blocks the event loop: that is what it is for
    if payload.hold:
        hold(payload.hold)
    await clock.sleep(payload.wait)
    note("end", job)


for _name in names(int(os.environ.get(QUEUES, "1"))):
    _queue = engine.queue(
        _name,
        concurrency=int(os.environ.get(CONCURRENCY, "5")),
        lease=float(os.environ.get(LEASE, "10")),
        keep_completed=1_000_000,
    )
    _queue.handler("work")(work)
