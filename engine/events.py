"""Events: what happened, as typed records, and the hub that hands them to listeners (logs, metrics, tests).

Emitting costs nothing when nobody listens: on the hot path ask `hub.wants(JobStarted)` before building the event.
Error texts are masked by whoever emits. Some events share their name with an exception in `errors.py` (`LeaseLost`,
`JobCancelled`): import this module, not the names. Every event with its fields: docs/events.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from .clock import Clock
from .masking import mask_text


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every event has: `kind`, and when, in epoch ms of this machine's clock."""

    at_ms: int

    @property
    def kind(self) -> str:
        """`job.started`: its name in logs, in JSON and in docs/events.md."""
        return str(self.__struct_config__.tag)


class JobEvent(Event, frozen=True, kw_only=True):
    """About one job. `id` is its full id, `messages/1763791234567-4`; `name` is its handler's."""

    queue: str
    id: str
    name: str


# --- a job's way through the engine ----------------------------------------------------------------------------------


class JobEnqueued(JobEvent, frozen=True, kw_only=True, tag="job.enqueued"):
    """This process put a job into a queue; `delay_ms` is 0 when it may run at once."""

    delay_ms: int = 0


class JobStarted(JobEvent, frozen=True, kw_only=True, tag="job.started"):
    """An attempt began: its handler is being called."""

    attempt: int


class JobCompleted(JobEvent, frozen=True, kw_only=True, tag="job.completed"):
    """The handler returned and the server recorded it; `wait_ms` from runnable to start, `run_ms` in the handler."""

    attempt: int
    wait_ms: int
    run_ms: int


class JobRetried(JobEvent, frozen=True, kw_only=True, tag="job.retried"):
    """The attempt failed and another follows after `delay_ms`."""

    attempt: int
    delay_ms: int
    error: str


class JobSnoozed(JobEvent, frozen=True, kw_only=True, tag="job.snoozed"):
    """The handler, or a rate limit, put the job off for `delay_ms`; no attempt was used."""

    attempt: int
    delay_ms: int
    reason: str


class JobReleased(JobEvent, frozen=True, kw_only=True, tag="job.released"):
    """The job was given back unfinished, with its attempt: its worker stops, its queue is paused, or no slot came to it."""

    attempt: int


class JobDied(JobEvent, frozen=True, kw_only=True, tag="job.died"):
    """The job went to the dead-letter queue: no attempts left, discarded, undecodable, or stalled too often."""

    attempt: int
    reason: str
    error: str


class JobCancelled(JobEvent, frozen=True, kw_only=True, tag="job.cancelled"):
    """The job ended without completing because somebody cancelled it or it expired."""

    reason: str


class LeaseLost(JobEvent, frozen=True, kw_only=True, tag="lease.lost"):
    """This worker may no longer finish the job; its handler was told to stop and the new owner reports."""


class HandlerStuck(JobEvent, frozen=True, kw_only=True, tag="handler.stuck"):
    """A handler went on after its time was up and it was cancelled: its attempt is settled without it, and it is left behind."""


class HandlerUnknown(JobEvent, frozen=True, kw_only=True, tag="handler.unknown"):
    """A job came whose name no handler here answers to; it was put back for a worker that knows it."""


# --- queues ----------------------------------------------------------------------------------------------------------


class JobsReclaimed(Event, frozen=True, kw_only=True, tag="jobs.reclaimed"):
    """Leases ran out: `moved` jobs were queued again, `buried` are dead; `grace` true means leases are spared after an outage."""

    queue: str
    moved: int
    buried: int
    grace: bool


class JobsPromoted(Event, frozen=True, kw_only=True, tag="jobs.promoted"):
    """`count` delayed or retrying jobs became due and runnable."""

    queue: str
    count: int


class JobsDropped(Event, frozen=True, kw_only=True, tag="jobs.dropped"):
    """A full queue (`max_waiting`, drop-oldest) made room for what this process enqueued: `count` of its oldest were removed."""

    queue: str
    count: int


class QueuePaused(Event, frozen=True, kw_only=True, tag="queue.paused"):
    """A queue gives out no more jobs, until `until_ms` (epoch ms) or, when null, until somebody resumes it."""

    queue: str
    reason: str
    until_ms: int | None


class QueueResumed(Event, frozen=True, kw_only=True, tag="queue.resumed"):
    """A paused queue gives out jobs again."""

    queue: str


class Swept(Event, frozen=True, kw_only=True, tag="swept"):
    """Finished jobs and notes past their retention were dropped."""

    queue: str
    completed: int = 0
    dead: int = 0
    notes: int = 0


class DataLoss(Event, frozen=True, kw_only=True, tag="data.loss"):
    """What the server had acknowledged is gone: flushed, removed, or taken back by a failover; `what` says how that was seen."""

    queue: str
    what: str


# --- this process ----------------------------------------------------------------------------------------------------


class WorkerStarted(Event, frozen=True, kw_only=True, tag="worker.started"):
    """A worker claims jobs from `queues`, `slots` at once in all, on that `loop`; `durability` is the server's class then."""

    worker: str
    queues: tuple[str, ...]
    slots: int
    durability: str
    loop: str


class ServerUnsafe(Event, frozen=True, kw_only=True, tag="server.unsafe"):
    """The server puts jobs at risk: `what` says how, `mend` what to do. Told at a worker's start, and when it comes to be so."""

    what: str
    mend: str


