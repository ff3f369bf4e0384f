"""Producer: enqueues, each job once however often its call had to be sent.

A producer numbers its calls and keeps one in flight a queue; what is enqueued meanwhile goes together in the next. So a lost
reply is asked for again and answered, and a busy service enqueues in batches without doing anything for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .clock import Clock
from .errors import EngineClosed, EnqueueUnknown, StoreError, StoreRefused, StoreUnanswered
from .events import DataLoss, Events
from .store.producing import Enqueued, Entry
from .store.redis_store import RedisStore
from .store.translate import is_passing

CHUNK = 100
"""Entries a call: more would make the script run over 2 ms."""

REMEMBERED = 1800.0
"""Seconds for which the server surely remembers a producer's last call; it forgets it after an hour of silence."""

REGISTER_AGAIN = 60.0
"""Seconds. The server may have been flushed since the queue was made findable for those who do not declare it."""

CLOSING_LOOK = 0.002
"""Seconds between two looks whether a call is still under way; only while closing, so that no call pays for being watched."""

_Waiting = tuple[Sequence[Entry], "asyncio.Future[list[Enqueued]]"]


@dataclass(slots=True)
class _Lane:
    queue: str
    name: str
    max_waiting: int
    number: int = 0
    is_busy: bool = False
    answered: int = 0
    """Number of the last call that was answered, under which name, and when it was sent."""
    answered_as: str = ""
    answered_mono: float = 0.0
    registered_mono: float | None = None
    waiting: list[_Waiting] = field(default_factory=list)
    driver: asyncio.Task[None] | None = None


