"""Producer: enqueues, each job once however often its call had to be sent.

A producer numbers its calls and keeps one in flight a queue; what is enqueued meanwhile goes together in the next. So a lost
reply is asked for again and answered, and a busy service enqueues in batches without doing anything for it.
"""

from __future__ import annotations

import asyncio
import copy
import math
import operator
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from .clock import Clock
from .declared import NO_LIMIT, Limit
from .durations import format_duration
from .errors import EngineClosed, EnqueueUnknown, ProducerFull, Refused, StoreError, StoreUnanswered, StoreUnreachable
from .events import DataLoss, Events
from .store.patience import is_rare
from .store.producing import Enqueued, Entry
from .store.redis_store import RedisStore
from .store.translate import is_passing

CHUNK = 100
"""Entries a call: more would make the script run over 2 ms."""
MOST_DROPPING = 20
"""Entries a call where a full queue's oldest jobs make room: each may take one out, and hand its key to the next."""
CHUNK_BYTES = 1_048_576
"""Bytes of payload a call, unless a single job has more: a megabyte takes the server 2 to 7 ms, and it does nothing else then."""

MOST_PENDING, MOST_PENDING_BYTES = 100_000, 64 * 1_048_576
"""Jobs, and bytes of payload, that may wait in this process for the calls before them. More is refused: memory would grow until
the process dies, and everything that waits with it."""

REMEMBERED = 1800.0
"""Seconds for which the server surely remembers a producer's last call; it forgets it after an hour of silence."""

REPEATABLE = 3_540.0
"""Seconds from a call within which it may be repeated. The server forgets it an hour after it came in; then a repeat would add
its jobs a second time. The minute less is for the repeat's own way, and clocks that run unequally fast."""

REGISTER_AGAIN = 60.0
"""Seconds. The server may have been flushed since the queue was made findable for those who do not declare it."""

CLOSING_LOOK = 0.002
"""Seconds between two looks whether a call is still under way; only while closing, so that no call pays for being watched."""

NEARLY = 0.05
"""Seconds by which the time left may be shorter than a connection's own limit: that this is over then says, as it would of any
other call, that the connection is dead."""
TOGETHER = 0.25
"""Seconds. Callers of one call whose time is up within it are told together: each that is told costs the others a new
connection."""


class _Waiting(msgspec.Struct, frozen=True):
    entries: Sequence[Entry]
    size: int
    deadline_mono: float
    answer: asyncio.Future[list[Enqueued]]


