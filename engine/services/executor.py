"""Executor: runs one attempt of one job and says how it ended. Knows nothing of Redis.

One of the two places with a broad `except`: whatever a handler does, the pool must hear of it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ..declared import HandlerSpec
from ..errors import EngineError
from ..job import Job
from ..outcome import Asked, Ending, Outcome, Raised, Returned, Stopped, TimedOut
from ..store.claim import Claim
from .slot import Slot
from .threads import Threads


class HandlerCancelled(EngineError):
    """The handler ended with a cancellation that nobody asked for; recorded as the attempt's error."""


class HandlerExited(EngineError):
    """The handler called `sys.exit()` or raised SystemExit; recorded as the attempt's error, the worker goes on."""


class Executor:
    """Runs attempts with the resources of the lifespan. Plain `def` handlers run in threads of their own."""

    def __init__(self, resources: Mapping[type, object], threads: int) -> None:
        self._resources = resources
        self._bound: dict[str, dict[str, object]] = {}
        self._threads = Threads(max(threads * 2, 2))  # twice the slots: some room for those that hang past their timeout

    async def attempt(self, claim: Claim, slot: Slot, handler: HandlerSpec, payload: Any, job: Job, timeout: float) -> Ending:
        """Run the handler once, `timeout` seconds at most. Never raises, unless the slot itself is being ended."""
        slot.begin(claim, timeout)
        try:
            ending = await self._run(claim, slot, handler, payload, job)
        finally:
            slot.end()
        if slot.expired:  # also when it swallowed its cancellation, or turned it into an error of its own
            ending = TimedOut(timeout)
        if slot.task.cancelling():
            await slot.forgive()
        return ending

    def _resources_of(self, handler: HandlerSpec) -> dict[str, object]:
        bound = self._bound.get(handler.name)
        if bound is None:
            bound = self._bound[handler.name] = handler.resources_from(self._resources)
        return bound

    async def _run(self, claim: Claim, slot: Slot, handler: HandlerSpec, payload: Any, job: Job) -> Ending:
        try:
            arguments = self._resources_of(handler)
            if handler.job_parameter is not None:
                arguments = {**arguments, handler.job_parameter: job} if arguments else {handler.job_parameter: job}
            if handler.is_async:
                return Returned(await handler.fn(payload, **arguments))  # told to stop, but it finished: what it says counts
            call = functools.partial(handler.fn, payload, **arguments)
            value = await self._threads.run(call)
            return Returned(await value if inspect.isawaitable(value) else value)  # an `async def` behind a plain wrapper
        except asyncio.CancelledError:
            if claim.told is not None or slot.expired:
                return Asked() if claim.told == "cancel" else Stopped()
            if slot.is_over():
                raise
            return Raised(HandlerCancelled("the handler ended with a cancellation that nobody asked for"))
        except SystemExit as error:
            return Raised(HandlerExited(f"the handler called sys.exit({error.code!r})"))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the handler's own, whatever it is
            if claim.told == "stop" and not isinstance(error, Outcome):
                return Stopped()  # its way of answering our cancellation, which must not cost it an attempt
            return Raised(error)
