"""Runner: one claim, from the prefetch buffer to the settle that waits for the next call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from ..clock import Clock
from ..declared import HandlerSpec, QueueSpec
from ..errors import BadPayload, StoreError, UnknownHandler
from ..events import Event, Events, HandlerUnknown, JobStarted
from ..job import Body, Job
from ..masking import mask_text
from ..outcome import MOST_REASON, Asked, Complete, Ending, Next, Release, Rules, Stopped, TimedOut, Wait, decide
from ..store.claim import Claim, Phase, Told
from ..store.redis_store import RedisStore
from ..store.settles import Settles
from .executor import Executor
from .notebook import Notebook
from .report import error_line
from .settling import Settler
from .slot import Slot

UNKNOWN_HANDLER_MS = 5_000
"""A job whose name nobody here knows waits so long: a rolling deploy brings its handler soon, or `engine job` tells why."""

MOST_NAMES = 1_000
"""Unknown names that are told, each once; more are a producer's mistake that has been told by then."""

Promise = Callable[[Claim, Event | None], None]
"""A settle was added for the claim; the event is true once the store has accepted it."""


class Runner:
    """Runs claims of one queue; the pool's slots share one."""

    def __init__(
        self,
        spec: QueueSpec,
        store: RedisStore,
        *,
        worker: str,
        clock: Clock,
        events: Events,
        resources: Mapping[type, object],
        settler: Settler,
        threads: int,
        shut: Callable[[bool], None],
        server_now_ms: Callable[[], int],
    ) -> None:
        self._spec = spec
        self._store = store
        self._worker = worker
        self._clock = clock
        self._events = events
        self._settler = settler
        self._executor = Executor(resources, threads)
        self._shut = shut
        self._now_ms = server_now_ms
        self._unknown: set[str] = set()

    async def run(self, claim: Claim, slot: Slot, settles: Callable[[], Settles], promise: Promise) -> None:
        """Run the claim's job once and add its settle. `settles` answers the batch that is being filled at that moment."""
        try:
            await self._run(claim, slot, settles, promise)
        except StoreError:
            self._settler.postpone(settles(), claim, UNKNOWN_HANDLER_MS)  # the server refused the pause or gate it asked for
            promise(claim, None)
        except Exception as error:  # noqa: BLE001 - a guest's code outside the handler (a payload's __post_init__, a property)
            reason = BadPayload(f"job can't be run: {error_line(error)}")
            promise(claim, self._settler.bury_unread(settles(), claim, reason, claim.name))
        finally:
            claim.job = claim.slot = (
                None  # they lead back to the claim: a third of a no-op job's time went into collecting such rings
            )

    async def _run(self, claim: Claim, slot: Slot, settles: Callable[[], Settles], promise: Promise) -> None:
        try:
            body = claim.body
            handler = self._spec.handler(body.name)
            payload = handler.decode(bytes(body.payload))
        except UnknownHandler:
            self._settler.postpone(settles(), claim, UNKNOWN_HANDLER_MS)
            self._tell_unknown(claim)
            promise(claim, None)
            return
        except BadPayload as error:
            promise(claim, self._settler.bury_unread(settles(), claim, error, claim.name))
            return
        if claim.told == "cancel":
            promise(claim, self._settler.drop(settles(), claim, "asked before it started"))
            return
        if self._has_expired(claim, body):
            promise(claim, self._settler.drop(settles(), claim, "expired"))
            return
        await self._attempt(claim, slot, handler, body, payload, settles, promise)

    async def _attempt(
        self,
        claim: Claim,
        slot: Slot,
        handler: HandlerSpec,
        body: Body,
        payload: Any,
        settles: Callable[[], Settles],
        promise: Promise,
    ) -> None:
        rules = rules_of(handler, body)
        timeout = handler.timeout if body.timeout is None else body.timeout
        notebook = Notebook(self._store, self._worker, claim)
        job = Job(
            queue=self._spec.name,
            short_id=claim.id,
            name=body.name,
            attempt=claim.envelope.attempt,
            attempts=rules.attempts,
            notes=notebook,
            organization_id=organization_of(payload),
        )
        if self._events.wants(JobStarted):
            self._events.emit(JobStarted(queue=job.queue, id=job.id, name=job.name, attempt=job.attempt, at_ms=self._now_ms()))
        claim.slot, claim.job, claim.phase = slot.task, job, Phase.RUNNING
        claim.started_mono = self._clock.mono()
        # past its timeout, an attempt that can't be cancelled (it blocks the loop) is not renewed any more
        claim.deadline_mono = claim.started_mono + timeout + self._spec.lease_ms / 1000
        ending = await self._executor.attempt(claim, slot, handler, payload, job, timeout)
        if slot.is_stuck:
            return  # it was settled without it
        seconds = self._clock.mono() - claim.started_mono
        claim.phase = Phase.ENDED
        if notebook.has_lines:
            await notebook.flush()
        if claim.told == "lost":
            promise(claim, None)  # write nothing: another attempt owns the job
            return
        next_ = decide(job.attempt, rules, ending, self._clock.random())
        if type(next_) is not Complete:
            await self._close_queue(next_)
        if isinstance(ending, Asked):
            seconds = self._clock.mono() - claim.started_mono
        promise(claim, self._settler.settle(settles(), claim, handler, job, next_, seconds))

    async def _close_queue(self, next_: Next) -> None:
        """Pause the queue, or close its gate for a while, when the handler asked for it."""
        name, act = self._spec.name, None
        if isinstance(next_, Release) and next_.pause is not None:
            act = functools.partial(self._store.pause, name, mask_text(next_.pause)[:MOST_REASON], 0)
        elif isinstance(next_, Wait) and next_.scope == "queue":
            act = functools.partial(self._store.gate, name, next_.delay_ms)
        if act is None:
            return
        self._shut(False)
        try:
            await self._store.link.patient(act, timeout=None)
        finally:
            self._shut(True)

    def give_up(self, claim: Claim, settles: Callable[[], Settles], promise: Promise) -> None:
        """Settle an attempt whose handler does not end, as if it had ended when it was told to."""
        body, job = claim.body, claim.job
        assert job is not None, "an attempt under way has its job"
        handler = self._spec.handler(body.name)
        seconds = self._clock.mono() - claim.started_mono
        if claim.told == "lost":
            promise(claim, None)
            return
        told: dict[Told | None, Ending] = {"cancel": Asked(), "stop": Stopped()}
        ending = told.get(claim.told) or TimedOut(handler.timeout if body.timeout is None else body.timeout)
        next_ = decide(job.attempt, rules_of(handler, body), ending, self._clock.random())
        promise(claim, self._settler.settle(settles(), claim, handler, job, next_, seconds))

    def _has_expired(self, claim: Claim, body: Body) -> bool:
        """Too late to start. A job that was started before was in time, whatever became of that attempt."""
        if body.expires_after_ms is None or body.history or claim.envelope.stalls:
            return False
        return self._now_ms() > int(claim.id.partition("-")[0]) + body.expires_after_ms

    def _tell_unknown(self, claim: Claim) -> None:
        if claim.name not in self._unknown and len(self._unknown) < MOST_NAMES:  # once: the job comes back every few seconds
            self._unknown.add(claim.name)
            self._events.emit(HandlerUnknown(queue=claim.queue, id=claim.full_id, name=claim.name, at_ms=self._now_ms()))


def rules_of(handler: HandlerSpec, body: Body) -> Rules:
    """The handler's, with the attempts this job was enqueued with."""
    return handler.rules if body.attempts is None else Rules(body.attempts, handler.rules.backoff, handler.rules.policy)


def organization_of(payload: Any) -> str | None:
    """The payload's organisation: `organization_id` of a struct, `organizationId` or `organization_id` of a mapping."""
    if not isinstance(payload, Struct) and isinstance(payload, Mapping):  # most are structs, and asking for a mapping is slow
        value = payload.get("organizationId", payload.get("organization_id"))
    else:
        value = getattr(payload, "organization_id", None)
    return value if isinstance(value, str) else None
