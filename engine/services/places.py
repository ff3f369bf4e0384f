"""Places: the slots of one pool, each a task that lives as long as the pool.

A handler that swallows its cancellation can't be ended, only left behind: its attempt is settled without it and another slot
opens in its place. Without that one such handler kept its lease beyond its time, was given to the next worker and held that up
too: a suspect waits for a process that holds nothing, so in the end every worker claimed nothing any more (seen with three).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .pulse import Pulse
from .slot import Slot


class Places:
    """`count` slots; and as many handlers left behind at most, then the pool gets smaller."""

    def __init__(
        self,
        count: int,
        name: str,
        pulse: Pulse,
        *,
        serve: Callable[[Slot], Awaitable[None]],
        is_over: Callable[[], bool],
        on_stuck: Callable[[Slot], None],
        on_room: Callable[[], None],
    ) -> None:
        self._count = count
        self._name = name
        self._pulse = pulse
        self._serve = serve
        self._is_over = is_over
        self._on_stuck = on_stuck
        self._on_room = on_room
        self._opened = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._left_behind: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Places {self._name} {len(self._tasks)} of {self._count}, {len(self._left_behind)} left behind>"

    @property
    def count(self) -> int:
        """Slots that can run something."""
        return len(self._tasks)

    def open(self) -> None:
        """Open slots until there are as many as there should be."""
        while len(self._tasks) < self._count and len(self._tasks) + len(self._left_behind) < self._count * 2:
            task = asyncio.ensure_future(self._place())
            task.set_name(f"{self._name}/slot-{self._opened}")
            self._opened += 1
            self._tasks.add(task)

    async def close(self) -> None:
        """End them all; call once `is_over` holds. Handlers left behind are told once more and not waited for."""
        for task in self._tasks | self._left_behind:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)  # not gather: cancelled, that would go on to wait for handlers that swallow theirs

    async def _place(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "slots run as tasks of the pool"
        slot = Slot(task, asyncio.get_running_loop(), self._pulse, is_over=self._is_over, on_stuck=self._give_up)
        try:
            while not self._is_over() and not slot.is_stuck:
                try:
                    await self._serve(slot)
                except asyncio.CancelledError:
                    if self._is_over():
                        raise
                    await slot.forgive()  # a handler's own doing, come late: the slot goes on
        finally:
            slot.close()
            if task in self._left_behind:
                self._left_behind.discard(task)
                if not self._is_over():
                    self.open()
                    self._on_room()

    def _give_up(self, slot: Slot) -> None:
        self._tasks.discard(slot.task)
        self._left_behind.add(slot.task)
        self._on_stuck(slot)
        self.open()
        self._on_room()
