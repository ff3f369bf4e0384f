"""Pool: claims jobs of one queue, runs them in `concurrency` slots, settles them.

One script call is in flight: it settles everything that finished since the last one and claims as much as there is room
for, so batches grow by themselves under load and shrink to one when idle. A slot is a coroutine that lives as long as the
pool; a job costs no task and no round trip of its own. What waits in the prefetch buffer is leased like what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ..clock import Clock
from ..declared import QueueSpec
from ..errors import BadPayload
from ..events import Event, Events, HandlerStuck, LeaseLost, ServiceFailed
from ..masking import mask_text
from ..store.claim import Claim, Phase, Told
from ..store.redis_store import RedisStore
from ..store.settles import Settles
from ..store.work import StepReply
from .caller import Caller
from .desk import Desk
from .doubt import Doubt
from .executor import HandlerCancelled
from .gate import Gate
from .holdings import Holdings
from .outage import Outage
from .outbox import NOTHING, Outbox
from .places import Places
from .prefetch import Prefetch
from .pulse import Pulse
from .rest import Rest
from .runner import Runner
from .settling import Settler
from .slot import Slot
from .solo import Solo
from .turns import Turns

BATCH = 100
"""Most settles, and most claims, of one call: about 15 us each keeps the script under 2 ms."""
FLUSH = 64
"""Settles after which a slot lets the loop turn, so that the next call leaves while it goes on."""


class Pool:
    """The slots of one queue in this process."""

    def __init__(
        self,
        spec: QueueSpec,
        store: RedisStore,
        *,
        worker: str,
        clock: Clock,
        events: Events,
        holdings: Holdings,
        outage: Outage,
        resources: Mapping[type, object],
        pulse: Pulse,
        concurrency: int | None = None,
        desk: Desk | None = None,
        on_due: Callable[[int, int], None] | None = None,
        on_busy: Callable[[], None] | None = None,
    ) -> None:
        self.spec = spec
        self.concurrency = concurrency or spec.concurrency
        self._clock = clock
        self._events = events
        self._holdings = holdings
        self._held = holdings.of(spec.name)
        self._desk = desk
        self._on_due = on_due
        self._on_busy = on_busy
        self._caller = Caller(
            spec, store, worker=worker, clock=clock, holdings=holdings, outage=outage, events=events,
            on_lost=self._drop, is_gone=lambda: self._gone,
        )  # fmt: skip
        self._settler = Settler(spec, worker, events, self._caller.server_now_ms)
        self._runner = Runner(
            spec, store, worker=worker, clock=clock, events=events, resources=resources, settler=self._settler,
            threads=self.concurrency, shut=self.shut, server_now_ms=self._caller.server_now_ms,
        )  # fmt: skip
        self._places = Places(
            self.concurrency, spec.name, pulse,
            serve=self._serve, is_over=lambda: self._gone, on_stuck=self._give_up, on_room=self._has_room,
        )  # fmt: skip
        self._outbox = Outbox()
        self._promised: dict[str, Event] = {}
        self._ready = Prefetch(clock, average=self._settler.slowest_average, give_back=self._give_back)
        self._doubt = Doubt(
            spec, store, worker=worker, clock=clock, held=self._held, on_lost=lambda claims: self.tell(claims, "lost"),
            on_asked=lambda claims: self.tell(claims, "cancel"),
        )  # fmt: skip
        self._turns = Turns(clock)
        self._sleep = Rest(clock)
        self._hungry = True
        self._running = 0
        self._solo = Solo(spec.name, holdings, clock)
        self._gate = Gate(spec.name, clock, events)
        self._stopping = False
        self._gone = False
        self.released = 0
        """Jobs given back because the worker stops."""
        holdings.watch(self.look)
        if desk is not None:
            desk.join(spec.name, spec.priority, self.concurrency, self._sleep.wake)

    def __repr__(self) -> str:
        state = "stopping" if self._stopping else "paused" if self._gate.is_closed else "on duty"
        return f"<Pool {self.spec.name} {state}, {self._running} of {self.concurrency} slots, {len(self._ready)} ahead>"

    # --- what others ask and tell ------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while a handler runs."""
        return self._running > 0

    @property
    def is_idle(self) -> bool:
        """True when nothing is held and the last look found nothing."""
        return not self._held and not self._hungry and not len(self._outbox)

    def look(self) -> None:
        """There may be work: the bell rang, a pause ended, a suspect's turn is over."""
        self._hungry = True
        self._sleep.wake()

    def ring(self) -> bool:
        """The bell rang. False when no slot is free: no claim follows soon."""
        self.look()
        return self._running < self._places.count

    def tell(self, claims: Iterable[Claim], why: Told) -> None:
        """Somebody asked to cancel these, or their lease is lost: running handlers are cancelled, the others not started."""
        for claim in list(claims):
            self._interrupt(claim, why)

    def held_by_ids(self, job_ids: set[str]) -> list[Claim]:
        """The claims of these jobs."""
        return [claim for claim in self._held.values() if claim.id in job_ids]

    def stop(self) -> None:
        """Claim no more and give back what was not started. Running handlers go on; see `cancel_running`."""
        self._stopping = True
        self._ready.shed()
        self._sleep.wake()

    def shut(self, is_done: bool) -> None:
        """A handler pauses the queue or closes its gate. Before the server knows (`is_done` false): start nothing more of what
        waits here, it would go to a provider that has just said no. After: what later calls bring counts again."""
        self._gate.shut(is_done)
        self._ready.shed()
        self.look()

    def cancel_running(self) -> None:
        """Cancel every handler that still runs; their jobs are released with their attempt."""
        self.tell(self._held.values(), "stop")

    def abandon(self) -> None:
        """End without waiting for handlers or the server: what is held lapses with its lease."""
        self._gone = True
        self._sleep.wake()

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim, run and settle until stopped and empty."""
        self._places.open()
        try:
            await self._caller.begin()
            await self._steps()
        finally:
            self._gone = True
            self._ready.close()
            try:
                await self._places.close()
            finally:
                await self._caller.close()

    async def _steps(self) -> None:
        while not self._gone:
            # a call that settles anyway also asks: handing a key over may have made the next job runnable
            want = max(self._want(), 0) if self._hungry or len(self._outbox) else 0
            if len(self._outbox) or want > 0:
                await self._step(want)
            elif self._stopping and not self._held:
                return
            else:
                await self._rest()

    async def _rest(self) -> None:
        limit = self._gate.until_ms  # nobody rings when its time is over
        left = max(limit - self._caller.server_now_ms(), 0) / 1000 + 0.002 if limit > 0 else None
        if await self._sleep.wait(left) and (limit > 0 or await self._caller.should_look()):
            self._hungry = True

    def _want(self) -> int:
        """How many jobs to claim now; below 1 for none."""
        queue = self.spec.name
        if self._stopping or self._gate.is_shutting or not self._holdings.may_claim(queue):
            if self._desk is not None:  # others may have what this queue does not use now
                self._desk.hunger(queue, False)
                self._desk.keep(queue, self._used)
            return 0
        if self._solo.is_on:
            return self._solo.want(len(self._outbox))
        if self._desk is not None:
            room = max(self._places.count - self._running - len(self._ready), 0)
            return self._ready.fitting(min(self._desk.share(queue, len(self._held), room), BATCH))
        places = self._places.count
        room = places - self._running + self._ready.ahead(places) - len(self._ready)
        return self._ready.fitting(min(room, BATCH - self._outbox.behind))

    # --- one call ----------------------------------------------------------------------------------------------------

    async def _step(self, want: int) -> None:
        """Send what finished, ask for `want`, take the answer in."""
        settles = self._outbox.take()
        if settles is not NOTHING:
            self._settler.pour(settles)
        if want > 0:
            self._hungry = False
        answer = await self._caller.send(settles, want)
        if answer is not None:
            self._accept(answer.reply, answer.settles, want, answer.sent_mono)
            if len(self._ready) and not self._hungry:
                await self._clock.sleep(0)  # the slots start what came before this pool prepares for its rest

    def _drop(self, lost: set[str]) -> None:
        """Another server process answers, and these leases did not come along: nothing may be settled for them."""
        self._outbox.drop(lost)
        for claim in [self._held[entry] for entry in lost if entry in self._held]:
            if claim.phase is Phase.ENDED:
                self._let_go(claim)
                self._report_lost(claim)
            else:
                self._interrupt(claim, "lost")

    def _accept(self, reply: StepReply, settles: Settles, want: int, sent_mono: float) -> None:
        self._gate.read(reply, sent_mono)
        if self._gate.is_closed:
            self._ready.shed()
            self._ready.beware()
        lost = set(reply.lost)
        for claim in settles.claims:
            self._held.pop(claim.entry, None)
            event = self._promised.pop(claim.entry, None)
            if claim.entry in lost:
                self._report_lost(claim)
            elif event is not None:
                self._events.emit(event)
        claimed = self._take_in(reply, sent_mono)
        self._holdings.count(self.spec.name)
        if self._on_busy is not None and claimed == len(self._held) > 0:
            self._on_busy()
        if claimed >= want > 0 or reply.status != "ok":
            self._hungry = True
        if self._desk is not None:
            self._desk.hunger(self.spec.name, self._hungry)
            self._desk.keep(self.spec.name, self._used)
        if self._solo.answered(is_told=reply.drain, has_asked=want > 0, held=self._held):
            self._hungry = True
        self._holdings.ended()
        if self._on_due is not None and reply.next_due_ms:
            self._on_due(reply.next_due_ms, reply.now_ms)

    def _take_in(self, reply: StepReply, sent_mono: float) -> int:
        taken = 0
        for tag, entry, value in reply.rows:
            if entry in self._held:
                continue  # an answer to a re-send lists everything pending
            taken += 1
            try:
                claim = Claim.read(self.spec.name, tag, entry, value, sent_mono)
            except BadPayload as error:
                claim = self._held[entry] = Claim.unreadable(self.spec.name, tag, entry, value, sent_mono)
                self._promise(claim, self._settler.bury_unread(self._outbox.fill(), claim, error, "?"))
                continue
            self._held[entry] = claim
            if claim.is_suspect:
                self._solo.took()
            if self._stopping or self._gate.is_closed:
                self._give_back(claim)
            else:
                self._ready.put(claim)
        self._ready.wake()
        return taken

    # --- slots -------------------------------------------------------------------------------------------------------

    async def _serve(self, slot: Slot) -> None:
        while True:
            while (claim := self._ready.take()) is not None:
                if claim.told == "lost":
                    self._sleep.wake()  # its place is free, and no settle says so
                    continue
                self._running += 1
                self._turns.begin()
                try:
                    if self._doubt.about(claim) and not await self._may_start(claim):
                        self._sleep.wake()  # as above
                        continue
                    await self._runner.run(claim, slot, self._outbox.fill, self._promise)
                except asyncio.CancelledError:
                    if not self._gone:
                        self._fault(claim, HandlerCancelled("a cancellation of the handler's own making came after it"))
                    raise
                except Exception as error:  # noqa: BLE001 - a fault of ours must end neither the slot nor the queue
                    self._fault(claim, error)
                finally:
                    if not slot.is_stuck:
                        self._running -= 1
                if slot.is_stuck:
                    return
                if len(self._outbox) >= FLUSH or self._turns.is_due():
                    await self._clock.sleep(0)
            if self._gone:  # its handler has answered the cancellation that was meant to end the slot
                return
            await self._ready.wait()

    async def _may_start(self, claim: Claim) -> bool:
        """Ask whether it is still ours; the queue may have closed, or we be stopping, by the time that is known."""
        await self._doubt.clear(claim)
        if claim.told != "lost" and (self._stopping or self._gate.is_closed):
            self._give_back(claim)
            return False
        return claim.told != "lost"

    def _give_up(self, slot: Slot) -> None:
        """Its handler did not end when its time was up and it was cancelled: settle without it."""
        claim = slot.claim
        assert claim is not None, "a slot is stuck in an attempt"
        self._running -= 1
        stuck = HandlerStuck(queue=claim.queue, id=claim.full_id, name=claim.name, at_ms=self._caller.server_now_ms())
        self._events.emit(stuck)
        self._runner.give_up(claim, self._outbox.fill, self._promise)

    def _has_room(self) -> None:
        """A handler was left behind, or one of these has ended: there are other places than before."""
        if self._desk is not None:
            self._desk.resize(self.spec.name, self._places.count)
        self.look()

    def _promise(self, claim: Claim, event: Event | None) -> None:
        """A claim's run is over; `event` is true once its settle is accepted."""
        claim.phase = Phase.ENDED
        if claim.told == "lost":
            self._let_go(claim)
            self._report_lost(claim)
        elif event is not None and self._events.wants(type(event)):
            self._promised[claim.entry] = event
        self._sleep.wake()

    def _fault(self, claim: Claim, error: Exception) -> None:
        """We failed around a handler. Its lease runs out: the job stalls, runs alone, and is dead at its limit."""
        self._let_go(claim)
        text = mask_text(f"{type(error).__name__}: {error} (with {claim.full_id})")
        self._events.emit(ServiceFailed(service="Pool", error=text, at_ms=self._clock.now_ms()))

    def _give_back(self, claim: Claim) -> None:
        self.released += self._stopping
        self._promise(claim, self._settler.release(self._outbox.fill(), claim))

    def _interrupt(self, claim: Claim, why: Told) -> None:
        if claim.told is not None or claim.phase is Phase.ENDED:
            return
        claim.told = why
        if claim.phase is Phase.RUNNING and claim.job is not None and claim.slot is not None:
            claim.job.cancelled = True
            claim.slot.cancel()
        elif why == "lost":
            self._let_go(claim)
            self._report_lost(claim)

    def _let_go(self, claim: Claim) -> None:
        """It is not ours any more, and no settle will say so: the slot it was granted is free."""
        self._held.pop(claim.entry, None)
        self._holdings.count(self.spec.name)
        self._promised.pop(claim.entry, None)
        if self._desk is not None:
            self._desk.keep(self.spec.name, self._used)
        self._holdings.ended()
        self._sleep.wake()

    @property
    def _used(self) -> int:
        """Slots that what is held needs, and what a call under way may bring."""
        return len(self._held) + self._holdings.asked(self.spec.name)

    def _report_lost(self, claim: Claim) -> None:
        self._events.emit(LeaseLost(queue=claim.queue, id=claim.full_id, name=claim.name, at_ms=self._caller.server_now_ms()))