class WorkerDraining(Event, frozen=True, kw_only=True, tag="worker.draining"):
    """A worker was asked to stop: it claims no more and finishes what it runs."""

    worker: str


class WorkerStopped(Event, frozen=True, kw_only=True, tag="worker.stopped"):
    """A worker ended; `drained` true when everything finished in time, else `released` jobs were given back."""

    worker: str
    drained: bool
    released: int


class MemoryHigh(Event, frozen=True, kw_only=True, tag="memory.high"):
    """The process of a worker takes four fifths of the memory it may (`ENGINE_MAX_MEMORY`)."""

    worker: str
    used_bytes: int
    limit_bytes: int


class MemoryExceeded(Event, frozen=True, kw_only=True, tag="memory.exceeded"):
    """The process of a worker takes as much memory as it may: it drains and ends with exit code 7, to be started anew."""

    worker: str
    used_bytes: int
    limit_bytes: int


class LoopBlocked(Event, frozen=True, kw_only=True, tag="loop.blocked"):
    """Something kept the event loop from running for `seconds`; `where` names the code. Emitted from another thread."""

    worker: str
    seconds: float
    where: str


class StoreDown(Event, frozen=True, kw_only=True, tag="store.down"):
    """The server stopped answering; the engine keeps trying."""

    error: str


class StoreUp(Event, frozen=True, kw_only=True, tag="store.up"):
    """The server answers again; `same_server` false: by another process than before (failover, restart, another node)."""

    seconds_away: float
    same_server: bool


class ServiceFailed(Event, frozen=True, kw_only=True, tag="service.failed"):
    """One pass of a background service failed; it backs off and tries again."""

    service: str
    error: str


class ListenerFailed(Event, frozen=True, kw_only=True, tag="listener.failed"):
    """A listener raised on an event of kind `event`; said once a listener, which stays subscribed."""

    listener: str
    event: str
    error: str


ALL: tuple[type[Event], ...] = (
    JobEnqueued, JobStarted, JobCompleted, JobRetried, JobSnoozed, JobReleased, JobDied, JobCancelled, LeaseLost, HandlerStuck,
    HandlerUnknown, JobsReclaimed, JobsPromoted, JobsDropped, QueuePaused, QueueResumed, Swept, DataLoss,
    WorkerStarted, ServerUnsafe, WorkerDraining, WorkerStopped, MemoryHigh, MemoryExceeded, LoopBlocked,
    StoreDown, StoreUp, ServiceFailed, ListenerFailed,
)  # fmt: skip
"""Every kind of event. `msgspec.json.Decoder(Union[ALL])` reads back what `msgspec.json.encode` wrote."""

E = TypeVar("E", bound=Event)


class Events:
    """The hub. Listeners run in the emitting thread, in the order they subscribed, and must not block or await."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._subscriptions: tuple[tuple[Callable[[Event], None], tuple[type[Event], ...]], ...] = ()
        # Replaced whole, never changed in place: a thread that emits sees the old listeners or the new, never half.
        self._listeners: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}
        self._failed: set[int] = set()

    def __repr__(self) -> str:
        return f"<Events {len(self._subscriptions)} listeners, {len(self._listeners)} of {len(ALL)} kinds wanted>"

    @overload
    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]: ...
    @overload
    def subscribe(self, listener: Callable[[E], None], *kinds: type[E]) -> Callable[[], None]: ...

    def subscribe(self, listener: Callable[[Any], None], *kinds: type[Event]) -> Callable[[], None]:
        """Call `listener` with every event of these kinds (all when none is named); returns what ends it.

        Naming a base (`JobEvent`) means every kind made from it. Subscribing and ending may happen while an event is
        being handed out: that event still goes to the listeners of its beginning.
        """
        wanted = tuple(kind for kind in ALL if not kinds or issubclass(kind, kinds))
        subscription = (listener, wanted)
        self._subscriptions = (*self._subscriptions, subscription)
        self._index()

        def unsubscribe() -> None:
            self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)
            self._failed.discard(id(listener))  # a later listener may be given the same id
            self._index()

        return unsubscribe

    def _index(self) -> None:
        listeners: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}
        for listener, kinds in self._subscriptions:
            for kind in kinds:
                listeners[kind] = (*listeners.get(kind, ()), listener)
        self._listeners = listeners

    def wants(self, kind: type[Event]) -> bool:
        """True when somebody listens for that kind; one dictionary look-up."""
        return kind in self._listeners

    def emit(self, event: Event) -> None:
        """Hand the event to everyone who wants it. Never raises because of a listener."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  a listener is a guest: its mistake must not cost a job
                self._report(listener, event, error)

    def _report(self, listener: Callable[[Event], None], event: Event, error: Exception) -> None:
        if id(listener) in self._failed:
            return
        self._failed.add(id(listener))  # before telling anybody: the failing one may be who is told
        failed = ListenerFailed(
            at_ms=self._clock.now_ms(),
            listener=getattr(listener, "__qualname__", None) or type(listener).__name__,
            event=event.kind,
            error=mask_text(f"{type(error).__name__}: {error}"),
        )
        if self.wants(ListenerFailed):
            self.emit(failed)
        else:
            logging.getLogger("engine.events").error("listener %s failed on %s: %s", failed.listener, failed.event, failed.error)
