"""Interleavings: a few actors over a few jobs, in every order in which their calls can reach the server.

A script is one atomic step, so an order of calls is all there is to a race. `tests/support/interleave` goes through them, on the real
server and through the store's verbs, and looks at the laws after each call; where replies may be lost or old copies arrive late,
that happens at every moment too. `--all-interleavings` adds larger set-ups.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.support.interleave.explore import Found, Search, SetUp
from tests.support.interleave.set_ups import LARGE, SET_UPS

BY_NAME = {set_up.name: set_up for set_up in SET_UPS}


def explore(url: str, set_up: SetUp, *, merge: bool = True) -> Found:
    """Go through a set-up, in a loop of its own in a thread: asyncio's debug mode, on for the suite, would take twice as long."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(Search(url, set_up, merge=merge).run())).result()


def judge(found: Found, set_up: SetUp) -> None:
    """All its orders, and no fewer calls than that takes."""
    assert found.orders == set_up.orders, f"{set_up.name} has {found.orders} orders; set_ups.py says {set_up.orders}"
    least = set_up.calls * 3 // 4  # another engine may merge a few more of them; hardly any left means that states look alike
    assert found.calls >= least, f"{set_up.name}: only {found.calls} calls were made, about {set_up.calls} are needed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("set_up", SET_UPS, ids=str)
def test_in_every_order_the_laws_hold_after_each_call(server_url: str, set_up: SetUp) -> None:
    judge(explore(server_url, set_up), set_up)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("set_up", LARGE, ids=str)
def test_in_every_order_of_the_large_ones_too(request: pytest.FixtureRequest, server_url: str, set_up: SetUp) -> None:
    if not request.config.getoption("--all-interleavings"):
        pytest.skip("takes minutes: --all-interleavings")
    judge(explore(server_url, set_up), set_up)


def test_there_are_as_many_orders_as_we_say() -> None:
    assert sum(set_up.orders for set_up in SET_UPS) == 676_421
    assert sum(set_up.orders for set_up in LARGE) == 23_834_968


SMALL = [
    SetUp("a reply lost", ("w1: claim retry", "w2: claim complete", "reclaimer: lapse"), lost=1),
    SetUp("a late copy", ("w1: claim renew", "w2: claim complete", "reclaimer: lapse"), copies=1),
    BY_NAME["two settled in one call"],
    BY_NAME["many leases held, one run out"],
]


@pytest.mark.parametrize("set_up", SMALL, ids=str)
def test_prefixes_that_lead_to_the_same_form_need_not_be_gone_through_twice(server_url: str, set_up: SetUp) -> None:
    """Gone through one by one they end in the same forms, and break no law either."""
    merged, plain = explore(server_url, set_up), explore(server_url, set_up, merge=False)
    assert merged.orders == plain.orders
    assert merged.ends == plain.ends
    assert plain.calls > merged.calls


def test_orders_of_independent_programs_are_counted_as_arithmetic_says(server_url: str) -> None:
    programs = ("w1: claim note", "w2: claim note", "operator: pause resume")
    found = explore(server_url, replace(BY_NAME["notes of a job"], programs=programs, lost=0))
    assert found.orders == 90  # 6! / (2! 2! 2!)
