"""Executor: whatever a handler does, the pool hears how it ended, and the slot is as good as before."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from engine import Discard, Job, Retry
from engine.declared import HandlerSpec
from engine.outcome import Asked, Ending, Raised, Returned, Stopped, TimedOut
from engine.services.executor import Executor, HandlerCancelled, HandlerExited
from engine.services.pulse import Pulse
from engine.services.slot import Slot
from engine.store.claim import Claim, Told
from tests.support.factory import claim, handler, job


class Bench:
    """A slot in a task of its own, which runs one attempt after the other."""

    def __init__(self) -> None:
        self.executor = Executor({}, threads=2)
        self.claim = claim()
        self.is_over = False
        self._orders: asyncio.Queue[tuple[HandlerSpec, float, asyncio.Future[Ending]]] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        pulse = Pulse(asyncio.get_running_loop())
        slot = Slot(task, asyncio.get_running_loop(), pulse, is_over=lambda: self.is_over, on_stuck=lambda slot: None)
        try:
            while True:
                spec, timeout, answer = await self._orders.get()
                ending = await self.executor.attempt(self.claim, slot, spec, {"n": 1}, job(), timeout)
                answer.set_result(ending)
        finally:
            slot.close()
            pulse.close()

    def begin(self, fn: Callable[..., Any], timeout: float = 30.0) -> asyncio.Future[Ending]:
        """Start an attempt."""
        self.claim = claim()
        answer: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._orders.put_nowait((handler(fn), timeout, answer))
        return answer

    async def run(self, fn: Callable[..., Any], timeout: float = 30.0) -> Ending:
        """One attempt; fails when the slot died of it."""
        answer = self.begin(fn, timeout)
        either: set[asyncio.Future[Any]] = {answer, self.task}
        await asyncio.wait(either, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert not self.task.done(), "the slot ended"
        return answer.result()

    def tell(self, why: Told) -> None:
        """What the pool does to a running handler."""
        self.claim.told = why
        self.task.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.is_over = True
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def spontaneous(payload: Any) -> None:
    raise asyncio.CancelledError


async def slot_is_sound(bench: Bench) -> None:
    """A cancellation that nobody asked for is an error of the attempt, as in a fresh slot."""
    assert bench.task.cancelling() == 0
    ending = await bench.run(spontaneous)
    assert isinstance(ending, Raised)
    assert isinstance(ending.error, HandlerCancelled)


async def test_what_a_handler_returns_is_its_ending(bench: Bench) -> None:
    async def fn(payload: Any) -> int:
        return int(payload["n"]) + 1

    assert await bench.run(fn) == Returned(2)


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), Retry(5), Discard("bad"), MemoryError(), TimeoutError("its own"), BaseExceptionGroup("g", [ValueError()])],
)
async def test_what_a_handler_raises_is_its_ending(bench: Bench, error: BaseException) -> None:
    async def fn(payload: Any) -> None:
        raise error

    ending = await bench.run(fn)
    assert isinstance(ending, Raised)
    assert ending.error is error
    await slot_is_sound(bench)


async def obeys() -> None:
    raise asyncio.CancelledError


async def finishes() -> str:
    return "wound up"


async def fails() -> None:
    raise ConnectionError("closed")


async def lingers() -> None:
    await asyncio.Event().wait()


class Waits:
    """A handler that waits for good, and what it makes of its cancellation."""

    def __init__(self, reaction: Callable[[], Awaitable[object]]) -> None:
        self.started = asyncio.Event()
        self._reaction = reaction

    async def __call__(self, payload: Any) -> object:
        self.started.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await self._reaction()


@pytest.mark.parametrize("reaction", [obeys, finishes, fails])
async def test_an_attempt_over_its_time_is_timed_out_whatever_it_makes_of_its_cancellation(
    bench: Bench, reaction: Callable[[], Awaitable[object]]
) -> None:
    assert await bench.run(Waits(reaction), 0.01) == TimedOut(0.01)
    await slot_is_sound(bench)


async def cancels_itself_and_waits(payload: Any) -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]  # a handler runs in a task
    await asyncio.Event().wait()


async def cancels_itself_and_returns(payload: Any) -> str:
    asyncio.current_task().cancel()  # type: ignore[union-attr]  # likewise
    return "done"


async def test_a_handler_that_cancels_its_own_task_ends_its_attempt_and_not_its_slot(bench: Bench) -> None:
    ending = await bench.run(cancels_itself_and_waits)
    assert isinstance(ending, Raised)
    assert isinstance(ending.error, HandlerCancelled)
    assert await bench.run(cancels_itself_and_returns) == Returned("done")
    assert bench.task.cancelling() == 0
    assert isinstance(await bench.run(spontaneous), Raised)


async def test_a_plain_function_runs_in_a_thread_and_the_loop_goes_on(bench: Bench) -> None:
    loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()
    began, answer = asyncio.Event(), threading.Event()

    def fn(payload: Any) -> bool:
        loop.call_soon_threadsafe(began.set)
        assert answer.wait(5), "the loop was blocked"
        return threading.get_ident() != loop_thread

    ending = bench.begin(fn)
    await began.wait()
    answer.set()
    assert await ending == Returned(True)


async def test_a_plain_function_over_its_time_is_left_behind(bench: Bench) -> None:
    answer = threading.Event()

    def fn(payload: Any) -> None:
        answer.wait(5)

    assert await bench.run(fn, 0.01) == TimedOut(0.01)
    answer.set()
    await slot_is_sound(bench)


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no"), SystemExit(3)])
async def test_what_a_plain_function_raises_is_the_attempts_error(bench: Bench, error: BaseException) -> None:
    def fn(payload: Any) -> None:
        raise error

    ending = await bench.run(fn)
    assert isinstance(ending, Raised)
    assert isinstance(ending.error, Exception)  # never one that would end the slot, the loop or a generator
    assert type(error).__name__ in repr(ending.error) or isinstance(ending.error, HandlerExited)
    await slot_is_sound(bench)


async def test_sys_exit_in_a_handler_ends_the_attempt_not_the_worker(bench: Bench) -> None:
    async def fn(payload: Any) -> None:
        sys.exit("enough")

    ending = await bench.run(fn)
    assert isinstance(ending, Raised)
    assert isinstance(ending.error, HandlerExited)
    assert "'enough'" in str(ending.error)


async def test_a_cancellation_that_nobody_asked_for_is_an_error_of_the_attempt(bench: Bench) -> None:
    await slot_is_sound(bench)
    await slot_is_sound(bench)


async def told(bench: Bench, why: Told, reaction: Callable[[], Awaitable[object]], timeout: float = 30.0) -> Ending:
    """How an attempt ends whose handler waits, is told and reacts so; the slot is sound afterwards."""
    fn = Waits(reaction)
    answer = bench.begin(fn, timeout)
    await fn.started.wait()
    bench.tell(why)
    ending = await answer
    await slot_is_sound(bench)
    return ending


@pytest.mark.parametrize(("why", "ending"), [("cancel", Asked()), ("stop", Stopped()), ("lost", Stopped())])
async def test_a_handler_that_is_told_and_obeys_ends_as_it_was_told(bench: Bench, why: Told, ending: Ending) -> None:
    assert await told(bench, why, obeys) == ending


@pytest.mark.parametrize("why", ["cancel", "stop", "lost"])
async def test_a_handler_that_is_told_and_finishes_counts_as_finished(bench: Bench, why: Told) -> None:
    assert await told(bench, why, finishes) == Returned("wound up")


@pytest.mark.parametrize(("why", "kind"), [("cancel", Raised), ("stop", Stopped), ("lost", Raised)])
async def test_a_handler_that_is_told_and_raises_leaves_a_sound_slot(bench: Bench, why: Told, kind: type[Ending]) -> None:
    assert isinstance(await told(bench, why, fails), kind)


async def test_told_and_out_of_time_at_once_leaves_a_sound_slot(bench: Bench) -> None:
    assert await told(bench, "stop", lingers, 0.05) == TimedOut(0.05)


async def test_the_end_of_the_slot_is_no_ending_of_an_attempt(bench: Bench) -> None:
    fn = Waits(obeys)
    answer = bench.begin(fn)
    await fn.started.wait()
    bench.is_over = True
    bench.task.cancel()  # nobody was told: the pool itself ends
    await asyncio.gather(bench.task, return_exceptions=True)
    assert bench.task.cancelled()
    assert not answer.done()


class Resource:
    """Something the lifespan provides."""


async def test_a_handler_gets_its_job_and_the_resources_it_names() -> None:
    seen: list[object] = []

    async def fn(payload: Any, resource: Resource, job: Job) -> None:
        seen.extend((payload, resource, job))

    resource, the_job = Resource(), job()
    task = asyncio.current_task()
    assert task is not None
    pulse = Pulse(asyncio.get_running_loop())
    slot = Slot(task, asyncio.get_running_loop(), pulse, is_over=lambda: False, on_stuck=lambda slot: None)
    held: Claim = claim()
    assert await Executor({Resource: resource}, 1).attempt(held, slot, handler(fn), 7, the_job, 5.0) == Returned(None)
    assert seen == [7, resource, the_job]
    ending = await Executor({}, 1).attempt(held, slot, handler(fn), 7, the_job, 5.0)
    assert isinstance(ending, Raised)
    assert "asks for a Resource" in str(ending.error)
    slot.close()
    pulse.close()
