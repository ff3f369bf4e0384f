"""Threads: abandoned ones keep their place; a place is never lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine.services.threads import Threads


async def test_a_call_runs_in_another_thread_and_its_error_comes_back() -> None:
    threads = Threads(1)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    assert repr(threads) == "<Threads 0 of 1>"


async def test_an_abandoned_thread_keeps_its_place_until_it_returns() -> None:
    threads = Threads(1)
    began, release = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        release.wait(10)

    caller = asyncio.ensure_future(threads.run(hang))
    await asyncio.to_thread(began.wait, 10)
    caller.cancel()
    await asyncio.wait({caller})
    following = asyncio.ensure_future(threads.run(lambda: "ran"))
    await asyncio.wait({following}, timeout=0.05)
    assert not following.done(), "the abandoned thread's place was given away"
    release.set()
    assert await asyncio.wait_for(following, 10) == "ran"


def cancel_after(turns: int, caller: asyncio.Future[None]) -> None:
    """Cancel when the loop has turned so often."""
    if turns:
        asyncio.get_running_loop().call_soon(cancel_after, turns - 1, caller)
    else:
        caller.cancel()


async def test_cancelled_callers_lose_no_place() -> None:
    threads = Threads(2)
    for n in range(200):
        caller = asyncio.ensure_future(threads.run(lambda: None))
        cancel_after(n % 5, caller)  # before it begins, while it waits for its place, for its thread, for the answer
        await asyncio.wait({caller})
    results = await asyncio.wait_for(asyncio.gather(*(threads.run(lambda: 1) for _ in range(4))), 10)
    assert results == [1, 1, 1, 1]
