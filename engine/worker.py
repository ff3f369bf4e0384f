"""Worker: one process that runs jobs. Puts the services together; owns the order of starting and stopping.

Stopping: claiming ends, what was not started is given back, handlers get the drain time, the rest are cancelled and released
with their attempt, leases are renewed until the last handler is gone, then the worker leaves and the connection closes.
"""

from __future__ import annotations

import asyncio
import functools
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from . import __version__
from .app import Engine
from .client.checkup_server import server_findings
from .errors import StoreError, StoreRefused, StoreUnsuitable
from .events import LoopBlocked, WorkerDraining, WorkerStarted, WorkerStopped
from .services.base import Service
from .services.bell import Bell
from .services.desk import Desk
from .services.heartbeat import Heartbeat
from .services.holdings import Holdings
from .services.lease_keeper import LeaseKeeper, Reports, time_limit
from .services.memory import Memory, check_memory, resident_bytes
from .services.outage import Outage
from .services.pool import Pool
from .services.promoter import Promoter
from .services.pulse import Pulse
from .services.reclaimer import Reclaimer
from .services.server_watch import ServerWatch
from .services.sweeper import Sweeper
from .store.redis_store import RedisStore
from .store.server import ServerInfo
from .store.translate import is_damage

CANCEL_GRACE = 2.0
"""Seconds a cancelled handler gets to wind up before the worker leaves without it."""
QUEUES_A_BELL = 8
"""Each ring sends the whole read again, and the server enters every stream of it anew: not a thousand queues for one of them."""
LEAVE_TIMEOUT = 2.0
"""Seconds for all the last calls of a stopping worker together; with the server away, leases lapse by themselves."""
AT_ONCE = 0.25
"""Seconds for what needs no answer of anybody: winding up after a cancellation."""