class Producer:
    """One a process."""

    def __init__(
        self, store: RedisStore, *, name: str, clock: Clock, timeout: float, replicas: int = 0, events: Events | None = None
    ) -> None:
        """`replicas`: how many must have a job before its enqueue is answered (ENGINE_DURABILITY=replicated)."""
        self._store = store
        self._replicas = replicas
        self._events = events
        self._name = name
        self._clock = clock
        self._timeout = timeout
        self._lanes: dict[str, _Lane] = {}
        self._renamed = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Producer {self._name} {sum(len(lane.waiting) for lane in self._lanes.values())} waiting>"

    async def add(self, queue: str, entries: Sequence[Entry], *, max_waiting: int = 0) -> list[Enqueued]:
        """Enqueue at most CHUNK entries; one answer each, in order.

        Raises:
            StoreFull: server at maxmemory, nothing added.
            StoreRefused: code FULL, the queue has its most waiting jobs.
            StoreUnreachable: nothing was sent within the time limit. Repeat.
            EnqueueUnknown: no answer within the time limit, or too few replicas have it; `await error.repeat()` asks again.
        """
        if self._closed:
            raise EngineClosed("the engine is closed: enqueue inside `async with engine`")
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = _Lane(queue, self._name, max_waiting)
        if not lane.is_busy:
            lane.is_busy = True
            try:
                return await self._send(lane, entries)
            finally:
                lane.is_busy = False
                if lane.waiting:
                    self._drive(lane)
        future: asyncio.Future[list[Enqueued]] = asyncio.get_running_loop().create_future()
        lane.waiting.append((entries, future))
        return await future

    async def close(self) -> None:
        """Refuse what comes; send what waits, and wait for the call under way."""
        self._closed = True
        for lane in self._lanes.values():
            while lane.is_busy or lane.waiting:
                await self._clock.sleep(CLOSING_LOOK)

    def _drive(self, lane: _Lane) -> None:
        lane.is_busy = True
        lane.driver = asyncio.get_running_loop().create_task(self._drain(lane), name=f"producer/{lane.queue}")

    async def _drain(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                taken, size = 0, 0
                for entries, _ in lane.waiting:
                    if taken and size + len(entries) > CHUNK:
                        break
                    taken, size = taken + 1, size + len(entries)
                batch, lane.waiting = lane.waiting[:taken], lane.waiting[taken:]
                try:
                    answers = await self._send(lane, [e for entries, _ in batch for e in entries])
                except Exception as error:  # noqa: BLE001 - each waiting caller gets it; this coroutine has no caller of its own
                    if len(batch) > 1 and isinstance(error, StoreRefused) and error.code == "FULL":
                        await self._one_by_one(lane, batch)  # some may fit alone
                        continue
                    for at, (entries, future) in zip(_beginnings(batch), batch, strict=True):
                        if not future.done():
                            future.set_exception(_of_one(error, at, len(entries)))
                    continue
                for entries, future in batch:
                    mine, answers = answers[: len(entries)], answers[len(entries) :]
                    if not future.done():
                        future.set_result(mine)
        finally:
            lane.is_busy = False

    async def _one_by_one(self, lane: _Lane, batch: Sequence[_Waiting]) -> None:
        """A merged call was refused because the queue is full: each caller gets its own answer."""
        for entries, future in batch:
            try:
                answers = await self._send(lane, entries)
            except Exception as error:  # noqa: BLE001 - as in `_drain`
                if not future.done():
                    future.set_exception(error)
                continue
            if not future.done():
                future.set_result(answers)

    async def _send(self, lane: _Lane, entries: Sequence[Entry]) -> list[Enqueued]:
        lane.number += 1
        began = self._clock.mono()
        unanswered = False
        link = self._store.link
        known = lane.registered_mono is not None and began - lane.registered_mono <= REGISTER_AGAIN
        if known and self._timeout >= link.timeout and link.is_up(lane.queue):
            try:  # almost always answered at once: patience, and its timers, are for when it is not
                added = await self._store.enqueue(lane.queue, lane.name, lane.number, entries, lane.max_waiting, self._replicas)
            except StoreError as error:
                if not is_passing(error):
                    _tell_full(lane.queue, error)
                    raise
                unanswered = isinstance(error, StoreUnanswered)
            else:
                lane.answered, lane.answered_as, lane.answered_mono = lane.number, lane.name, began
                return added
        return await self._send_patiently(lane, entries, self._timeout - (self._clock.mono() - began), unanswered)

    async def _send_patiently(self, lane: _Lane, entries: Sequence[Entry], seconds: float, unanswered: bool) -> list[Enqueued]:
        name, number = lane.name, lane.number

        async def once() -> list[Enqueued]:
            now = self._clock.mono()
            if lane.registered_mono is None or now - lane.registered_mono > REGISTER_AGAIN:
                await self._store.register_queue(lane.queue, self._clock.now_ms())
                lane.registered_mono = now
            answered, may_know = lane.answered, now - lane.answered_mono < REMEMBERED
            last = await self._store.last_enqueue(lane.queue, lane.answered_as) if answered and may_know else answered
            added = await self._store.enqueue(lane.queue, name, number, entries, lane.max_waiting, self._replicas)
            lane.answered, lane.answered_as, lane.answered_mono = number, name, now
            self._tell_loss(lane.queue, answered - last)
            return added

        async def repeat() -> list[Enqueued]:
            return await self._store.link.patient(once, timeout=self._timeout)

        try:
            return await self._store.link.patient(once, timeout=max(seconds, 0.0), unanswered=unanswered)
        except StoreUnanswered as error:
            # the number stays this call's own, so that `repeat` can ask for its answer: go on under another name
            self._renamed += 1
            confirmed = f", confirmed by {self._replicas} of its replicas," if self._replicas else ""
            lane.name, lane.number = f"{self._name}.{self._renamed}", 0
            raise EnqueueUnknown(
                f"no answer to enqueue on {lane.queue!r}{confirmed} within {self._timeout:g} s: it may have happened. "
                "Await repeat() of this error to find out; it takes effect once",
                repeat=repeat,
            ) from error
        except StoreRefused as error:
            _tell_full(lane.queue, error)
            raise

    def _tell_loss(self, queue: str, calls: int) -> None:
        """After trouble another server answered, or the same one after a restart, and does not know what was acknowledged."""
        if self._events is not None and calls > 0:
            gone = f"{calls} acknowledged enqueue calls of this process are gone: a failover or a restart took them back"
            self._events.emit(DataLoss(queue=queue, what=gone, at_ms=self._clock.now_ms()))


def _beginnings(batch: Sequence[_Waiting]) -> list[int]:
    """Where each caller's entries begin among those of the call they share."""
    return [0, *accumulate(len(entries) for entries, _ in batch)][:-1]


def _of_one(error: Exception, at: int, count: int) -> Exception:
    """What one of several callers is told: of an unknown outcome, `repeat` gives it the answers to its own entries."""
    return error.answering(lambda answers: answers[at : at + count]) if isinstance(error, EnqueueUnknown) else error


def _tell_full(queue: str, error: StoreError) -> None:
    """Raise a full queue's refusal as its caller should read it."""
    if isinstance(error, StoreRefused) and error.code == "FULL":
        sentence = f"queue {queue!r} is full: {error}. Wait until some have run, or raise max_waiting"
        raise StoreRefused(sentence, code="FULL") from error
