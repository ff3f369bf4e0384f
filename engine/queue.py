"""Queue: a declared queue and its handlers; what an application holds in its hands and enqueues with."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from .backoff import Backoff
from .declared import HandlerSpec, KeyOf, QueueSpec, rules_from
from .enqueuing import Enqueuing, Handle
from .errors import BadInput, ConfigError
from .keys import check_job_name
from .limits import duration_ms, usable_name
from .options import NOTHING_SAID, EnqueueOptions
from .outcome import Policy

P = TypeVar("P")
R = TypeVar("R")
Rest = ParamSpec("Rest")


class Home(Protocol):
    """What a queue needs of its engine."""

    @property
    def enqueuing(self) -> Enqueuing:
        """What every `enqueue` goes through; EngineClosed while the engine is not open."""


NO_DELAY = 0.0
NOTHING_GIVEN = (None,) * 8


class Handler(Generic[P, R]):
    """A declared handler. Call it like the function it is, in tests; `enqueue` it everywhere else."""

    def __init__(self, queue: Queue, spec: HandlerSpec) -> None:
        self._queue = queue
        self.spec = spec
        self.__doc__ = spec.fn.__doc__

    def __repr__(self) -> str:
        return f"<Handler {self._queue.name}/{self.spec.name}>"

    @property
    def name(self) -> str:
        """The job name it handles."""
        return self.spec.name

    @property
    def queue_name(self) -> str:
        """The queue its jobs go to."""
        return self._queue.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The plain function, run here and now, without engine."""
        return self.spec.fn(*args, **kwargs)

    async def enqueue(
        self,
        payload: P,
        *,
        delay: float = NO_DELAY,
        at: datetime | None = None,
        priority: int | None = None,
        attempts: int | None = None,
        dedup_key: str | None = None,
        dedup_window: float | None = None,
        ordering_key: str | None = None,
        timeout: float | None = None,
        expires_after: float | None = None,
    ) -> Handle[R]:
        """Add one job; returns when it is stored. Times in seconds. Errors: see `Enqueuing.enqueue`."""
        options = NOTHING_SAID
        given = (at, priority, attempts, dedup_key, dedup_window, ordering_key, timeout, expires_after)
        if delay is not NO_DELAY or given != NOTHING_GIVEN:
            options = EnqueueOptions(
                delay=delay,
                at=at,
                priority=priority,
                attempts=attempts,
                dedup_key=dedup_key,
                dedup_window=dedup_window,
                ordering_key=ordering_key,
                timeout=timeout,
                expires_after=expires_after,
            )
        queue = self._queue
        return await queue.engine.enqueuing.enqueue(queue.spec.name, self.spec.name, payload, options)

    async def enqueue_many(
        self, payloads: Iterable[P] | AsyncIterable[P], *, on_progress: Callable[[int], object] | None = None, **options: Any
    ) -> list[Handle[R]]:
        """Add many, 100 a call; one handle each. `options` as for `enqueue`, the same for all."""
        checked = _options(options)
        return await self._queue.engine.enqueuing.enqueue_many(self._queue.name, self.name, payloads, checked, on_progress)


class Queue:
    """A declared queue; `engine.queue(...)` makes it."""

    def __init__(self, engine: Home, spec: QueueSpec) -> None:
        self.engine = engine
        self.spec = spec

    def __repr__(self) -> str:
        return f"<Queue {self.name} handlers={sorted(self.spec.handlers)}>"

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.spec.name

    def handler(
        self,
        name: str,
        *,
        ordering_key: KeyOf | None = None,
        dedup_key: KeyOf | None = None,
        dedup_window: float | str | None = None,
        attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        policy: Policy | None = None,
    ) -> _Register:
        """Declare the function below as what runs jobs named `name`.

        The first parameter is the payload; a parameter of type `Job` gets the job, others get lifespan resources by type. What is
        not given here is as the queue says. Keys are names of payload fields, or functions of the payload.

        Raises:
            ConfigError: a name used twice or not usable, an option of another kind or out of range, a key that is no field, a
                parameter without a type.
        """
        base = self.spec
        if callable(name):
            fix = f'@{base.name}.handler("{getattr(name, "__name__", "name")}")'
            raise ConfigError(f"queue {base.name!r}: a handler is declared with the name of its jobs: {fix}", setting="handler")
        whose = f"handler {usable_name(check_job_name, name, 'handler')!r}"
        rules = rules_from(attempts, backoff, policy, base.rules)
        window_ms = base.dedup_window_ms if dedup_window is None else duration_ms(whose, "dedup_window", dedup_window)

        def build(fn: Callable[..., Any]) -> HandlerSpec:
            if name in base.handlers:
                raise ConfigError(f"queue {base.name!r} has a handler {name!r} already", setting="handler")
            base.handlers[name] = spec = HandlerSpec(
                name=name,
                fn=fn,
                rules=rules,
                timeout=base.timeout if timeout is None else timeout,
                ordering_key=ordering_key,
                dedup_key=dedup_key,
                dedup_window_ms=window_ms,
                priority=base.priority if priority is None else priority,
            )
            return spec

        return _Register(self, build)

    async def enqueue(self, name: str, payload: Any, **options: Any) -> Handle[Any]:
        """Add one job by name: from a service that has no handler code. `options` as for `Handler.enqueue`.

        Where this process knows the handler, the payload is checked against its type and its keys are taken from it.
        """
        return await self.engine.enqueuing.enqueue(self.name, name, payload, _options(options))

    async def enqueue_many(self, name: str, payloads: Iterable[Any] | AsyncIterable[Any], **options: Any) -> list[Handle[Any]]:
        """Add many jobs by name."""
        return await self.engine.enqueuing.enqueue_many(self.name, name, payloads, _options(options))


class _Register:
    """The decorator `queue.handler(...)` returns; typed so that the handler's payload and result are kept."""

    def __init__(self, queue: Queue, build: Callable[[Callable[..., Any]], HandlerSpec]) -> None:
        self._queue = queue
        self._build = build

    @overload
    def __call__(self, fn: Callable[Concatenate[P, Rest], Awaitable[R]]) -> Handler[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[P, Rest], R]) -> Handler[P, R]: ...
    def __call__(self, fn: Callable[..., Any]) -> Handler[Any, Any]:
        """Register `fn`."""
        return Handler(self._queue, self._build(fn))


def _options(options: Mapping[str, Any]) -> EnqueueOptions:
    try:
        return EnqueueOptions(**options) if options else NOTHING_SAID
    except TypeError as error:
        known, wrong = ", ".join(EnqueueOptions.__struct_fields__), str(error)
        raise BadInput(f"{wrong[:1].lower()}{wrong[1:]}; enqueue takes {known}") from None
