"""Enqueuing: from a name, a payload and options to entries, and from answers to handles."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import msgspec

from .backoff import in_ms
from .clock import Clock
from .declared import DAY_MS, NO_LIMIT, HandlerSpec, Limit, QueueSpec
from .errors import BadInput, BadPayload, EngineError, EnqueueUnknown, PayloadTooLarge, QueueFull, StoreError
from .events import Events, JobEnqueued, JobsDropped
from .job import Body, encode_payload, pack_body, pack_plain
from .keys import check_job_name, check_queue, shown
from .options import NOTHING_SAID, EnqueueOptions, due_at_ms
from .producer import CHUNK, Producer, in_calls
from .results import Results
from .store.producing import Enqueued, Entry

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Handle(Generic[R_co]):
    """A job that was enqueued. `id` is its full id, `queue/id`; a duplicate's handle has the first job's."""

    __slots__ = ("_results", "_type", "duplicate", "id")

    def __init__(self, id: str, duplicate: bool, results: Results, result_type: Any) -> None:
        self.id = id
        self.duplicate = duplicate
        self._results = results
        self._type = result_type

    def __repr__(self) -> str:
        return f"<Handle {self.id}{' duplicate' if self.duplicate else ''}>"

    async def result(self, timeout: float | None = None) -> R_co:
        """Wait for the job's end and return what its handler returned.

        Results are kept for an hour by default; a handler that returns None has None for a result. `timeout` in seconds.

        Raises:
            ResultTimeout: the job had not ended in time; ask again later.
            JobDead, JobCancelled: it ended otherwise.
            JobNotFound: it ended and is not kept any more.
        """
        queue, _, short = self.id.partition("/")
        data = await self._results.wait(queue, short, timeout)
        value: R_co = None if not data else msgspec.msgpack.decode(data, type=self._type)  # type: ignore[assignment]  # None when nothing was returned
        return value


class Enqueuing:
    """Checks, encodes and enqueues; everything that enqueues goes through here."""

    def __init__(
        self,
        producer: Producer,
        results: Results,
        queues: Mapping[str, QueueSpec],
        *,
        clock: Clock,
        events: Events,
        max_payload: int,
    ) -> None:
        self._producer = producer
        self._results = results
        self._queues = queues
        self._clock = clock
        self._events = events
        self._max_payload = max_payload

    async def enqueue(self, queue: str, name: str, payload: Any, options: EnqueueOptions) -> Handle[Any]:
        """Add one job.

        Raises:
            BadInput (BadPayload, PayloadTooLarge, BadName, BadTime): nothing was sent; mend the call.
            QueueFull: as many jobs wait as may (`max_waiting`); a duplicate is never refused.
            StoreFull, ProducerFull, StoreRefused, StoreUnreachable, EnqueueUnknown: see `Producer.add`.
        """
        spec, handler = self._known(queue, name)
        entry = self._entry(spec, queue, handler, name, payload, options)
        limit = spec.limit if spec else NO_LIMIT
        try:
            answers = await self._producer.add(queue, (entry,), limit)
        except EnqueueUnknown as unknown:
            took = functools.partial(self._took_one, queue, name, handler, limit, entry)
            raise unknown.answering(took) from unknown
        if not limit.most:
            return self._handle(queue, name, answers[0], handler, entry)
        return self._took_one(queue, name, handler, limit, entry, answers)

    async def enqueue_many(
        self,
        queue: str,
        name: str,
        payloads: Iterable[Any] | AsyncIterable[Any],
        options: EnqueueOptions,
        on_progress: Callable[[int], object] | None = None,
    ) -> list[Handle[Any]]:
        """Add many, in calls of 100 and a megabyte; each gets its own handle. `on_progress` hears how many are in; it may be
        async. The payloads of the next call are taken and packed while one is under way.

        A payload that can't be accepted stops before its chunk is sent; chunks before it are in; so it is with a StoreError. The
        `done` field of either says how many jobs are in for certain, those of the first so many payloads. In a full queue
        each job has its own result: those that had room are in, and so are duplicates; QueueFull has a handle or None in
        `results` for each payload that was sent, and no more are sent. Errors as `enqueue`.
        """
        spec, handler = self._known(queue, name)
        if on_progress is not None and not callable(on_progress):
            raise BadInput(f"on_progress={shown(on_progress)} can't be called with the number of jobs that are in")
        handles: list[Handle[Any]] = []
        limit = spec.limit if spec else NO_LIMIT

        async def send(entries: Sequence[Entry]) -> None:
            for part in in_calls(entries, limit):
                took = functools.partial(self._took_many, queue, name, handler, limit, part)
                try:
                    answers = await self._producer.add(queue, part, limit)
                except EnqueueUnknown as unknown:
                    mine = unknown.answering(functools.partial(_so_far, took, tuple(handles)))
                    _count(mine, handles)
                    raise mine from unknown
                except StoreError as error:
                    _count(error, handles)
                    raise
                handles.extend(took(handles, answers))
                if on_progress is not None and inspect.isawaitable(waiting := on_progress(len(handles))):
                    await waiting

        async with _OneAhead(self._clock) as ahead:
            async for chunk in _chunks(payloads):
                try:
                    entries = [self._entry(spec, queue, handler, name, p, options) for p in chunk]
                except BadInput as error:
                    await ahead.done()
                    _count(error, handles)
                    raise
                await ahead.start(send(entries))
            await ahead.done()
        return handles

    def _known(self, queue: str, name: str) -> tuple[QueueSpec | None, HandlerSpec | None]:
        spec = self._queues.get(queue)
        handler = spec.handlers.get(name) if spec else None
        if handler is None:  # declared names were checked then
            check_queue(queue)
            check_job_name(name)
        return spec, handler

    def _entry(
        self, spec: QueueSpec | None, queue: str, handler: HandlerSpec | None, name: str, payload: Any, options: EnqueueOptions
    ) -> Entry:
        if options.at is not None:
            options.check_at(self._clock.now_ms())
        ordering, dedup = "", ""
        data = encode_payload(payload)
        if handler is not None:
            read = handler.decode(data)  # what the worker will do: an error here is one sentence, there a dead job
            ordering, dedup = handler.keys_of(read)
        limit = spec.max_payload if spec is not None else self._max_payload
        if len(data) > limit:
            raise PayloadTooLarge(
                f"payload of {name!r} is {len(data):,} bytes, at most {limit:,} are allowed on {queue!r}: "
                "store it elsewhere and enqueue a reference",
                size=len(data),
                limit=limit,
            )
        declared = handler if handler is not None else spec
        if declared is None:
            priority, window_ms = 5, DAY_MS
        else:
            priority, window_ms = declared.priority, declared.dedup_window_ms
        if options is NOTHING_SAID:
            return Entry(pack_plain(name, data), priority, 0, 0, ordering, dedup, window_ms)
        expires = None if options.expires_after is None else _least_ms(options.expires_after)
        return Entry(
            body=pack_body(Body(name, msgspec.Raw(data), options.attempts, options.timeout, expires)),
            priority=options.priority or priority,
            delay_ms=in_ms(options.delay),
            at_ms=0 if options.at is None else due_at_ms(options.at),
            ordering_key=options.ordering_key or ordering,
            dedup_key=options.dedup_key or dedup,
            dedup_window_ms=_least_ms(options.dedup_window) if options.dedup_window else window_ms,
        )

    def _took_one(
        self,
        queue: str,
        name: str,
        handler: HandlerSpec | None,
        limit: Limit,
        entry: Entry,
        answers: Sequence[Enqueued],
    ) -> Handle[Any]:
        """The handle of the one that was answered; QueueFull when it was refused."""
        (answer,) = answers
        if not answer.id:
            raise _queue_full(queue, limit, answer, 1, 0)
        if answer.made_room:
            self._tell_dropped(queue, 1)
        return self._handle(queue, name, answer, handler, entry)

    def _took_many(
        self,
        queue: str,
        name: str,
        handler: HandlerSpec | None,
        limit: Limit,
        entries: Sequence[Entry],
        before: Sequence[Handle[Any]],
        answers: Sequence[Enqueued],
    ) -> list[Handle[Any]]:
        """The handles of those that were answered, behind those before them; QueueFull when some were refused."""
        pairs = zip(answers, entries, strict=True)
        if not limit.most:
            return [self._handle(queue, name, answer, handler, entry) for answer, entry in pairs]
        added = [self._handle(queue, name, answer, handler, entry) if answer.id else None for answer, entry in pairs]
        handles = [handle for handle in added if handle is not None]
        if dropped := sum(answer.made_room for answer in answers):
            self._tell_dropped(queue, dropped)
        if refused := len(added) - len(handles):
            full = _queue_full(queue, limit, answers[added.index(None)], refused, len(before) + len(handles))
            full.results = [*before, *added]
            raise full
        return handles

    def _tell_dropped(self, queue: str, count: int) -> None:
        self._events.emit(JobsDropped(queue=queue, count=count, at_ms=self._clock.now_ms()))

    def _handle(self, queue: str, name: str, answer: Enqueued, handler: HandlerSpec | None, entry: Entry) -> Handle[Any]:
        full = f"{queue}/{answer.id}"
        if not answer.duplicate and self._events.wants(JobEnqueued):
            self._events.emit(JobEnqueued(queue=queue, id=full, name=name, delay_ms=entry.delay_ms, at_ms=self._clock.now_ms()))
        return Handle(full, answer.duplicate, self._results, handler.result_type if handler else Any)


def _count(error: EngineError, handles: Sequence[object]) -> None:
    """The error knows from now on how many jobs are in: exceptions carry what they know as fields."""
    error.done = len(handles)  # type: ignore[attr-defined]  # documented in `enqueue_many`


class _OneAhead:
    """One call under way while the next chunk is packed: the server works meanwhile, and a bulk enqueue takes little more than
    the longer of the two."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._call: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def start(self, call: Coroutine[Any, Any, None]) -> None:
        """Once the last one has ended; raises what that raised, and then does not start this one."""
        try:
            await self.done()
        except BaseException:
            call.close()
            raise
        self._call = asyncio.get_running_loop().create_task(call)
        await self._clock.sleep(0)  # it is sent before the next chunk is packed

    async def done(self) -> None:
        """The last one has ended; raises what it raised."""
        call, self._call = self._call, None
        if call is not None:
            await call

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._call is not None:  # whoever gives the payloads has raised: what was sent before still gets its answer
            if kind is asyncio.CancelledError:
                self._call.cancel()
            await asyncio.wait([self._call])
            if not self._call.cancelled():
                self._call.exception()  # theirs is the one that is told


