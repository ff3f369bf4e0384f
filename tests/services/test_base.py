"""The loop around every service: passes, failures told once, waking and stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from engine import StoreRefused, StoreUnreachable
from engine.events import Events, ServiceFailed
from engine.services.base import FAILED_PAUSE, JITTER, Service
from tests.support.fake_clock import FakeClock, settle
from tests.support.recorder import Recorder


class Counting(Service):
    """Counts its passes; `act` is what a pass does."""

    period = 10.0

    def __init__(self, clock: FakeClock, events: Events, act: Callable[[int], object] = lambda n: None) -> None:
        super().__init__(clock, events)
        self.passes = 0
        self.act = act
        self.gate = asyncio.Event()
        self.gate.set()

    async def run_once(self) -> int:
        self.passes += 1
        await self.gate.wait()
        self.act(self.passes)
        return self.passes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events(clock: FakeClock) -> Events:
    return Events(clock)


class Running:
    """A service whose loop runs inside the block."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._service.run())
        await settle()

    async def __aexit__(self, *_: object) -> None:
        self._service.stop()
        async with asyncio.timeout(5):
            await self._task


async def test_a_pass_comes_at_once_and_then_every_period(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events)
    async with Running(service):
        assert service.passes == 1
        await clock.advance(9.9)
        assert service.passes == 1
        await clock.advance(0.2)
        assert service.passes == 2
        await clock.advance(30)
        assert service.passes == 5


async def test_periods_of_many_workers_drift_apart_within_their_share(clock: FakeClock, events: Events) -> None:
    waits = []
    for clock.chance in (0.0, 0.5, 0.999999):
        waits.append(Counting(clock, events).next_wait())
    assert waits == pytest.approx([10 * (1 - JITTER), 10, 10 * (1 + JITTER)], rel=1e-4)


async def test_a_failing_duty_is_told_once_goes_on_and_is_told_again_after_it_recovered(clock: FakeClock, events: Events) -> None:
    def act(n: int) -> None:
        if n in (1, 2, 3, 5):
            raise KeyError(f"pass {n} of +5511987654321")

    service = Counting(clock, events, act)
    with Recorder(events) as recorder:
        async with Running(service):
            await clock.advance(45)
            assert service.passes == 5
        told = recorder.all(ServiceFailed)
    assert [t.service for t in told] == ["Counting", "Counting"]
    assert "pass 1" in told[0].error
    assert "pass 5" in told[1].error
    assert "987654321" not in told[0].error


async def test_an_outage_is_left_to_others_to_tell_but_not_what_comes_after_it(clock: FakeClock, events: Events) -> None:
    def act(n: int) -> None:
        if n <= 2:
            raise StoreUnreachable("away")
        if n <= 4:
            raise StoreRefused("another type", code="WRONGTYPE")

    service = Counting(clock, events, act)
    with Recorder(events) as recorder:
        async with Running(service):
            await clock.advance(45)
        assert [t.error for t in recorder.all(ServiceFailed)] == ["StoreRefused: another type"]


async def test_a_failed_pass_never_spins_however_short_the_wait(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events, lambda n: 1 / 0)
    service.period = 0.0
    async with Running(service):
        await clock.advance(FAILED_PAUSE * 10 + 0.01)
        assert service.passes == 11


async def test_waking_brings_the_next_pass_now(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events)
    async with Running(service):
        service.wake()
        await settle()
        assert service.passes == 2


async def test_waking_during_a_pass_brings_another_pass_at_once(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events)
    service.gate.clear()
    async with Running(service):
        service.wake()  # what woke it may have come after this pass looked
        service.gate.set()
        await settle()
        assert service.passes == 2


async def test_stopping_lets_the_pass_end_and_no_other_begin(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events)
    service.gate.clear()
    task = asyncio.ensure_future(service.run())
    await settle()
    service.stop()
    await settle()
    assert not task.done()
    service.gate.set()
    async with asyncio.timeout(5):
        await task
    assert service.passes == 1
    assert service.status() == "stopping"
    assert repr(service) == "<Counting stopping>"


async def test_a_cancelled_loop_leaves_nothing_behind(clock: FakeClock, events: Events) -> None:
    service = Counting(clock, events)
    task = asyncio.ensure_future(service.run())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