class Worker:
    """Runs jobs of the given queues until `stop`."""

    def __init__(
        self,
        engine: Engine,
        *,
        queues: Sequence[str] = (),
        concurrency: int | None = None,
        slots: int | None = None,
        burst: bool = False,
        drain_timeout: float | None = None,
        max_memory: int | None = None,
        name: str | None = None,
    ) -> None:
        """`max_memory`: bytes at which it drains and leaves, and `is_over_memory`; None for no limit."""
        self._engine = engine
        self._clock = engine.clock
        self._events = engine.events
        self._specs = [engine.spec(q) for q in (queues or list(engine.queues))]
        self._concurrency = concurrency
        self._slots = slots
        self._burst = burst
        self._drain_timeout = drain_timeout
        self._max_memory = max_memory
        self.is_over_memory = False
        """True once it took more than it may, and leaves for that."""
        # never the same twice, whatever the name: call numbers and pending entries are a worker process's own
        self.name = f"{name or platform.node()}:{os.getpid()}:{int(self._clock.random() * 2**24):06x}"
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._pools: dict[str, Pool] = {}
        self._services: list[Service] = []
        self._promoters: dict[str, Promoter] = {}
        self._leave_by_mono: float | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.name} {list(self._pools.values())}>"

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools, by queue, while it runs."""
        return self._pools

    def stop(self) -> None:
        """Drain and leave. A second call cancels what still runs at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> bool:
        """Run until stopped (or, with `burst`, until nothing is left). True when every handler ended by itself.

        Raises:
            StoreError: the server can't be used at the start. Later outages are waited for.
            ConfigError: a handler asks for a resource that no lifespan provides, or `max_memory` is taken before the first job.
        """
        async with self._engine, AsyncExitStack() as stack:
            resources = await self._enter_lifespans(stack)
            for spec in self._specs:
                for handler in spec.handlers.values():
                    handler.resources_from(resources)  # what is missing is told now, not by each job
            if self._max_memory is not None:
                check_memory(self._max_memory, resident_bytes())
            store = self._engine.connection.store
            holdings = Holdings()
            connection = self._engine.connection
            self._outage = outage = Outage(self._clock, self._events, connection.revive if connection.is_embedded else None)
            outage.met(connection.info.run_id if connection.info else "")
            pulse = Pulse(asyncio.get_running_loop())
            stack.callback(pulse.close)
            self._build(store, holdings, outage, resources, pulse)
            keeper = self._keeper(holdings)
            wait = self._engine.settings.connect_timeout
            await store.link.patient(lambda: store.check_rights("worker", self._specs[0].name), timeout=wait)
            for bell in self._bells:
                await bell.begin(wait)
            for beat in [service for service in self._services if isinstance(service, Heartbeat)]:
                await beat.begin(wait)  # before it claims: who is not known is never forgotten
            keeper.start()
            self._tell_start(connection.info)
            try:
                drained = await self._work()
            finally:
                await keeper.stop()
            await self._leave(store)
            released = sum(pool.released for pool in self._pools.values())
            self._events.emit(WorkerStopped(worker=self.name, drained=drained, released=released, at_ms=self._clock.now_ms()))
            return drained

    def _tell_start(self, info: ServerInfo | None) -> None:
        now_ms = self._clock.now_ms()
        slots = self._slots or sum(pool.concurrency for pool in self._pools.values())
        known = info.durability if info is not None else ""
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        queues = tuple(self._pools)
        self._events.emit(WorkerStarted(worker=self.name, queues=queues, slots=slots, durability=known, loop=loop, at_ms=now_ms))

    def _dangers(self, info: ServerInfo) -> list[tuple[str, str]]:
        """What of the server puts jobs at risk: nobody runs `engine doctor` all the time."""
        found = [(one.what, one.mend) for one in server_findings(info) if one.level == "problem"]
        try:
            self._engine.connection.check(info)
        except StoreUnsuitable as error:
            found.append((str(error), "a worker that starts now is refused: engine doctor says what to set"))
        return found

    @property
    def _bells(self) -> list[Bell]:
        return [service for service in self._services if isinstance(service, Bell)]

    # --- putting together --------------------------------------------------------------------------------------------

    async def _enter_lifespans(self, stack: AsyncExitStack) -> dict[type, object]:
        resources: dict[type, object] = {}
        for lifespan in self._engine.lifespans:
            value = await stack.enter_async_context(lifespan())
            for resource in value if isinstance(value, tuple) else (value,):
                if resource is not None:
                    resources[type(resource)] = resource
        return resources

    def _build(
        self, store: RedisStore, holdings: Holdings, outage: Outage, resources: Mapping[type, object], pulse: Pulse
    ) -> None:
        clock, events = self._clock, self._events
        desk = Desk(self._slots) if self._slots else None
        for spec in self._specs:
            promoter = Promoter(spec.name, store, clock=clock, events=events)
            reclaimer = Reclaimer(spec, store, worker=self.name, clock=clock, events=events)
            self._pools[spec.name] = Pool(
                spec,
                store,
                worker=self.name,
                clock=clock,
                events=events,
                holdings=holdings,
                outage=outage,
                resources=resources,
                pulse=pulse,
                concurrency=self._concurrency,
                desk=desk,
                on_due=promoter.hear,
                on_busy=reclaimer.hear,
            )
            self._promoters[spec.name] = promoter
            self._services += [
                promoter,
                reclaimer,
                Sweeper(spec, store, clock=clock, events=events),
            ]
        slots = [(pool.spec, pool.concurrency) for pool in self._pools.values()]
        self._services.append(
            Heartbeat(slots, store, worker=self.name, version=__version__, holdings=holdings, clock=clock, events=events)
        )
        info = self._engine.connection.info
        self._services.append(ServerWatch(store, self._specs[0].name, self._dangers, info, clock=clock, events=events))
        if self._max_memory is not None:
            self._services.append(
                Memory(self._max_memory, worker=self.name, clock=clock, events=events, on_exceeded=self._leave_for_memory)
            )
        names, share = list(self._pools), 1 if store.link.is_cluster else QUEUES_A_BELL  # a cluster has them on several servers
        for queues in [names[i : i + share] for i in range(0, len(names), share)]:
            self._services.append(
                Bell(
                    store,
                    queues,
                    clock=clock,
                    events=events,
                    outage=outage,
                    on_ring=self._rung,
                    on_cancel=lambda queue, job_id: self._asked(queue, {job_id}),
                )
            )

    def _leave_for_memory(self) -> None:
        self.is_over_memory = True
        self._stop.set()

    def _rung(self, queue: str) -> None:
        if not self._pools[queue].ring():
            self._promoters[queue].look()

    def _keeper(self, holdings: Holdings) -> LeaseKeeper:
        def lost(queue: str, entries: set[str]) -> None:
            held = holdings.of(queue)
            self._pools[queue].tell([held[e] for e in entries if e in held], "lost")

        leases_ms = {spec.name: spec.lease_ms for spec in self._specs}
        return LeaseKeeper(
            holdings,
            functools.partial(self._engine.connection.new_store, time_limit(leases_ms.values())),
            leases_ms,
            worker=self.name,
            clock=self._clock,
            reports=Reports(lost=lost, asked=self._asked, blocked=self._blocked),
        )

    def _asked(self, queue: str, job_ids: set[str]) -> None:
        pool = self._pools[queue]
        pool.tell(pool.held_by_ids(job_ids), "cancel")

    def _blocked(self, seconds: float, where: str) -> None:
        # from the keeper's thread and at once: the loop may never come back to tell it
        self._events.emit(LoopBlocked(worker=self.name, seconds=seconds, where=where, at_ms=self._clock.now_ms()))

    # --- working and stopping ----------------------------------------------------------------------------------------

    async def _work(self) -> bool:
        async with asyncio.TaskGroup() as group:
            duties = {group.create_task(service.run(), name=repr(service)) for service in self._services}
            pools = [group.create_task(pool.run(), name=f"{pool.spec.name}/pool") for pool in self._pools.values()]
            if self._burst:
                group.create_task(self._watch_for_end(), name="burst")
            stopped = group.create_task(self._stop.wait(), name="stop")
            await asyncio.wait({stopped, *pools}, return_when=asyncio.FIRST_COMPLETED)  # a pool ends early only by an error
            self._stop.set()
            drained = await self._drain(set(pools))
            await self._dismiss(duties)
        return drained

    async def _drain(self, pools: set[asyncio.Task[None]]) -> bool:
        self._events.emit(WorkerDraining(worker=self.name, at_ms=self._clock.now_ms()))
        for pool in self._pools.values():
            pool.stop()
        limit = self._engine.settings.drain_timeout if self._drain_timeout is None else self._drain_timeout
        if await self._ended(pools, limit, or_hurry=True):
            return True
        for pool in self._pools.values():
            pool.cancel_running()
        if await self._wound_up(pools) and await self._ended(pools, self._left()):
            return False
        for pool in self._pools.values():
            pool.abandon()
        if not await self._ended(pools, min(self._left(), AT_ONCE)):
            for _ in range(2):  # the first ends a call that nobody answers, the second the wait for handlers that do not listen
                for task in pools:
                    task.cancel()
                await self._ended(pools, AT_ONCE)
        return False

    async def _wound_up(self, pools: set[asyncio.Task[None]]) -> bool:
        """Wait until no handler runs any more; False when some do not listen."""
        deadline = self._clock.mono() + CANCEL_GRACE
        while any(pool.is_running for pool in self._pools.values()):
            if self._clock.mono() >= deadline:
                return False
            await asyncio.wait(pools, timeout=AT_ONCE / 10, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _dismiss(self, duties: set[asyncio.Task[None]]) -> None:
        """End the services. A call of theirs that is not answered is cut off: whoever comes next does it again."""
        for service in self._services:
            service.stop()
        for bell in self._bells:
            await bell.close()
        if not await self._ended(duties, self._left()):
            for task in duties:
                task.cancel()

    def _left(self) -> float:
        """Seconds for last calls: none while the server is away."""
        if self._leave_by_mono is None:
            self._leave_by_mono = self._clock.mono() + LEAVE_TIMEOUT
        return 0.0 if self._outage.is_on else max(self._leave_by_mono - self._clock.mono(), 0.0)

    async def _ended(self, pools: set[asyncio.Task[None]], seconds: float, *, or_hurry: bool = False) -> bool:
        """Wait until all pools have ended; False when time is up, or a second `stop` came."""
        deadline = self._clock.mono() + seconds
        hurry = {asyncio.ensure_future(self._hurry.wait())} if or_hurry else set()
        try:
            while pending := {task for task in pools if not task.done()}:
                left = deadline - self._clock.mono()
                if left <= 0 or any(h.done() for h in hurry):
                    return False
                await asyncio.wait(pending | hurry, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return True
        finally:
            for future in hurry:
                future.cancel()

    async def _watch_for_end(self) -> None:
        """Burst: stop once no job is left that could run by itself soon."""
        store = self._engine.connection.store
        while not self._stop.is_set():
            if all(pool.is_idle for pool in self._pools.values()):
                ask = [functools.partial(store.counts, queue) for queue in self._pools]
                counts = [await store.link.patient(one, timeout=None) for one in ask]
                if not any(c.waiting + c.active + c.retrying + c.blocked for c in counts):
                    self.stop()
                    return
            await self._clock.sleep(0.05)

    async def _leave(self, store: RedisStore) -> None:
        try:
            async with asyncio.timeout(self._left()):
                for queue in self._pools:
                    try:
                        await store.leave(queue, self.name)
                    except StoreRefused as error:
                        if not is_damage(error):
                            raise  # the others are refused as well
        except (StoreError, TimeoutError):
            return  # the server is away; the sweepers of others forget this worker