def _so_far(
    took: Callable[[Sequence[Handle[Any]], Sequence[Enqueued]], list[Handle[Any]]],
    before: Sequence[Handle[Any]],
    answers: Sequence[Enqueued],
) -> list[Handle[Any]]:
    return [*before, *took(before, answers)]


def _queue_full(queue: str, limit: Limit, answer: Enqueued, refused: int, done: int) -> QueueFull:
    what = f"{refused:,} were refused, {done:,} are in" if refused + done > 1 else "this one was refused"
    return QueueFull(
        f"queue {queue!r} is full: {answer.waiting:,} jobs wait, at most {limit.most:,} may: {what}. Wait until some have run, "
        "or raise max_waiting",
        queue=queue,
        limit=limit.most,
        waiting=answer.waiting,
        done=done,
    )


def _least_ms(seconds: float) -> int:
    """A millisecond at least: 0 would be no time at all."""
    return max(round(seconds * 1000), 1)


async def _chunks(payloads: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
    chunk: list[Any] = []
    if isinstance(payloads, AsyncIterable):
        async for payload in payloads:
            chunk.append(payload)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    elif isinstance(payloads, (str, bytes, Mapping)) or not isinstance(payloads, Iterable):
        raise BadPayload(f"enqueue_many takes many payloads, not one {type(payloads).__name__}")
    else:
        for payload in payloads:
            chunk.append(payload)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk
