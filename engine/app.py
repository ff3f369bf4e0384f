"""App: what an application declares. `Engine` holds queues and the lifespan; a queue holds handlers.

`async with engine:` makes it a producer: it connects (or starts the embedded server) and `enqueue` works. A worker
(`engine.worker`) takes the same declarations and runs them.
"""

from __future__ import annotations

import inspect
import os
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .backoff import Backoff
from .clock import Clock
from .config import Settings, load
from .connection import Connection
from .declared import Limit, QueueSpec, WhenFull, rules_from
from .enqueuing import Enqueuing
from .errors import ConfigError, EngineClosed, UnknownQueue
from .events import Events
from .keys import shown
from .limits import duration_ms
from .outcome import Policy, Rules
from .producer import Producer
from .queue import Queue
from .results import Results

if TYPE_CHECKING:
    from .client import Client

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
L = TypeVar("L", bound=Callable[[], AbstractAsyncContextManager[Any]] | Callable[[], AsyncIterator[Any]])


class Engine:
    """An application's queues, and its connection while it is entered.

    Args:
        url: the server (`redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`). None: REDIS_URL and the
            other settings of the environment; with nothing configured, the embedded server in `.engine/`.
        settings: all settings at once; None reads the environment when the engine is entered.
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self._url = url
        self._settings = settings
        self.clock = clock or Clock()
        self.events = Events(self.clock)
        self.queues: dict[str, QueueSpec] = {}
        self.lifespans: list[Lifespan] = []
        self._entered = 0
        self._connection: Connection | None = None
        self._enqueuing: Enqueuing | None = None
        self._producer: Producer | None = None
        self._results: Results | None = None
        self._client: Client | None = None

    def __repr__(self) -> str:
        return f"<Engine queues={sorted(self.queues)} {'open' if self._entered else 'closed'}>"

    # --- declaring ---------------------------------------------------------------------------------------------------

    def queue(
        self,
        name: str,
        *,
        priority: int = 5,
        concurrency: int = 5,
        attempts: int = 3,
        backoff: Backoff | None = None,
        timeout: float = 300.0,
        policy: Policy | None = None,
        lease: float | str | None = None,
        stall_limit: int = 3,
        keep_completed: int = 1000,
        keep_completed_for: float | str = "1d",
        keep_dead: int | None = None,
        keep_dead_for: float | str = "7d",
        keep_results_for: float | str = "1h",
        dedup_window: float | str = "1d",
        max_payload: int | None = None,
        max_waiting: int = 0,
        when_full: WhenFull = "refuse",
    ) -> Queue:
        """Declare a queue. Durations are seconds, or text like "10s", "7d".

        Args:
            priority: 1 is served first, 9 last: its jobs' default, and the queue's place among others under `--slots`.
            concurrency: jobs at once in each worker process.
            attempts: the most starts a failing job gets. Snoozes, rate limits, stops and stalls use none.
            backoff: waits between attempts: `Exponential`, `Fixed`, or a callable of the attempt's number.
            timeout: seconds one attempt may run.
            policy: exception class -> outcome or backoff; see `engine.outcome.Policy`.
            lease: how long a silent worker keeps its jobs; None takes the setting (10 s).
            stall_limit: a job whose worker was lost more often than this is dead.
            keep_completed, keep_completed_for, keep_dead, keep_dead_for, keep_results_for: retention, by the sweeper: so many of
                the newest, for so long. A dead job takes its payload and up to some 20 KB for its error; None keeps any number.
            dedup_window: how long a dedup key is remembered.
            max_payload: bytes; None takes the setting (256 KiB).
            max_waiting: most jobs that may wait: waiting, blocked, scheduled and retrying ones together, active ones not; 0 for
                no limit. It bounds what is enqueued; jobs that come back (retried, released, requeued) always find room.
            when_full: "refuse" a job beyond that (`QueueFull`), or "drop-oldest": the oldest job that could run is removed for
                it, never an active, scheduled or retrying one; with none to remove the new one is refused. A duplicate
                (`dedup_key`) needs no room.

        Raises:
            ConfigError: a value of another kind or out of range, or a name that is taken or not usable.
        """
        whose = f"queue {shown(name)}"
        settings = self._settings or Settings()
        spec = QueueSpec(
            name=name,
            priority=priority,
            concurrency=concurrency,
            rules=rules_from(None, backoff, policy, Rules(attempts)),
            timeout=timeout,
            lease_ms=duration_ms(whose, "lease", settings.lease if lease is None else lease),
            stall_limit=stall_limit,
            keep_completed=keep_completed,
            keep_completed_ms=duration_ms(whose, "keep_completed_for", keep_completed_for),
            keep_dead=keep_dead,
            keep_dead_ms=duration_ms(whose, "keep_dead_for", keep_dead_for),
            keep_notes_ms=duration_ms(whose, "keep_results_for", keep_results_for),
            dedup_window_ms=duration_ms(whose, "dedup_window", dedup_window),
            max_payload=settings.max_payload if max_payload is None else max_payload,
            limit=Limit(max_waiting, when_full),
            follows_settings=(lease is None, max_payload is None),
        )
        if name in self.queues:
            raise ConfigError(f"queue {name!r} is declared already", setting="queue")
        self.queues[name] = spec
        return Queue(self, spec)

    def lifespan(self, fn: L) -> L:
        """Declare an async generator or async context manager, entered once a worker process; what it yields is injected by type.

        It may yield one resource, or a tuple of several. Declared ones are entered in order and left in reverse.
        """
        made: Any = asynccontextmanager(fn) if inspect.isasyncgenfunction(fn) else fn
        self.lifespans.append(made)
        return fn

    # --- connecting --------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force; read from the environment at first use."""
        if self._settings is None:
            self._settings = load()
            self._follow(self._settings)
        return self._settings

    def configure(self, settings: Settings) -> None:
        """Take these settings from now on (the command line does); before entering."""
        if self._entered:
            raise EngineClosed("settings can't change while the engine is open")
        self._settings = settings
        self._follow(settings)

    def _follow(self, settings: Settings) -> None:
        for spec in self.queues.values():
            lease, payload = spec.follows_settings
            if lease:
                spec.lease_ms = int(settings.lease * 1000)
            if payload:
                spec.max_payload = settings.max_payload

    async def __aenter__(self) -> Self:
        """Connect. Entering twice is fine; the last to leave closes."""
        self._entered += 1
        if self._entered > 1:
            return self
        try:
            settings = self.settings
            self._connection = connection = Connection(settings, url=self._url, clock=self.clock)
            store = await connection.open()
            name = f"{platform.node()}:{os.getpid()}:{int(self.clock.random() * 2**40):x}"
            self._producer = Producer(
                store,
                name=name,
                clock=self.clock,
                timeout=settings.enqueue_timeout,
                replicas=connection.replicas,
                events=self.events,
            )
            self._results = Results(store, self.clock)
            self._enqueuing = Enqueuing(
                self._producer, self._results, self.queues, clock=self.clock, events=self.events, max_payload=settings.max_payload
            )
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._entered -= 1
        if self._entered == 0:
            self._entered = 1
            await self._leave()

    async def _leave(self) -> None:
        self._entered = 0
        if self._producer is not None:
            await self._producer.close()
        if self._results is not None:
            await self._results.close()
        if self._connection is not None:
            await self._connection.close()
        self._connection = self._enqueuing = self._producer = self._results = self._client = None

    @property
    def connection(self) -> Connection:
        """The open connection; EngineClosed outside `async with engine`."""
        if self._connection is None:
            raise EngineClosed("the engine is not open: use it inside `async with engine`")
        return self._connection

    @property
    def client(self) -> Client:
        """Look up, repair and enqueue by name; EngineClosed outside `async with engine`."""
        if self._client is None:
            from .client import Client  # here: a worker has no use for it, and a twentieth of its start would be loading it

            self._client = Client(self.connection.store, self.queues, producer=self.enqueuing)
        return self._client

    @property
    def enqueuing(self) -> Enqueuing:
        """What every `enqueue` goes through; EngineClosed outside `async with engine`."""
        if self._enqueuing is None:
            raise EngineClosed("the engine is not open: enqueue inside `async with engine`")
        return self._enqueuing

    def spec(self, name: str) -> QueueSpec:
        """The declared queue of that name; UnknownQueue names the ones there are."""
        found = self.queues.get(name)
        if found is None:
            raise UnknownQueue(f"queue {shown(name)} is not declared (known: {', '.join(sorted(self.queues)) or 'none'})")
        return found
