"""Sender: the process that sends jobs whose wait is noted: `python -m bench.scale.sender KIND COUNT SECONDS QUEUES FILE`.

`urgent`: one at a time at fixed instants, priority 1, past whatever waits; `mixed`: the same, of the same name as what waits.
`delayed`: all enqueued ahead, due one after the other. Each job carries the instant it was planned for; its handler notes how
late it started. How long each enqueue took goes to FILE.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bench.noop import CONTENT, Payload, build, queue_names
from engine import Engine, EnqueueOptions
from engine.fleet import run

LEAD = 0.1
DELAYED_LEAD = 1.0
"""Seconds until the first is due; and so much more for each, so that all are enqueued by then."""
EACH = 0.0005


async def send_urgent(app: Engine, count: int, seconds: float, queues: list[str], handler: str = "single") -> list[float]:
    """Open loop; seconds each enqueue took."""
    clock = app.clock
    begin = clock.mono() + LEAD
    dice = random.Random(count)
    took: list[float] = []

    async def one(planned: float, queue: str) -> None:
        began = clock.mono()
        await app.enqueuing.enqueue(queue, handler, Payload("urgent", CONTENT, planned), EnqueueOptions(priority=1))
        took.append(clock.mono() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            planned = begin + seconds * number / count
            while (wait := planned - clock.mono()) > 0:
                await clock.sleep(wait)
            group.create_task(one(planned, dice.choice(queues)))
    return took


async def send_delayed(app: Engine, count: int, seconds: float, queues: list[str]) -> list[float]:
    """All ahead; seconds each enqueue took."""
    clock = app.clock
    lead = DELAYED_LEAD + count * EACH
    begin, begin_at = clock.mono() + lead, datetime.now(UTC) + timedelta(seconds=lead)
    took = []
    for number in range(count):
        after = seconds * number / count
        began = clock.mono()
        payload = Payload("delayed", CONTENT, begin + after)
        options = EnqueueOptions(at=begin_at + timedelta(seconds=after), priority=1)
        await app.enqueuing.enqueue(queues[number % len(queues)], "single", payload, options)
        took.append(clock.mono() - began)
    if clock.mono() > begin:
        raise RuntimeError("not all jobs were enqueued before the first was due: the machine is too busy for this")
    return took


async def send_mixed(app: Engine, count: int, seconds: float, queues: list[str]) -> list[float]:
    """As urgent ones, but of the same name as the jobs they come past: to the engine one handler that is now fast, now slow."""
    return await send_urgent(app, count, seconds, queues, "noop")


SENDERS = {"urgent": send_urgent, "delayed": send_delayed, "mixed": send_mixed}


async def main(kind: str, count: int, seconds: float, queues: int, took: list[float]) -> bool:
    """Send; `took` gets the seconds of each enqueue."""
    names = queue_names(queues)
    async with build({"BENCH_QUEUES": str(queues)}) as app:
        took += await SENDERS[kind](app, count, seconds, names)
    return True


if __name__ == "__main__":
    found: list[float] = []
    run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), found))
    Path(sys.argv[5]).write_bytes(msgspec.msgpack.encode(found))
