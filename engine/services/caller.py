"""Caller: sends a pool's numbered calls, each until it is answered.

One in flight: the number makes a repeat harmless, and what finishes meanwhile goes with the next. After trouble it sends
nothing before it knows which server answers.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import StoreError
from ..events import DataLoss, Events, ServiceFailed
from ..store.patience import pause
from ..store.redis_store import RedisStore
from ..store.settles import Settles
from ..store.translate import is_damage
from ..store.work import StepReply
from .base import trouble
from .holdings import Holdings
from .outage import Outage

GLANCES = 6
"""One in so many glances at an idle queue is a step, which believes nothing that was written down before."""
NEWS = 60.0
"""Seconds without it after which the same damage of a queue is told again."""

_pack = msgspec.msgpack.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """What came back. `settles` is what was settled in the end: less than was given when leases were lost meanwhile."""

    reply: StepReply
    settles: Settles
    sent_mono: float
    """When the call that was answered left: from then on the leases it granted count."""


class Caller:
    """The one line of calls between a pool and the store."""

    def __init__(
        self,
        spec: QueueSpec,
        store: RedisStore,
        *,
        worker: str,
        clock: Clock,
        holdings: Holdings,
        outage: Outage,
        events: Events,
        on_lost: Callable[[set[str]], None],
        is_gone: Callable[[], bool],
    ) -> None:
        self._spec = spec
        self._store = store
        self._worker = worker
        self._clock = clock
        self._holdings = holdings
        self._held = holdings.of(spec.name)
        self._outage = outage
        self._events = events
        self._on_lost = on_lost
        self._is_gone = is_gone
        self._wire = store.link.new_wire(spec.name)
        self._number = self._answered = 0
        self._glances = 0
        self._now = (0, 0.0)
        """The server's clock, ms, in the last answer, and when that came."""
        self._server = self._epoch = ""
        self._damage, self._damage_mono = "", 0.0
        """What of the queue can't be read, as it was told, and when that was last met."""

    def __repr__(self) -> str:
        return f"<Caller {self._spec.name} call {self._number}>"

    def server_now_ms(self) -> int:
        """The server's clock as of the last answer, carried on by our monotonic clock; exact to a round trip."""
        ms, mono = self._now
        return ms + int((self._clock.mono() - mono) * 1000) if ms else self._clock.now_ms()

    async def begin(self) -> None:
        """Remember which server process answers; waits for one."""
        self._server = await self._store.link.patient(lambda: self._store.server_epoch(self._spec.name), timeout=None)

    async def send(self, settles: Settles, want: int) -> Answer | None:
        """Settle these and claim up to `want`. None when the pool was abandoned while the server was away."""
        self._number += 1
        queue, tries = self._spec.name, 0
        self._holdings.ask(queue, want)
        first_mono = sent_mono = self._clock.mono()
        try:
            while True:
                try:
                    if tries:
                        settles = await self._after_trouble(settles)
                        sent_mono = self._clock.mono()
                    held = self._holdings.told(queue, len(self._held) - len(settles))
                    record = _pack((self._worker, settles.done)) if settles.done else b""
                    reply = await self._store.step(
                        self._wire, queue, self._worker, self._number, want, held, settles, record, self._spec.keep_notes_ms
                    )
                except StoreError as error:
                    if self._is_gone():
                        return None
                    tries += 1
                    if is_damage(error):
                        self._holdings.ask(queue, 0)  # refused, it brings nothing: a suspect elsewhere need not wait for the mend
                        await self._wait_for_mend(error, tries)
                        want = want if self._holdings.may_claim(queue) else 0
                        self._holdings.ask(queue, want)
                    else:
                        await self._outage.wait(error, tries)
                else:
                    self._answered_by(reply)
                    # what an earlier sending claimed is leased since then
                    return Answer(reply, settles, sent_mono if reply.status != "again" else first_mono)
        finally:
            self._holdings.ask(queue, 0)

    async def should_look(self) -> bool:
        """Nobody rang for a while: may there be work all the same? Asked for little; now and then yes without asking."""
        self._glances += 1
        if self._glances % GLANCES == 0:
            return True
        try:
            return await self._store.may_have_work(self._spec.name)
        except StoreError:
            return True  # the step that follows waits for the server and tells of the outage

    async def _wait_for_mend(self, error: StoreError, tries: int) -> None:
        """The queue's data is damaged. No outage: the other queues of this process are served meanwhile."""
        self._outage.over()
        now_mono = self._clock.mono()
        last_mono, self._damage_mono = self._damage_mono, now_mono
        if str(error) != self._damage or now_mono - last_mono > NEWS:  # some calls may go through meanwhile
            self._damage = str(error)
            told = trouble(self._spec.name, error)
            self._events.emit(ServiceFailed(service="Pool", error=told, at_ms=self._clock.now_ms()))
        await self._clock.sleep(pause(tries, error, self._clock.random()))

    async def _after_trouble(self, settles: Settles) -> Settles:
        """The connection broke. When another server process answers now, it may have rolled back: renew before settling, and
        drop what is lost, or a late settle would end the attempt of a new owner.

        Raises:
            StoreError: still away; nothing may be sent before this has gone through.
        """
        server = await self._store.server_epoch(self._spec.name)
        last = await self._store.last_call(self._spec.name, self._worker) if server != self._server else self._number
        if last != self._number:
            lost, _ = await self._store.renew(self._spec.name, self._worker, self._held.values())
            settles = settles.without(set(lost))
            self._on_lost(set(lost))
            if 0 < last < self._answered:  # 0: the whole queue is gone, which its epoch tells
                calls = self._answered - last
                self._tell(
                    f"{calls} answered calls of this worker are gone: a failover or a restart took them back. Jobs may run again"
                )
        self._server = server
        self._outage.met(server)
        return settles

    def _answered_by(self, reply: StepReply) -> None:
        self._outage.over()
        self._answered = self._number
        self._now = (reply.now_ms, self._clock.mono())
        if reply.epoch != self._epoch:
            if self._epoch:
                self._tell(
                    "the queue's data, or a stream of it, was removed or replaced: what was in flight is refused, new jobs run"
                )
            self._epoch = reply.epoch

    def _tell(self, what: str) -> None:
        self._events.emit(DataLoss(queue=self._spec.name, what=what, at_ms=self._clock.now_ms()))

    async def close(self) -> None:
        """Drop the connection."""
        await self._wire.drop()
