"""Lease keeper: renews what this process holds, from a thread with its own connections and event loop.

A handler that blocks the main loop is no crash: what the process holds is renewed while it lives. Once the blocking handler's
time is up and another lease has passed, the loop counts as dead: nothing is renewed, and other workers take over what it holds.
The thread also notices that the loop does not turn, and says which handler is at it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from ..clock import Clock
from ..errors import StoreError
from ..store.claim import Claim
from ..store.patience import pause
from ..store.redis_store import RedisStore
from ..store.translate import is_passing
from .abreast import abreast
from .holdings import Holdings

TICK = 0.25
"""Seconds between two looks; a look without anything to renew costs no call."""
BLOCKED = 1.0
"""Seconds the loop may be away before it is told: a handler that computes so long should be a plain `def`, run in a thread."""

QUEUES_AT_ONCE, MOST_AT_ONCE = 8, 32
"""For so many queues whose leases are due there is one connection, up to so many. With one for all, 100 queues of a server 20 ms
away took longer than a lease of 2 s: all of them were lost."""

MANY_TRIES = 10
"""A queue that was refused is asked again after the pause that follows so many tries: only people can mend that."""

LEAST_LIMIT = 0.5
"""Seconds that a renewal has at least for its answer: less would take a busy server for a dead connection."""

FROZEN = "nowhere: the whole process stood still (stopped, suspended, or starved of processor time)"
LOCKED = "a call that held the interpreter lock, so it can't be named; look for big regexes and C calls"

_ENGINE = str(Path(__file__).resolve().parent.parent)


class Renewed(msgspec.Struct, frozen=True):
    """What one pass did."""

    renewed: int = 0
    lost: int = 0


class Reports(msgspec.Struct, frozen=True):
    """Whom the keeper tells. `lost` and `asked` are called on the main loop, `blocked` in the keeper's thread, at once."""

    lost: Callable[[str, set[str]], None]
    """Queue and entries whose lease another worker has now."""
    asked: Callable[[str, set[str]], None]
    """Queue and ids of jobs that somebody asked to cancel."""
    blocked: Callable[[float, str], None]
    """Seconds so far, and where the loop is."""


def time_limit(leases_ms: Iterable[int]) -> float:
    """Seconds a renewal may wait for its answer: a third of the shortest lease, so that after a connection that swallowed one
    there is time for another, however long ENGINE_SOCKET_TIMEOUT is."""
    return max(min(leases_ms) / 3000, LEAST_LIMIT)


