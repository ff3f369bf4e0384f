"""Door: while the server is away one caller knocks for all; when it answers, all go in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from engine import StoreDenied, StoreError, StoreRefused, StoreUnreachable
from engine.store.door import Door, ShutOut
from engine.store.patience import LONGEST_PAUSE, RARE_PAUSE, is_rare
from tests.support.fake_clock import FakeClock, settle

AWAY = StoreUnreachable("away")
WRONG = StoreRefused("a replica", code="READONLY")


class Bench:
    """A door, and callers that connect through it again and again until they are in."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.door = Door(self.clock)
        self.answer: StoreError | None = AWAY
        """What a connect meets; None: the greeting."""
        self.hangs = False
        self.knocks: list[float] = []
        """When somebody connected, in seconds of the fake clock."""
        self.inside = 0
        self.shut_out: list[StoreError] = []

    async def connect(self) -> None:
        async with self.door.knock():
            self.knocks.append(self.clock.mono())
            await asyncio.sleep(0)  # on its way
            if self.hangs:
                await asyncio.Event().wait()
            if self.answer is not None:
                raise self.answer
        self.inside += 1

    async def insist(self) -> None:
        """As every caller does; with no pause of its own where the door has one, which is the worst for it."""
        while True:
            try:
                return await self.connect()
            except ShutOut as shut:
                self.shut_out.append(shut.cause)
                rare = is_rare(shut.cause)
            except StoreError as error:
                rare = is_rare(error)
            if rare:
                await self.clock.sleep(RARE_PAUSE * 1.1)

    def start(self, callers: int) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self.insist()) for _ in range(callers)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_open_door_lets_everybody_in_at_once(bench: Bench) -> None:
    bench.answer = None
    await asyncio.gather(*bench.start(50))
    assert (bench.inside, len(bench.knocks)) == (50, 50)
    assert not bench.door.is_shut


async def test_while_it_is_shut_one_knocks_for_all_and_about_once_a_second(bench: Bench) -> None:
    bench.door.doubt(bench.door.round)
    tasks = bench.start(50)
    await settle()
    await bench.clock.advance(30)
    assert 25 <= len(bench.knocks) <= 40  # a handful while the pauses grow, then one a second
    steps = [later - earlier for earlier, later in zip(bench.knocks[8:], bench.knocks[9:], strict=False)]
    assert max(steps) <= LONGEST_PAUSE
    assert min(steps) >= LONGEST_PAUSE / 2
    assert len(bench.shut_out) > 49 * 20, "the others hear of each knock, and may tell of it or give up"
    assert set(bench.shut_out) == {AWAY}
    await end(tasks)


async def test_all_go_in_when_one_knock_is_answered(bench: Bench) -> None:
    bench.door.doubt(bench.door.round)
    tasks = bench.start(50)
    await settle()
    await bench.clock.advance(30)
    bench.answer = None
    await bench.clock.advance(LONGEST_PAUSE)
    assert bench.inside == 50
    assert not bench.door.is_shut
    assert bench.door.trouble is None
    await asyncio.gather(*tasks)


async def test_connections_that_break_together_cost_one_knock_before_all_come_back(bench: Bench) -> None:
    """A hundred workers whose server dies come with one connect each, not with one a connection."""
    for _ in range(12):
        bench.door.doubt(bench.door.round)
    bench.hangs = True
    tasks = bench.start(12)
    await settle()
    assert len(bench.knocks) == 1
    bench.hangs = False
    bench.answer = None
    await end(tasks[:1])  # the one at the door gave up: the next takes its turn
    await settle(30)
    assert bench.inside == 11
    await asyncio.gather(*tasks[1:])


async def test_connects_under_way_that_all_fail_count_as_one_trouble(bench: Bench) -> None:
    tasks = [asyncio.ensure_future(bench.connect()) for _ in range(20)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(outcome is AWAY for outcome in outcomes)
    assert bench.door.round == 1
    assert repr(bench.door) == "<Door shut, 1 failures>"


@pytest.mark.parametrize("where", ["in its pause", "at its connect"])
async def test_one_that_gives_up_at_the_door_leaves_its_turn_to_the_next(bench: Bench, where: str) -> None:
    for _ in range(9):
        bench.door.failed(bench.door.round, AWAY)
    if where == "at its connect":
        bench.hangs = True
    first, *others = bench.start(3)
    await settle()
    if where == "at its connect":
        await bench.clock.advance(LONGEST_PAUSE)
        assert len(bench.knocks) == 1
    bench.hangs, bench.answer = False, None
    await end([first])
    await settle()
    await bench.clock.advance(LONGEST_PAUSE)
    assert bench.inside == 2
    await asyncio.gather(*others)


async def test_a_wrong_password_is_tried_rarely_by_the_whole_process_and_told_at_once(bench: Bench) -> None:
    denied = StoreDenied("no", code="WRONGPASS")
    bench.answer = denied
    tasks = bench.start(20)
    await settle(50)
    assert len(bench.knocks) == 20  # they were under way before anybody knew
    await bench.clock.advance(10 * RARE_PAUSE)
    assert 6 <= len(bench.knocks) - 20 <= 10
    with pytest.raises(ShutOut) as told:
        await bench.connect()
    assert told.value.cause is denied
    await end(tasks)


async def test_being_let_in_by_the_wrong_server_opens_nothing(bench: Bench) -> None:
    """A demoted primary greets everybody and refuses every write: without this a process reconnects as fast as it is refused."""
    bench.answer = None

    async def call() -> None:
        while True:
            try:
                await bench.connect()
            except ShutOut:
                continue
            bench.door.failed(bench.door.round, WRONG, is_wrong=True)
            await bench.clock.sleep(0)

    tasks = [asyncio.ensure_future(call()) for _ in range(10)]
    await settle(100)
    bench.knocks.clear()
    await bench.clock.advance(30)
    assert 20 <= len(bench.knocks) <= 45
    await end(tasks)
    bench.door.open()  # somebody got an answer
    await asyncio.gather(*bench.start(10))


async def test_who_names_an_older_round_adds_nothing(bench: Bench) -> None:
    old = bench.door.round
    bench.door.failed(old, AWAY)
    told: list[Callable[[], None]] = [
        lambda: bench.door.failed(old, AWAY),
        lambda: bench.door.failed(old, WRONG, is_wrong=True),
        lambda: bench.door.doubt(old),
    ]
    for tell in told:
        tell()
    assert repr(bench.door) == "<Door shut, 1 failures>"
    assert bench.door.trouble is AWAY
