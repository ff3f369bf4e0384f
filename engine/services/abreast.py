"""Abreast: the same call about many queues, some of them side by side.

One after the other, what a hundred queues need takes two seconds where the server is 20 ms away: leases ran out meanwhile, and
workers that lived counted as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ..errors import StoreError
from ..store.translate import is_passing


async def abreast(calls: Iterable[Callable[[], Awaitable[object]]], at_once: int, *, one_server: bool = True) -> None:
    """Make the calls in their order, so many at once. What the server refuses of one queue keeps no other from its call. After a
    trouble of the connection its place makes no more of them; not so in a cluster, where the next queue may live elsewhere, and
    a node that is away costs one caller its time, and the others none (`store/door.py`).

    Raises:
        StoreError: the first that was met, a trouble before a refusal; raised when all calls have ended.
    """
    left = iter(calls)
    refused: list[StoreError] = []
    troubles: list[StoreError] = []

    async def place() -> None:
        for call in left:
            try:
                await call()
            except StoreError as error:
                if is_passing(error) and one_server:
                    raise
                (troubles if is_passing(error) else refused).append(error)

    ended = await asyncio.gather(*(place() for _ in range(at_once)), return_exceptions=True)
    for error in (*ended, *troubles, *refused):
        if error is not None:
            raise error
