"""Hands: the producer processes of a run; one that a fault killed gets a successor."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine import Clock

from .processes import Ways, environment, spawn
from .producer import Order


@dataclass(eq=False)
class Hand:
    """One producer process."""

    order: Order
    process: subprocess.Popen[bytes]


@dataclass(eq=False)
class Hands:
    """The producer processes; one that a fault killed gets a successor, with numbers and keys of its own."""

    directory: Path
    ways: Ways
    clock: Clock
    template: Order
    """What all have in common."""
    count: int
    room: int = 10_000_000
    """Numbers that each may use up."""
    current: dict[str, Hand] = field(default_factory=dict)
    _started: int = 0

    async def start(self) -> None:
        """Start them all."""
        for i in range(1, self.count + 1):
            await self._launch(f"p{i}", self.template.begin_mono)

    async def _launch(self, place: str, begin_mono: float) -> None:
        self._started += 1
        order = msgspec.structs.replace(
            self.template,
            name=f"{place}.{self._started}",
            url=await self.ways.url(place),
            first=self._started * self.room + 1,
            most=self.room,
            begin_mono=begin_mono,
        )
        command = [sys.executable, "-m", "bench.chaos.producer", msgspec.json.encode(order).decode()]
        log = self.directory / "logs" / f"{order.name}.log"
        log.parent.mkdir(exist_ok=True)
        self.current[place] = Hand(order, spawn(command, log, environment(self.directory, order.url)))

    async def kill(self, place: str) -> int:
        """kill -9, and a successor; the dead one's process id."""
        process = self.current[place].process
        process.kill()
        process.wait()
        await self._launch(place, self.clock.mono())
        return process.pid

    async def finish(self, seconds: float) -> None:
        """SIGTERM; what does not end in time is killed.

        Raises:
            RuntimeError: one ended badly; its log is named.
        """
        for hand in self.current.values():
            hand.process.terminate()
        deadline = self.clock.mono() + seconds
        for hand in self.current.values():
            while (code := hand.process.poll()) is None:
                if self.clock.mono() > deadline:
                    hand.process.kill()
                await self.clock.sleep(0.02)
            if code not in (0, -signal.SIGTERM):  # SIGTERM's own: it had not begun, or had done everything
                raise RuntimeError(f"producer {hand.order.name} ended with {code}: see its log in {self.directory / 'logs'}")
