"""Abreast: in order, so many at once, and what fails holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.errors import StoreError, StoreRefused, StoreUnreachable
from engine.services.abreast import abreast

REFUSED, AWAY = StoreRefused("damaged", code="WRONGTYPE"), StoreUnreachable("away")


class Calls:
    """What was called, and how many were under way at most."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.now = self.most = 0

    def some(self, *errors: Exception | None) -> list[Callable[[], Awaitable[None]]]:
        return [self._one(n, error) for n, error in enumerate(errors)]

    def _one(self, n: int, error: Exception | None) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            self.made.append(n)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            if error is not None:
                raise error

        return call


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (20, 10)])
async def test_so_many_are_under_way_at_once_and_begin_in_order(at_once: int, most: int) -> None:
    calls = Calls()
    await abreast(calls.some(*[None] * 10), at_once)
    assert (calls.made, calls.most) == (list(range(10)), most)


async def test_nothing_to_call_is_nothing() -> None:
    await abreast([], 0)


@pytest.mark.parametrize(
    ("errors", "at_once", "made", "raised"),
    [
        ([REFUSED, None, REFUSED, None], 1, [0, 1, 2, 3], REFUSED),
        ([None, AWAY, None, None], 1, [0, 1], AWAY),
        ([AWAY, None, None, None], 2, [0, 1, 2, 3], AWAY),
        ([AWAY, AWAY, None, None], 2, [0, 1], AWAY),
        ([REFUSED, AWAY, None, None], 2, [0, 1, 2, 3], AWAY),
    ],
)
async def test_who_is_refused_holds_up_nobody_and_a_server_that_is_away_is_asked_once_a_place(
    errors: list[Exception | None], at_once: int, made: list[int], raised: StoreError
) -> None:
    calls = Calls()
    with pytest.raises(StoreError) as met:
        await abreast(calls.some(*errors), at_once)
    assert met.value is raised
    assert calls.made == made


async def test_in_a_cluster_a_node_that_is_away_holds_up_no_call_of_another() -> None:
    calls = Calls()
    with pytest.raises(StoreUnreachable):
        await abreast(calls.some(AWAY, REFUSED, AWAY, None), 1, one_server=False)
    assert calls.made == [0, 1, 2, 3]


async def test_a_fault_of_ours_is_raised_once_the_others_have_ended() -> None:
    calls = Calls()
    with pytest.raises(ZeroDivisionError):
        await abreast(calls.some(ZeroDivisionError(), None, None, None), 2)
    assert calls.made == [0, 1, 2, 3]
