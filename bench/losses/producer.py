"""The process that enqueues while something breaks: `python -m bench.losses.producer '{"directory": ..., "lanes": 8, ...}'`.

Each lane keeps one call under way, at its pace, as a request handler of a web service would; what was asked, acknowledged,
unknown or refused goes to the run's journal at once. An unknown enqueue is asked for again until it is told. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from bench.chaos.journal import Journal
from engine import Engine, EnqueueUnknown, StoreError, StoreUnanswered
from engine.events import DataLoss
from engine.fleet import run

from .app import KEPT, WORKED, Payload, build

PAUSE = 0.05
"""Seconds a lane waits after a refusal."""
TELL_SECONDS = 30.0
"""How long an unknown enqueue is asked for after the end."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to enqueue."""

    directory: str
    lanes: int = 16
    rate: float = 0.0
    """Jobs a second, all lanes together; 0 as fast as they are answered."""
    is_worked: bool = False
    """Every other lane enqueues to the queue that workers work."""


class Producer:
    """The lanes of one process."""

    def __init__(self, plan: Plan, engine: Engine) -> None:
        self._plan = plan
        self._engine = engine
        self._clock = engine.clock
        self._journal = Journal(Path(plan.directory), "producer")
        self._stopping = asyncio.Event()
        self._n = 0
        engine.events.subscribe(lambda event: self._journal.note("told", queue=event.queue, how="data loss"), DataLoss)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; returns when every enqueue has been told, or half a minute after."""
        async with self._engine, asyncio.TaskGroup() as group:
            for number in range(self._plan.lanes):
                group.create_task(self._lane(number, group))

    async def _lane(self, number: int, group: asyncio.TaskGroup) -> None:
        is_worked = self._plan.is_worked and number % 2 == 1
        interval = self._plan.lanes / self._plan.rate if self._plan.rate else 0.0
        at = self._clock.mono() + interval * number / self._plan.lanes
        while not self._stopping.is_set():
            if interval:
                await self._clock.sleep(max(at - self._clock.mono(), 0.0))
                at = max(at + interval, self._clock.mono())
            self._n += 1
            if not await self._enqueue(self._n, WORKED if is_worked else KEPT, "run" if is_worked else "count", group):
                await self._clock.sleep(PAUSE)

    async def _enqueue(self, n: int, queue: str, name: str, group: asyncio.TaskGroup) -> bool:
        """False when it was refused."""
        self._journal.note("ask", n=n, queue=queue)
        began = self._clock.mono()
        try:
            handle = await self._engine.client.enqueue(queue, name, Payload(n))
        except EnqueueUnknown as error:
            self._journal.note("unknown", n=n, queue=queue, took_ms=self._since_ms(began))
            group.create_task(self._find_out(n, queue, error))
            return False
        except StoreError as error:
            how = getattr(error, "code", "") or type(error).__name__
            self._journal.note("refused", n=n, queue=queue, how=how, took_ms=self._since_ms(began))
            return False
        self._journal.note("acked", n=n, queue=queue, job=handle.id, how="new", took_ms=self._since_ms(began))
        return True

    async def _find_out(self, n: int, queue: str, error: EnqueueUnknown) -> None:
        deadline = self._clock.mono() + TELL_SECONDS
        while self._clock.mono() < deadline:
            try:
                handle = await error.repeat()
            except StoreUnanswered:
                continue
            except StoreError:
                await self._clock.sleep(PAUSE)
            else:
                self._journal.note("acked", n=n, queue=queue, job=getattr(handle, "id", ""), how="repeated")
                return

    def _since_ms(self, began_mono: float) -> int:
        return int((self._clock.mono() - began_mono) * 1000)


async def main(plan: Plan) -> bool:
    """Enqueue until SIGTERM."""
    producer = Producer(plan, build({}))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, producer.stop)
    await producer.run()
    return True


if __name__ == "__main__":
    run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
