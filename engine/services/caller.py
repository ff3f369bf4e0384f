"""Caller: sends a pool's numbered calls, each until it is answered.

One in flight: the number makes a repeat harmless, and what finishes meanwhile goes with the next. After trouble it sends
nothing before it knows which server answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import StoreError
from ..events import DataLoss, Events
from ..store.redis_store import RedisStore
from ..store.rows import id_order
from ..store.settles import Settles
from ..store.work import StepReply
from .holdings import Holdings
from .outage import Outage

GLANCES = 6
"""One in so many glances at an idle queue is a step, which believes nothing that was written down before."""

WAIT = 30.0
"""Seconds, more or less, that an idle pool's call waits on the server; then it looks, and waits anew."""
OVERDUE = 1.0
"""Seconds within which it must be back when the bell has rung."""

_pack = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
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
        last_ring: Callable[[], str] = str,
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
        self._last_ring = last_ring
        self._heard = ""
        self._base = self._now = (0, 0.0)
        """The server's clock, ms, in the last ordinary answer, and when that call left; and when the last answer of any came."""
        self._waits = self._is_called_back = False
        self._server = self._epoch = ""

    def __repr__(self) -> str:
        return f"<Caller {self._spec.name} call {self._number}>"

    def server_now_ms(self) -> int:
        """The server's clock as of the last answer, carried on by our monotonic clock; exact to a round trip."""
        ms, mono = self._now
        return ms + int((self._clock.mono() - mono) * 1000) if ms else self._clock.now_ms()

    async def begin(self) -> None:
        """Remember which server process answers; waits for one."""
        self._server = await self._store.link.patient(self._store.server_epoch, timeout=None)

    async def send(self, settles: Settles, want: int) -> Answer | None:
        """Settle these and claim up to `want`. None when the pool was abandoned while the server was away."""
        self._number += 1
        self._hear(self._last_ring())
        return await self._deliver(settles, want)

    async def _deliver(
        self, settles: Settles, want: int, *, tries: int = 0, since_mono: float = 0.0, is_over: Callable[[], bool] = bool
    ) -> Answer | None:
        """Send the call of this number until it is answered; None when it failed and nobody asks for the answer any more.
        `tries`: so often it was sent before, first at `since_mono`."""
        queue = self._spec.name
        self._holdings.ask(queue, want)
        first_mono = sent_mono = self._clock.mono()
        try:
            while True:
                try:
                    if tries:
                        settles = await self._after_trouble(settles)
                        sent_mono = self._clock.mono()
                    held = len(self._held) - len(settles) + self._holdings.beside(queue)
                    record = _pack((self._worker, settles.done)) if settles.done else b""
                    reply = await self._store.step(
                        self._wire, queue, self._worker, self._number, want, held, settles, record, self._spec.keep_notes_ms
                    )
                except StoreError as error:
                    if self._is_gone() or is_over():
                        return None
                    tries += 1
                    await self._outage.wait(error, tries)
                else:
                    self._answered_by(reply)
                    self._base = (reply.now_ms, sent_mono)
                    # what an earlier sending claimed is leased since then
                    return Answer(reply, settles, sent_mono if reply.status != "again" else since_mono or first_mono)
        finally:
            self._holdings.ask(queue, 0)

    # --- an idle pool's call, which waits on the server ------------------------------------------------------------------

    @property
    def can_wait(self) -> bool:
        """True when it is known which ring of the bell comes next, and there is a connection that could be cut."""
        return self._heard != "" and self._wire.is_up

    async def claim_at_bell(self, want: int, *, is_over: Callable[[], bool]) -> Answer | None:
        """Claim up to `want` when the bell rings, or after half a minute; called back, answer what was claimed until then. None
        when the server is away and the pool abandoned, or `is_over`."""
        self._number += 1
        self._waits, self._is_called_back = True, False
        sent_mono = self._clock.mono()
        queue, seconds = self._spec.name, WAIT * (0.75 + 0.5 * self._clock.random())
        self._holdings.ask(queue, want)
        try:
            reply, heard = await self._store.step_at_bell(
                self._wire, queue, self._worker, self._number, want, self._heard, seconds, self._spec.keep_notes_ms
            )
        except StoreError as error:
            self._waits = False
            if self._is_gone():
                return None
            # whether it took effect is not known: the same number again is answered with what it claimed, if it did
            self._heard = ""
            if self._is_called_back:
                return await self._deliver(Settles(), 0, since_mono=sent_mono, is_over=is_over)
            await self._outage.wait(error, 1)  # a ring may have been lost with the connection, so it still wants its jobs
            return await self._deliver(Settles(), want, tries=1, since_mono=sent_mono, is_over=is_over)
        finally:
            self._waits = False
            self._holdings.ask(queue, 0)
        self._answered_by(reply)
        if heard:
            self._hear(heard)
        else:
            self._heard = ""
        return Answer(reply, Settles(), self._claimed_mono(reply.now_ms, sent_mono))

    def call_back(self) -> None:
        """The pool must attend to something else: end the call that waits."""
        if self._waits and not self._is_called_back:
            self._is_called_back = True
            self._wire.cut()

    def has_heard(self) -> bool:
        """The bell rang for this process: true when a call that waits on the server hears it too, or one that did has claimed.
        One that is not back in a moment has a dead connection, which is cut."""
        if self._waits:
            number = self._number
            self._clock.call_later(OVERDUE, lambda: self._wire.cut() if self._waits and number == self._number else None)
            return True
        ring = self._last_ring()
        return bool(self._heard and ring) and id_order(ring) <= id_order(self._heard)

    def _hear(self, ring: str) -> None:
        if ring and (not self._heard or id_order(ring) > id_order(self._heard)):
            self._heard = ring

    def _claimed_mono(self, now_ms: int, sent_mono: float) -> float:
        """When the leases of such a call began, by our clock and rather too early: the server's clock tells how long after the
        last ordinary call that was. Should that clock have jumped ahead, it was not later than now."""
        base_ms, base_mono = self._base
        return max(sent_mono, min(base_mono + (now_ms - base_ms - 1) / 1000, self._clock.mono()))

    async def should_look(self) -> bool:
        """Nobody rang for a while: may there be work all the same? Asked for little; now and then yes without asking."""
        self._glances += 1
        if self._glances % GLANCES == 0:
            return True
        try:
            return await self._store.may_have_work(self._spec.name)
        except StoreError:
            return True  # the step that follows waits for the server and tells of the outage

    async def _after_trouble(self, settles: Settles) -> Settles:
        """The connection broke. When another server process answers now, it may have rolled back: renew before settling, and
        drop what is lost, or a late settle would end the attempt of a new owner.

        Raises:
            StoreError: still away; nothing may be sent before this has gone through.
        """
        server = await self._store.server_epoch()
        last = await self._store.last_call(self._spec.name, self._worker) if server != self._server else self._number
        if last != self._number:
            lost, _ = await self._store.renew(self._spec.name, self._worker, [(c.tag, c.entry) for c in self._held.values()])
            settles = settles.without(set(lost))
            self._on_lost(set(lost))
            if 0 < last < self._answered:  # 0: the whole queue is gone, which its epoch tells
                calls = self._answered - last
                self._tell(
                    f"{calls} answered calls of this worker are gone: a failover or a restart took them back. Jobs may run again"
                )
        self._server = server
        self._heard = ""
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
