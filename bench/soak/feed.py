"""Feed: a steady mixture of every kind of job, at fixed instants, from one producer that lives as long as the soak."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

from engine import Clock, EngineError, JobError, StoreError

from .app import Work, campaign, engine, message, plain

MOST_AT_ONCE = 200
"""Enqueues under way at most: while the server is away the rest is dropped and counted, as a caller with a deadline would."""

KINDS = (
    *("plain", "plain", "keyed", "keyed", "keyed", "delayed", "duplicate", "result", "noted", "slow", "thread"),
    *("failed", "retried", "snoozed", "dead", "cancelled"),
)


@dataclass(slots=True)
class Feed:
    """What was sent. `run` until `stop`."""

    rate: float
    clock: Clock
    seed: int = 7
    sent: int = 0
    refused: int = 0
    """Enqueues that failed, or were not tried since too many were under way: the faults' doing"""
    _stopped: bool = False
    _under_way: set[asyncio.Future[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Send until stopped, then wait for what is under way."""
        dice = random.Random(self.seed)
        due_mono = self.clock.mono()
        while not self._stopped:
            due_mono += 1 / self.rate
            await self.clock.sleep(max(due_mono - self.clock.mono(), 0))
            if len(self._under_way) >= MOST_AT_ONCE:
                self.refused += 1
                continue
            sending = asyncio.ensure_future(self._send(self.sent, dice.choice(KINDS), dice.randrange(200)))
            self._under_way.add(sending)
            sending.add_done_callback(self._under_way.discard)
            self.sent += 1
        await asyncio.gather(*self._under_way)

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def _send(self, number: int, kind: str, person: int) -> None:
        try:
            await self._one(number, kind, person)
        except StoreError:
            self.refused += 1
        except (JobError, TimeoutError, EngineError):
            return  # asked for the end of a job that a fault delayed, or cancelled one that had ended

    async def _one(self, number: int, kind: str, person: int) -> None:
        match kind:
            case "keyed":
                await message.enqueue(Work(number, person=f"p{person}", seconds=0.005))
            case "delayed":
                await message.enqueue(Work(number), delay=1 + person / 20)
            case "duplicate":
                await message.enqueue(Work(number), dedup_key=f"d{number % 100}")
            case "result":
                with contextlib.suppress(JobError, TimeoutError):
                    await (await message.enqueue(Work(number, "result"))).result(timeout=5)
            case "slow":
                await campaign.enqueue(Work(number, seconds=0.05))
            case "thread":
                await plain.enqueue(Work(number, seconds=0.005))
            case "cancelled":
                handle = await campaign.enqueue(Work(number), delay=60)
                await engine.client.cancel(handle.id)
            case "plain":
                await campaign.enqueue(Work(number))
            case _:
                await message.enqueue(Work(number, kind))
