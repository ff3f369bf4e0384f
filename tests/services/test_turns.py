"""Turns: handlers that never wait let the loop turn now and then; those that wait are not held up for it."""

from __future__ import annotations

import asyncio

from engine.services.turns import TURN, Turns
from tests.support.fake_clock import FakeClock


async def test_after_a_while_without_a_turn_one_is_due() -> None:
    clock = FakeClock()
    turns = Turns(clock)
    turns.begin()
    assert not turns.is_due()
    clock.jump(TURN * 1.1)
    assert turns.is_due()
    await asyncio.sleep(0)
    assert not turns.is_due()


async def test_jobs_in_a_row_count_together() -> None:
    clock = FakeClock()
    turns = Turns(clock)
    for _ in range(3):
        turns.begin()
        clock.jump(TURN * 0.4)
    assert turns.is_due()


async def test_a_job_that_waited_for_something_has_let_the_loop_turn() -> None:
    clock = FakeClock()
    turns = Turns(clock)
    turns.begin()
    await asyncio.sleep(0)
    clock.jump(TURN * 50)
    assert not turns.is_due()
    turns.begin()
    assert not turns.is_due()
