"""Outage: told once, waited out with growing pauses, and told when it is over."""

from __future__ import annotations

import asyncio

import pytest

from engine import StoreDenied, StoreUnreachable
from engine.events import Events, StoreDown, StoreUp
from engine.services.outage import Outage
from engine.store.patience import LONGEST_PAUSE, RARE_PAUSE
from tests.support.fake_clock import FakeClock, settle
from tests.support.recorder import Recorder

AWAY = StoreUnreachable("redis at +5511987654321 can't be reached")


class Bench:
    """An outage under a fake clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events = Events(self.clock)
        self.recorder = Recorder(self.events)
        self.outage = Outage(self.clock, self.events)

    async def wait(self, tries: int, error: StoreUnreachable | StoreDenied = AWAY) -> float:
        """Seconds that the caller had to wait for its next try."""
        before = len(self.clock.slept)
        task = asyncio.ensure_future(self.outage.wait(error, tries))
        await settle()
        while not task.done():
            await self.clock.advance(0.5)
        await task
        return sum(self.clock.slept[before:])


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_the_first_repeat_is_immediate_and_nothing_is_told(bench: Bench) -> None:
    assert await bench.wait(1) == 0
    seen = [bench.outage.is_on]
    bench.outage.over()
    assert [*seen, bench.outage.is_on] == [True, False]
    assert bench.recorder.all(StoreDown) == []
    assert bench.recorder.all(StoreUp) == []


async def test_pauses_grow_to_a_limit_from_which_work_resumes_soon(bench: Bench) -> None:
    pauses = [await bench.wait(tries) for tries in range(1, 40)]
    assert pauses[0] == 0
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE * 0.8)  # of 0.6 to 1, by chance


async def test_it_is_told_once_masked_and_so_is_its_end(bench: Bench) -> None:
    for tries in range(1, 5):
        await bench.wait(tries)
    (down,) = bench.recorder.all(StoreDown)
    assert "987654321" not in down.error
    bench.outage.met("run-1")
    bench.outage.over()
    bench.outage.over()
    (up,) = bench.recorder.all(StoreUp)
    assert up.seconds_away > 0
    assert up.same_server


async def test_another_server_after_it_is_told(bench: Bench) -> None:
    bench.outage.met("run-1")
    for n in range(2):
        for tries in (1, 2):
            await bench.wait(tries)
        bench.outage.met("run-2")
        bench.outage.over()
        assert [up.same_server for up in bench.recorder.all(StoreUp)] == [False, True][: n + 1]


async def test_a_wrong_password_is_asked_again_rarely(bench: Bench) -> None:
    assert await bench.wait(1, StoreDenied("no")) == RARE_PAUSE * 1.25  # of 1 to 1.5, by chance; the first repeat as well
    (down,) = bench.recorder.all(StoreDown)  # and it is told at once
    assert down.error == "no"


async def test_our_own_server_is_brought_back_instead_of_waiting() -> None:
    clock, revived = FakeClock(), []

    async def revive() -> None:
        revived.append(True)

    outage = Outage(clock, Events(clock), revive)
    await outage.wait(AWAY, 1)
    task = asyncio.ensure_future(outage.wait(AWAY, 9))
    await settle()
    await clock.advance(1)
    await task
    assert revived == [True]
    assert sum(clock.slept) < 0.1, (
        "it is there again: no reason to wait long, though a breath, or a server that dies at once spins us"
    )


async def test_a_server_that_cannot_be_brought_back_is_waited_for_and_said_why() -> None:
    clock = FakeClock()
    events = Events(clock)

    async def revive() -> None:
        raise StoreUnreachable("no binary")

    outage = Outage(clock, events, revive)
    with Recorder(events) as recorder:
        task = asyncio.ensure_future(outage.wait(AWAY, 2))
        await settle()
        await clock.advance(10)
        await task
        assert "no binary" in recorder.all(StoreDown)[-1].error
