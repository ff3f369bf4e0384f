"""Pool orders: a ring, the server, the answer and a stop in every order; and a settle that meets another server than it left for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.interleave.pools import POOL_ORDERS, merges, run_pool_orders, settle_meets_another_server


@pytest.mark.parametrize("name", list(POOL_ORDERS), ids=lambda name: name.replace(" ", "-").replace(",", ""))
def test_in_every_order_a_pool_keeps_what_it_was_given_or_gives_it_back(server_url: str, name: str) -> None:
    with ThreadPoolExecutor(1) as pool:  # a loop of its own, without asyncio's debug mode
        assert pool.submit(lambda: asyncio.run(run_pool_orders(server_url, name))).result() == POOL_ORDERS[name][1]


def test_a_worker_settles_nothing_at_a_server_that_it_has_not_asked_whose_the_entry_is(server_url: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(settle_meets_another_server(server_url))).result()


def test_the_merges_of_programs_are_all_and_each_once() -> None:
    orders = [tuple(order) for order in merges([["a", "b"], ["c", "d"], ["e"]])]
    assert len(orders) == len(set(orders)) == 30
    assert all(order.index("a") < order.index("b") and order.index("c") < order.index("d") for order in orders)
