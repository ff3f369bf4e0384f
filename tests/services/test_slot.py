"""Slot: the time limit of an attempt is that attempt's own, and a process that stood still is not held against a handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from engine.services.slot import STOOD_STILL, Slot


class Bench:
    """A slot whose task waits, and in place of an event loop's timers time that passes when the test says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[asyncio.TimerHandle] = []
        self.task = asyncio.ensure_future(asyncio.Event().wait())
        self.slot = Slot(self.task, cast("asyncio.AbstractEventLoop", self), lambda: False)

    def time(self) -> float:
        """The chosen instant, in seconds; the slot asks."""
        return self._now

    def call_at(self, when: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        """Set a timer; the slot does."""
        self._timers.append(asyncio.TimerHandle(when, call, (), asyncio.get_running_loop()))
        return self._timers[-1]

    def leap(self, seconds: float) -> bool:
        """The loop turns again so many seconds later, and what is due fires then, however late. Whether the attempt's time is up."""
        self._now += seconds
        due = [timer for timer in self._timers if timer.when() <= self._now and not timer.cancelled()]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            timer._run()
        return self.slot.expired


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.slot.close()
    bench.task.cancel()
    await asyncio.wait({bench.task})


async def test_an_attempt_over_its_time_is_cancelled(bench: Bench) -> None:
    bench.slot.begin(0.5)
    assert not bench.leap(0.4)
    assert bench.task.cancelling() == 0
    assert bench.leap(0.2)
    assert bench.task.cancelling() == 1


async def test_the_time_limit_of_one_attempt_does_not_reach_into_the_next(bench: Bench) -> None:
    bench.slot.begin(0.01)
    bench.slot.end()
    bench.slot.begin(5)
    assert not bench.leap(0.02)
    bench.slot.end()
    bench.slot.begin(0.01)  # shorter than what the timer is set for
    assert bench.leap(0.02)
    bench.slot.begin(5)
    assert not bench.leap(0.02)
    assert bench.task.cancelling() == 1


async def test_a_limit_that_passes_after_its_attempt_cancels_nobody(bench: Bench) -> None:
    bench.slot.begin(0.01)
    bench.slot.end()
    assert not bench.leap(0.02)
    assert bench.task.cancelling() == 0


async def test_after_a_standstill_an_attempt_has_its_whole_limit_anew(bench: Bench) -> None:
    bench.slot.begin(0.5)
    assert not bench.leap(0.5 + STOOD_STILL + 0.01)
    assert not bench.leap(0.49), "the time in which the process stood still was held against the handler"
    assert bench.leap(0.02)


async def test_who_stands_still_a_second_time_has_blocked_the_loop_itself(bench: Bench) -> None:
    for _ in range(2):  # each attempt has its own grace
        bench.slot.begin(0.5)
        assert not bench.leap(0.9)
        assert bench.leap(0.9)


async def test_a_limit_that_is_a_little_late_is_over_all_the_same(bench: Bench) -> None:
    bench.slot.begin(0.5)
    assert bench.leap(0.5 + STOOD_STILL - 0.01)
