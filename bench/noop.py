"""The application whose handlers only return: `engine --app bench.noop:engine run` drains queue `drain`.

What it is comes from the environment, so that a worker is started as users start it: BENCH_QUEUES (1), BENCH_CONCURRENCY (5),
BENCH_HOLD (0: seconds each job lasts, as if it waited for a network; not those whose wait is noted). With BENCH_NOTES it writes
down how it got on, to that path with its process id added: when it leaves, and as soon as BENCH_JOBS have run, or BENCH_WAITS of
those whose wait is noted.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from engine import Engine, Job

TICK = 100
"""Jobs between two points of the timeline."""


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """About 300 bytes, as an inbound message has."""

    conversation_id: str
    content: str
    planned: float = 0.0
    """When it was to be sent, or was due, in `Clock.mono()` seconds: of such jobs the wait until the start is noted."""


CONTENT = "x" * 240


class Notes(msgspec.Struct):
    """How one worker process got on."""

    jobs: int = 0
    timeline: list[tuple[float, int]] = []
    """(instant, jobs run until then)"""
    waits: list[float] = []
    """Seconds from `planned` to the start, of the jobs that have one."""


def queue_names(count: int) -> list[str]:
    """`drain`, then `drain-1`, `drain-2` and so on."""
    return ["drain", *(f"drain-{number}" for number in range(1, count))]


def build(environ: Mapping[str, str]) -> Engine:
    """The engine the environment asks for. Each queue has three handlers: `noop`, `keyed`, which is ordered by conversation, and
    `single` for jobs whose wait is noted: a name of its own, since the engine claims ahead by how long a name's jobs last."""
    made = Engine()
    clock, notes = made.clock, Notes()
    hold = float(environ.get("BENCH_HOLD", "0"))
    jobs, waits = int(environ.get("BENCH_JOBS", "0")), int(environ.get("BENCH_WAITS", "0"))
    place = Path(f"{environ['BENCH_NOTES']}.{os.getpid()}") if "BENCH_NOTES" in environ else None

    async def run(payload: Payload) -> None:
        if payload.planned:
            notes.waits.append(clock.mono() - payload.planned)
            if len(notes.waits) == waits and place is not None:
                keep(place, notes)
        elif hold:
            await clock.sleep(hold)
        notes.jobs += 1
        if notes.jobs % TICK == 0:
            notes.timeline.append((clock.mono(), notes.jobs))
        if notes.jobs == jobs and place is not None:
            keep(place, notes)

    for name in queue_names(int(environ.get("BENCH_QUEUES", "1"))):
        queue = made.queue(name, concurrency=int(environ.get("BENCH_CONCURRENCY", "5")), keep_completed=1000)

        @queue.handler("noop")
        async def noop(payload: Payload, job: Job) -> None:
            await run(payload)

        @queue.handler("keyed", ordering_key="conversation_id")
        async def keyed(payload: Payload, job: Job) -> None:
            await run(payload)

        @queue.handler("single")
        async def single(payload: Payload, job: Job) -> None:
            await run(payload)

    if place is not None:

        @made.lifespan
        async def noted() -> AsyncIterator[None]:
            yield
            keep(place, notes)

    return made


def keep(place: Path, notes: Notes) -> None:
    """Write it down, whole or not at all."""
    fresh = place.with_name(f"{place.name}.new")
    fresh.write_bytes(msgspec.msgpack.encode(notes))
    fresh.replace(place)


engine = build(os.environ)