class _Lane(msgspec.Struct):
    queue: str
    name: str
    limit: Limit
    number: int = 0
    is_busy: bool = False
    answered: int = 0
    """Number of the last call that was answered, under which name, and when it was sent."""
    answered_as: str = ""
    answered_mono: float = 0.0
    connects: int = -1
    """`Link.connects` when that call was sent: another number now, and another server may answer."""
    known_until_mono: float = -math.inf
    """Till then the queue is findable, our rights were looked at, and a call needs nothing before it."""
    waiting: deque[_Waiting] = msgspec.field(default_factory=deque)
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
        self._pending = self._pending_bytes = 0
        self._renamed = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Producer {self._name} {self._pending} waiting>"

    async def add(self, queue: str, entries: Sequence[Entry], limit: Limit = NO_LIMIT) -> list[Enqueued]:
        """Enqueue what one call takes (see `in_calls`); one answer each, in order. Without an id: refused, the queue is full. The
        time limit counts from here, however many are before us.

        Raises:
            StoreFull: server at maxmemory, nothing added.
            StoreDenied: told at once; the password or the rights are wrong. Nothing added.
            StoreRefused: the server says no (`LOADING`, `READONLY`, ...) and still did when time was nearly up. Nothing added.
            ProducerFull: too much waits here already; not sent. Slow down, then repeat.
            StoreUnreachable: nothing was sent within the time limit. Repeat.
            EnqueueUnknown: no answer within the time limit, or too few replicas have it; `await error.repeat()` asks again.
        """
        if self._closed:
            raise EngineClosed("the engine is closed: enqueue inside `async with engine`")
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = _Lane(queue, self._name, limit)
        now = self._clock.mono()
        deadline_mono = now + self._timeout
        if not lane.is_busy:
            lane.is_busy = True
            try:
                return await self._send(lane, entries, deadline_mono, now)
            finally:
                lane.is_busy = False
                if lane.waiting:
                    self._drive(lane)
        one = _Waiting(entries, _size(entries), deadline_mono, asyncio.get_running_loop().create_future())
        self._make_wait(lane, one)
        return await one.answer

    async def close(self) -> None:
        """Refuse what comes; send what waits, and wait for the call under way: as long as its callers do, not longer."""
        self._closed = True
        for lane in self._lanes.values():
            while lane.is_busy or lane.waiting:
                await self._clock.sleep(CLOSING_LOOK)

    def _drive(self, lane: _Lane) -> None:
        lane.is_busy = True
        lane.driver = asyncio.get_running_loop().create_task(self._drain(lane), name=f"producer/{lane.queue}")

    def _make_wait(self, lane: _Lane, one: _Waiting) -> None:
        jobs, size = self._pending + len(one.entries), self._pending_bytes + one.size
        if self._pending and (jobs > MOST_PENDING or size > MOST_PENDING_BYTES):
            raise ProducerFull(
                f"{self._pending:,} jobs of {self._pending_bytes:,} bytes wait in this process to be sent, and at most "
                f"{MOST_PENDING:,} of {MOST_PENDING_BYTES:,} may: what came for {lane.queue!r} was not added. "
                "Await what was enqueued before",
                queue=lane.queue,
                waiting=self._pending,
            )
        self._pending, self._pending_bytes = jobs, size
        lane.waiting.append(one)

    def _next_call(self, lane: _Lane) -> list[_Waiting]:
        """Who goes together in the next call."""
        batch: list[_Waiting] = []
        most, jobs, size = _most(lane.limit), 0, 0
        while lane.waiting:
            one = lane.waiting[0]
            if batch and (jobs + len(one.entries) > most or size + one.size > CHUNK_BYTES):
                break
            lane.waiting.popleft()
            if not one.answer.done():  # who gave up is not sent for
                batch.append(one)
            jobs, size = jobs + len(one.entries), size + one.size
        self._pending, self._pending_bytes = self._pending - jobs, self._pending_bytes - size
        return batch

    async def _drain(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                if batch := self._next_call(lane):
                    await self._send_together(lane, batch)
        finally:
            lane.is_busy = False

    async def _send_together(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """One call for all of these. Each caller is told by its own deadline; those who have time left go on."""
        entries = [entry for one in batch for entry in one.entries]
        name, number = lane.name, lane.number + 1
        told = start = 0
        may_be_in = False
        while told < len(batch):
            by_mono = batch[told].deadline_mono
            try:
                if may_be_in:
                    answers = await self._ask(lane, name, number, entries, by_mono, unanswered=True)
                else:
                    answers = await self._send(lane, entries, by_mono, self._clock.mono())
            except EnqueueUnknown as error:
                may_be_in = True  # the others go on with the very same call
                late = _late(batch[told:], by_mono)
                start = _tell(batch[told : told + late], error, start)
                told += late
                sentence = f"enqueue on {lane.queue!r} was not sent within {self._timeout:g} s: the call before it got no answer"
                self._tell_late(lane, by_mono + TOGETHER, StoreUnreachable(sentence))
            except Exception as error:  # noqa: BLE001 - each waiting caller gets it; this coroutine has no caller of its own
                if not isinstance(error, StoreError) or not is_passing(error) or is_rare(error):
                    _tell(batch[told:], error, start)
                    return
                late = _late(batch[told:], by_mono)
                _tell(batch[told : told + late], error, start)
                self._wait_on(lane, batch[told + late :])  # none of it happened
                self._tell_late(lane, by_mono + TOGETHER, error)
                return
            else:
                for one in batch:
                    mine, answers = answers[: len(one.entries)], answers[len(one.entries) :]
                    if not one.answer.done():
                        one.answer.set_result(mine)
                return

    def _tell_late(self, lane: _Lane, by_mono: float, error: StoreError) -> None:
        """Those whose turn has not come by then hear it now: one by one, many would hear it long after their time."""
        late: list[_Waiting] = []
        while lane.waiting and lane.waiting[0].deadline_mono <= by_mono:
            late.append(lane.waiting.popleft())
        self._pending -= sum(len(one.entries) for one in late)
        self._pending_bytes -= sum(one.size for one in late)
        _tell(late, error, 0)

    def _wait_on(self, lane: _Lane, callers: Sequence[_Waiting]) -> None:
        """These go with the next call after all."""
        for one in reversed(callers):
            lane.waiting.appendleft(one)
            self._pending, self._pending_bytes = self._pending + len(one.entries), self._pending_bytes + one.size

    async def _send(self, lane: _Lane, entries: Sequence[Entry], by_mono: float, now: float) -> list[Enqueued]:
        lane.number += 1
        left = by_mono - now
        link = self._store.link
        connects = link.connects
        unanswered = False
        if now < lane.known_until_mono and connects == lane.connects and left > 0:
            within = left if left < link.timeout - NEARLY else link.timeout
            try:  # almost always answered at once: patience, and its timers, are for when it is not
                added = await self._store.enqueue(lane.queue, lane.name, lane.number, entries, lane.limit, self._replicas, within)
            except StoreError as error:
                if not is_passing(error):
                    raise
                unanswered = isinstance(error, StoreUnanswered)
            else:
                lane.answered, lane.answered_as, lane.answered_mono = lane.number, lane.name, now
                return added
        return await self._ask(lane, lane.name, lane.number, entries, by_mono, unanswered=unanswered)

    async def _ask(
        self, lane: _Lane, name: str, number: int, entries: Sequence[Entry], by_mono: float, *, unanswered: bool
    ) -> list[Enqueued]:
        """Send that call until it is answered or time is up. `unanswered`: it was sent before, and may be in."""
        link = self._store.link
        is_calm = not unanswered

        async def once() -> list[Enqueued]:
            nonlocal is_calm
            now = self._clock.mono()
            known_until_mono = lane.known_until_mono
            if now >= known_until_mono:
                await self._store.register_queue(lane.queue, self._clock.now_ms())
                known_until_mono = now + REGISTER_AGAIN
            connects, added, lost = link.connects, None, 0
            if is_calm and lane.answered and connects == lane.connects:
                is_calm = False
                added = await self._send_calmly(lane, name, number, entries)
            if added is None:
                if lane.answered and now - lane.answered_mono < REMEMBERED:
                    answered = lane.answered  # the number that goes with the name: a repeat of another call may change both
                    lost = answered - await self._store.last_enqueue(lane.queue, lane.answered_as)
                connects = link.connects
                added = await self._store.enqueue(lane.queue, name, number, entries, lane.limit, self._replicas)
            lane.answered, lane.answered_as, lane.answered_mono = number, name, now
            lane.connects, lane.known_until_mono = connects, known_until_mono
            self._tell_loss(lane.queue, lost)
            return added

        begun_mono = by_mono - self._timeout  # or later: what is sent together was sent after the last of them came

        async def again() -> list[Enqueued]:
            age = self._clock.mono() - begun_mono
            if age > REPEATABLE:
                raise Refused(
                    f"this enqueue on {lane.queue!r} was made {format_duration(age)} ago, and the server remembers it for an "
                    "hour: a repeat might add it twice, so it was not sent. Look for its jobs (engine jobs) before you enqueue"
                )
            return await once()

        async def repeat() -> list[Enqueued]:
            return await link.patient(again, timeout=self._timeout, unanswered=True)

        try:
            seconds = max(by_mono - self._clock.mono(), 0.0)
            if unanswered and not seconds:  # no time for a connection either
                raise StoreUnanswered(f"{link.where} gave no answer in time: the request may have taken effect")
            return await link.patient(once, timeout=seconds, unanswered=unanswered)
        except StoreUnanswered as error:
            if lane.name == name:
                # the number stays this call's own, so that `repeat` can ask for its answer: go on under another name
                self._renamed += 1
                lane.name, lane.number = f"{self._name}.{self._renamed}", 0
            confirmed = f", confirmed by {self._replicas} of its replicas," if self._replicas else ""
            raise EnqueueUnknown(
                f"no answer to enqueue on {lane.queue!r}{confirmed} within {self._timeout:g} s: it may have happened. "
                "Await repeat() of this error to find out; it takes effect once",
                repeat=repeat,
            ) from error

    async def _send_calmly(self, lane: _Lane, name: str, number: int, entries: Sequence[Entry]) -> list[Enqueued] | None:
        """Send it as soon as a connection is free, to the server that answered before; None when it is to be asked first."""
        link, limit, replicas = self._store.link, lane.limit, self._replicas
        try:
            return await self._store.enqueue(lane.queue, name, number, entries, limit, replicas, link.timeout, lane.connects)
        except StoreError as error:
            if not is_passing(error) or isinstance(error, StoreUnanswered):
                raise
            return None

    def _tell_loss(self, queue: str, calls: int) -> None:
        """After trouble another server answered, or the same one after a restart, and does not know what was acknowledged."""
        if self._events is not None and calls > 0:
            gone = f"{calls} acknowledged enqueue calls of this process are gone: a failover or a restart took them back"
            self._events.emit(DataLoss(queue=queue, what=gone, at_ms=self._clock.now_ms()))


def _late(callers: Sequence[_Waiting], by_mono: float) -> int:
    """How many of them, who stand in the order of their deadlines, are told when the first one's is over."""
    return sum(one.deadline_mono <= by_mono + TOGETHER for one in callers)


def _tell(callers: Sequence[_Waiting], error: Exception, start: int) -> int:
    """Each of these callers of a call gets the error; asked again, an unknown outcome answers for that caller's jobs alone, which
    begin at `start` among those of the call. Returns where the next caller's do."""
    for one in callers:
        start, mine = start + len(one.entries), operator.itemgetter(slice(start, start + len(one.entries)))
        if not one.answer.done():
            one.answer.set_exception(error.answering(mine) if isinstance(error, EnqueueUnknown) else copy.copy(error))
    return start


def in_calls(entries: Sequence[Entry], limit: Limit = NO_LIMIT) -> Iterator[Sequence[Entry]]:
    """The same entries in order, in as many parts as they need calls."""
    most = _most(limit)
    if len(entries) <= most and _size(entries) <= CHUNK_BYTES:
        yield entries
        return
    start = size = 0
    for at, entry in enumerate(entries):
        if at > start and (at - start == most or size + len(entry.body) > CHUNK_BYTES):
            yield entries[start:at]
            start, size = at, 0
        size += len(entry.body)
    yield entries[start:]


def _size(entries: Sequence[Entry]) -> int:
    """Bytes of payload."""
    return sum(map(len, map(_body, entries)))


_body = operator.attrgetter("body")


def _most(limit: Limit) -> int:
    return MOST_DROPPING if limit.drops else CHUNK
