"""Slot: the time limit of an attempt is that attempt's own, and a process that stood still is not held against a handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from engine.services.pulse import Pulse
from engine.services.slot import PATIENCE, Slot
from tests.support.factory import claim


class Bench:
    """A slot whose task waits, and in place of an event loop's timers time that passes when the test says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[asyncio.TimerHandle] = []
        self.task = asyncio.ensure_future(asyncio.Event().wait())
        self.stuck: list[Slot] = []
        loop = cast("asyncio.AbstractEventLoop", self)
        self.pulse = Pulse(loop)
        self.slot = Slot(self.task, loop, self.pulse, is_over=lambda: False, on_stuck=self.stuck.append)
        self.claim = claim()
        self.claim.deadline_mono = 100.0

    def time(self) -> float:
        """The chosen instant, in seconds; the slot asks."""
        return self._now

    def call_at(self, when: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        """Set a timer; the slot does."""
        self._timers.append(asyncio.TimerHandle(when, call, (), asyncio.get_running_loop()))
        return self._timers[-1]

    def call_later(self, seconds: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        """Set a timer; the pulse does."""
        return self.call_at(self._now + seconds, call)

    def leap(self, seconds: float) -> bool:
        """The loop turns for so many seconds. Whether the attempt's time is up."""
        end = self._now + seconds
        while self._now < end:
            self.freeze(min(0.05, end - self._now))
        return self.slot.expired

    def freeze(self, seconds: float) -> bool:
        """The loop turns again so many seconds later, and what is due fires then, however late. Whether the attempt's time is up."""
        self._now += seconds
        due = [timer for timer in self._timers if timer.when() <= self._now and not timer.cancelled()]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            timer._run()
        return self.slot.expired

    async def close(self) -> None:
        """Leave nothing behind."""
        self.slot.close()
        self.pulse.close()
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


async def test_an_attempt_over_its_time_is_cancelled(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 0.5)
    assert not bench.leap(0.4)
    assert bench.task.cancelling() == 0
    assert bench.leap(0.2)
    assert bench.task.cancelling() == 1


async def test_the_time_limit_of_one_attempt_does_not_reach_into_the_next(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 0.01)
    bench.slot.end()
    bench.slot.begin(bench.claim, 5)
    assert not bench.leap(0.02)
    bench.slot.end()
    bench.slot.begin(bench.claim, 0.01)  # shorter than what the timer is set for
    assert bench.leap(0.02)
    bench.slot.begin(bench.claim, 5)
    assert not bench.leap(0.02)
    assert bench.task.cancelling() == 1


async def test_a_limit_that_passes_after_its_attempt_cancels_nobody(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 0.01)
    bench.slot.end()
    assert not bench.leap(0.02)
    assert bench.task.cancelling() == 0


async def test_an_attempt_gets_back_the_time_in_which_the_loop_stood_still(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 5.0)
    deadline_mono = bench.claim.deadline_mono
    assert not bench.leap(1.0)
    assert not bench.freeze(3.0), "shorter than the limit: nothing was late"
    assert not bench.leap(3.9)
    assert bench.leap(0.3)
    assert bench.claim.deadline_mono == pytest.approx(deadline_mono + 3.0 + PATIENCE, abs=0.5), "its lease goes along"


@pytest.mark.parametrize("late", [0.01, 0.2, 0.6, 30.0])
async def test_however_late_a_freeze_makes_a_limit_its_attempt_goes_on(bench: Bench, late: float) -> None:
    bench.slot.begin(bench.claim, 5.0)
    assert not bench.leap(2.0)
    assert not bench.freeze(3.0 + late)
    assert not bench.leap(2.5)
    assert bench.leap(3.0)


async def test_an_attempt_gets_back_one_limit_at_most_because_it_may_block_the_loop_itself(bench: Bench) -> None:
    for _ in range(2):
        bench.slot.begin(bench.claim, 5.0)
        for _ in range(3):
            assert not bench.freeze(4.0)
        assert bench.freeze(4.0)
        bench.slot.end()


async def test_what_stood_still_before_an_attempt_is_not_given_to_it(bench: Bench) -> None:
    bench.freeze(60.0)
    bench.slot.begin(bench.claim, 5.0)
    assert not bench.leap(4.9)
    assert bench.leap(0.2)


async def test_a_handler_that_does_not_end_when_cancelled_is_told_once_after_a_while(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 5.0)
    assert bench.leap(5.1)
    assert bench.stuck == []
    bench.leap(PATIENCE)
    assert bench.stuck == [bench.slot]
    bench.leap(60.0)
    assert bench.stuck == [bench.slot]
    assert bench.slot.is_stuck


async def test_one_that_ends_after_its_cancellation_is_not_stuck(bench: Bench) -> None:
    bench.slot.begin(bench.claim, 5.0)
    assert bench.leap(5.1)
    bench.slot.end()
    bench.slot.begin(bench.claim, 60.0)
    bench.leap(PATIENCE * 2)
    assert bench.stuck == []


async def test_a_timer_that_is_due_at_once_is_set_on_uvloop_too() -> None:
    """uvloop answers a plain handle for a delay that rounds to nothing, which can't say when it is due."""

    class Odd(Bench):
        def call_at(self, when: float, call: Callable[[], object]) -> asyncio.TimerHandle:
            super().call_at(when, call)
            return cast("asyncio.TimerHandle", asyncio.Handle(call, (), asyncio.get_running_loop()))

    bench = Odd()
    bench.slot.begin(bench.claim, 0.5)
    bench.slot.end()
    bench.slot.begin(bench.claim, 0.25)
    bench.slot.end()
    await bench.close()