class LeaseKeeper:
    """One a process, for all its queues."""

    def __init__(
        self,
        holdings: Holdings,
        open_store: Callable[[], RedisStore],
        leases_ms: Mapping[str, int],
        *,
        worker: str,
        clock: Clock,
        reports: Reports,
    ) -> None:
        self._holdings = holdings
        self._open_store = open_store
        self._leases_ms = leases_ms
        self._worker = worker
        self._clock = clock
        self._reports = reports
        self._thread: threading.Thread | None = None
        self._main: asyncio.AbstractEventLoop | None = None
        self._main_thread = 0
        self._leave: Callable[[], object] | None = None
        self._pinged_mono = 0.0
        self._unread_mono: dict[str, float] = {}
        """When what is pending for us, known or not, was last renewed."""
        self._refused_until_mono: dict[str, float] = {}
        """Until when a queue is left alone whose renewal the server refused: its data is damaged, or we lack a right."""
        self._told = False
        self._last_tick = 0.0
        self._last_cpu = 0.0
        self._begun = threading.Event()
        self._failed_passes = 0
        self.renewals = 0
        """Entries renewed since the start; a keeper that never renews is a fault that tests look for."""

    def __repr__(self) -> str:
        state = "on duty" if self._thread else "off"
        return f"<LeaseKeeper {state}, {self.renewals} renewed, {self._failed_passes} passes failed>"

    def start(self) -> None:
        """Begin in a thread; call on the main loop."""
        self._main = asyncio.get_running_loop()
        self._main_thread = threading.get_ident()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="engine-leases", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; call when nothing is held any more."""
        if self._thread is not None:
            await asyncio.to_thread(self._begun.wait, 10.0)
        if self._leave is not None:
            self._leave()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 10.0)
            self._thread = None

    async def _run(self) -> None:
        store = self._open_store()
        leaving = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._leave = lambda: loop.call_soon_threadsafe(leaving.set)
        self._begun.set()
        self._last_tick, self._last_cpu = self._clock.mono(), self._clock.cpu()
        try:
            async with asyncio.TaskGroup() as group:  # apart: a renewal that waits for its answer holds up no look at the loop
                duties = [group.create_task(self._watch()), group.create_task(self._renew(store))]
                await leaving.wait()
                for duty in duties:
                    duty.cancel()
        finally:
            await store.close()

    async def _watch(self) -> None:
        while True:
            self._watch_loop()
            await self._clock.sleep(TICK)

    async def _renew(self, store: RedisStore) -> None:
        failures = 0
        while True:
            wait = TICK
            try:
                await self.run_once(store)
                failures = 0
            except StoreError as error:  # the pools tell of the outage; leases are renewed as soon as it ends
                self._failed_passes += 1
                if is_passing(error):  # else only what was refused waits, see `_renew_held`
                    failures += 1
                    wait = max(pause(failures, error, self._clock.random()), TICK)
                    if store.link.is_cluster:  # the queues of the other nodes can't wait so long
                        wait = TICK
            await self._clock.sleep(wait)

    async def run_once(self, store: RedisStore) -> Renewed:
        """Renew everything older than a third of its lease, in one call a queue: the oldest first, some side by side.

        Raises:
            StoreError: one of the calls failed; the others were made, unless the one server of all is away.
        """
        now, done = self._clock.mono(), list[Renewed]()
        due: list[tuple[float, Callable[[], Awaitable[None]]]] = []
        for queue, claims in self._holdings.snapshot().items():
            lease, since_mono = self._leases_ms[queue] / 1000, min(claim.renewed_mono for claim in claims)
            if now - since_mono > lease / 3 and now >= self._refused_until_mono.get(queue, 0.0):
                due.append((since_mono + lease, partial(self._renew_held, store, queue, claims, done)))
        if self._pinged_mono:
            for queue in self._leases_ms:
                lease, since_mono = self._leases_ms[queue] / 1000, max(self._pinged_mono, self._unread_mono.get(queue, 0.0))
                if self._holdings.asked(queue) and now - since_mono > lease / 3:
                    due.append((since_mono + lease, partial(self._renew_unread, store, queue)))
        due.sort(key=lambda one: one[0])
        one_server = not store.link.is_cluster
        # in a cluster each has a place of its own: who waits for a node that is away holds up no other
        places = -(-len(due) // QUEUES_AT_ONCE) if one_server else len(due)
        await abreast([call for _, call in due], min(places, MOST_AT_ONCE), one_server=one_server)
        return Renewed(sum(one.renewed for one in done), sum(one.lost for one in done))

    async def _renew_held(self, store: RedisStore, queue: str, claims: list[Claim], done: list[Renewed]) -> None:
        """All of them, also the younger ones: then the queue's next call is a third of a lease away, not a tick."""
        now = self._clock.mono()
        if self._is_dead(now, self._leases_ms[queue] / 1000):
            return
        try:
            lost, asked = await store.renew(queue, self._worker, claims)
        except StoreError as error:
            if not is_passing(error):
                self._refused_until_mono[queue] = now + pause(MANY_TRIES, error, self._clock.random())
            raise
        gone = set(lost)
        kept = [claim for claim in claims if claim.entry not in gone]
        for claim in kept:
            claim.renewed_mono = now
        # settled while the call was under way is not lost: only what is still held counts
        really = {e for e in gone if e in self._holdings.of(queue)}
        self.renewals += len(kept)
        done.append(Renewed(len(kept), len(really)))
        if really:
            self._on_main(self._reports.lost, queue, really)
        if asked:
            self._on_main(self._reports.asked, queue, set(asked))

    async def _renew_unread(self, store: RedisStore, queue: str) -> None:
        """While the loop is away, an answer may lie there unread: what it gave us is ours, and not in the holdings."""
        now = self._clock.mono()
        if not self._is_dead(now, self._leases_ms[queue] / 1000):
            await store.renew_all(queue, self._worker)
            self._unread_mono[queue] = now

    def _is_dead(self, now: float, lease: float) -> bool:
        """The loop is blocked, and longer than the handler at it may run; code that is no handler's may block it for ten leases.
        An attempt past its deadline on a loop that turns is still renewed: its slot gives it up and settles it."""
        if not self._pinged_mono or now - self._pinged_mono < BLOCKED:
            return False
        blocking = self._blocking()
        return now > (blocking.deadline_mono if blocking else self._pinged_mono + 10 * lease)

    def _on_main(self, report: Callable[[str, set[str]], None], queue: str, what: set[str]) -> None:
        if self._main is None:
            report(queue, what)
        else:
            self._main.call_soon_threadsafe(report, queue, what)

    # --- the loop's pulse --------------------------------------------------------------------------------------------

    def _watch_loop(self) -> None:
        now = self._clock.mono()
        cpu = self._clock.cpu()
        gap, self._last_tick = now - self._last_tick, now
        used, self._last_cpu = cpu - self._last_cpu, cpu
        if gap > TICK + BLOCKED:
            # this thread was held up as well: nothing ran, or something kept the interpreter lock
            self._reports.blocked(gap, FROZEN if used < gap / 4 else LOCKED)
            self._pinged_mono, self._told = 0.0, False  # the loop is only catching up
        if self._pinged_mono and now - self._pinged_mono > BLOCKED and not self._told:
            self._told = True
            self._reports.blocked(now - self._pinged_mono, self._where())
        if not self._pinged_mono and self._main is not None:
            self._pinged_mono = now
            self._main.call_soon_threadsafe(self._pong)

    def _pong(self) -> None:
        self._pinged_mono, self._told = 0.0, False

    def _blocking(self) -> Claim | None:
        """What the slot runs that the loop is in now."""
        task = asyncio.current_task(self._main) if self._main is not None else None
        if task is None:
            return None
        return next((c for claims in self._holdings.snapshot().values() for c in claims if c.slot is task), None)

    def _where(self) -> str:
        running = self._blocking()
        who = f"handler {running.name} ({running.full_id})" if running else "no handler"
        frame = sys._current_frames().get(self._main_thread)
        if frame is None:
            return who
        stack = [f for f in traceback.extract_stack(frame) if not f.filename.startswith(_ENGINE)]
        inner = stack[-1] if stack else traceback.extract_stack(frame)[-1]
        return f"{who} at {Path(inner.filename).name}:{inner.lineno} in {inner.name}"
