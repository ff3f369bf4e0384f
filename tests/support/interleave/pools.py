"""Pools: a real pool whose calls the test lets through one by one, so that a stop, a ring and a lost reply can come at any moment.

What a pool remembers can't be put back, so each order here is run from its beginning, on a queue of its own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from engine import Clock
from engine.errors import StoreUnanswered
from engine.events import Event, Events, JobCompleted, LeaseLost
from engine.keys import GROUP, prefix
from engine.services.holdings import Holdings
from engine.services.outage import Outage
from engine.services.pool import Pool
from engine.services.pulse import Pulse
from engine.store.claim import Claim
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from engine.store.work import StepReply
from tests.support.factory import Hand, body, enqueue, handler, spec
from tests.support.faults import Proxy, calls

from .facts import LIVE, Facts, look
from .state_laws import LawBroken, check_state

_queues = itertools.count()
SECONDS = 20.0
"""Within which whatever must happen has happened."""


class Waiting:
    """A call that a pool has sent."""

    def __init__(self, run: Callable[[], Awaitable[StepReply]]) -> None:
        self.run = run
        self.reply: StepReply | None = None
        self.answer: asyncio.Future[StepReply] = asyncio.get_running_loop().create_future()


class GatedStore(RedisStore):
    """A store whose `step` waits for the test: `serve` lets the server do it, `give` lets its answer through or loses it."""

    is_open = True
    """Calls go through by themselves."""
    server = "this one"
    """Which server process answers, as the pool is told."""

    def __init__(self, link: Link, clock: Clock) -> None:
        super().__init__(link, clock)
        self.calls: list[Waiting] = []

    async def step(self, *args: Any) -> StepReply:
        """As ever, but when the test says so."""
        real = super().step
        if self.is_open:
            return await real(*args)
        call = Waiting(lambda: real(*args))
        self.calls.append(call)
        return await call.answer

    async def server_epoch(self, queue: str = "") -> str:
        """What the test says."""
        return self.server

    async def serve(self) -> None:
        """The server does the oldest call that it has not done, whoever still waits for it."""
        for call in self.calls:
            if call.reply is None:
                try:
                    call.reply = await call.run()
                except StoreUnanswered:
                    if not call.answer.cancelled():
                        raise
                    self.calls.remove(call)  # whoever sent it gave it up and closed its connection: the laws see what came of it
                return

    def give(self, is_lost: bool) -> None:
        """The answer to the call under way arrives, or is lost with its connection."""
        for call in self.calls:
            if not call.answer.done() and is_lost:
                call.answer.set_exception(StoreUnanswered("the connection broke"))
            elif not call.answer.done() and call.reply is not None:
                call.answer.set_result(call.reply)

    async def open(self) -> None:
        """From now on everything goes through; what waits first."""
        self.is_open = True
        while any(call.reply is None for call in self.calls):
            await self.serve()
        self.give(is_lost=False)


class Bench:
    """One pool of one queue, its events kept."""

    def __init__(self, store: GatedStore, queue: str, *handlers: Any) -> None:
        self.store, self.queue = store, queue
        clock = Clock()
        events = Events(clock)
        self.told: list[Event] = []
        events.subscribe(self.told.append)
        self.pulse = Pulse(asyncio.get_running_loop())
        self.pool = Pool(
            spec(queue, *handlers),
            store,
            worker="w1",
            clock=clock,
            events=events,
            holdings=Holdings(),
            outage=Outage(clock, events),
            resources={},
            pulse=self.pulse,
        )

    async def facts(self) -> Facts:
        """All there is of the queue."""
        return await look(self.store, self.queue, {})


@asynccontextmanager
async def benches(url: str, *handlers: Any) -> AsyncIterator[Bench]:
    """A pool that is idle, and a queue that is gone afterwards."""
    store = GatedStore(Link(url, clock=Clock()), Clock())
    bench = Bench(store, f"pool-{next(_queues)}", *handlers)
    run = asyncio.ensure_future(bench.pool.run())
    try:
        await _until(lambda: bench.pool.is_idle, "the pool has looked and found nothing")
        yield bench
        bench.pool.stop()
        await store.open()
        try:
            async with asyncio.timeout(SECONDS):
                await run
        except TimeoutError:
            raise LawBroken("a stopped pool does not end") from None
        await _law(bench)
    finally:
        run.cancel()
        bench.pulse.close()
        while not (await store.obliterate(bench.queue, force=True)).is_done:
            continue
        await store.close()


async def _law(bench: Bench) -> None:
    """A pool that has ended leaves nothing claimed, and what it gave back as it was."""
    facts = await bench.facts()
    check_state(facts)
    mine = [job_id for owner, job_id, _ in facts.pending.values() if owner == "w1"]
    if mine:
        raise LawBroken(f"{mine} are still claimed for a pool that has ended: they stand still for a lease, and stall")
    for job_id in facts.many(*LIVE):
        spot = facts.spots[job_id][0]
        if (spot.attempt, spot.stalls) != (1, 0):
            raise LawBroken(f"{job_id} was given back at attempt {spot.attempt} with {spot.stalls} stalls")


async def _until(holds: Callable[[], bool], what: str) -> None:
    deadline_mono = asyncio.get_running_loop().time() + SECONDS
    while not holds():
        if asyncio.get_running_loop().time() > deadline_mono:
            raise LawBroken(f"not within {SECONDS:g} s: {what}")
        await asyncio.sleep(0.001)


def merges(programs: list[list[str]]) -> Iterator[list[str]]:
    """Every order that keeps each program's own."""
    if not any(programs):
        yield []
    for i, program in enumerate(programs):
        if program:
            for order in merges([*programs[:i], program[1:], *programs[i + 1 :]]):
                yield [program[0], *order]


async def _settle() -> None:
    """Let everything that can go on without the server do so."""
    for _ in range(30):
        await asyncio.sleep(0)


async def run_order(url: str, order: list[str]) -> None:
    """One order, from its beginning: LawBroken with the order and the sentence."""
    try:
        async with benches(url) as bench:
            store, n = bench.store, 0
            store.is_open = False
            for act in order:
                match act:
                    case "add":
                        n += 1
                        await enqueue(store, bench.queue)
                    case "ring":
                        bench.pool.ring()
                    case "serve":
                        await store.serve()
                    case "stop":
                        bench.pool.stop()
                    case _:
                        store.give(is_lost=act == "lose")
                await _settle()
            if "stop" not in order:
                await store.open()
                bench.pool.ring()
                await _until(lambda: len([e for e in bench.told if isinstance(e, JobCompleted)]) == n, f"{n} jobs complete")
    except LawBroken as broken:
        raise LawBroken(f"{' '.join(order)}\n{broken}") from broken


POOL_ORDERS: dict[str, tuple[tuple[str, ...], int]] = {
    "a stop at any moment": (("add", "ring", "serve", "give", "stop"), 120),
    "a stop at any moment, and a lost reply": (("add", "ring", "serve", "lose", "stop"), 120),
    "a lost reply, and another ring": (("add ring", "serve", "lose give", "ring"), 180),
}
"""Programs, and how many orders they have."""


async def run_pool_orders(url: str, name: str) -> int:
    """Every order; how many there were."""
    count = 0
    for order in merges([program.split() for program in POOL_ORDERS[name][0]]):
        await run_order(url, order)
        count += 1
    return count


async def settle_meets_another_server(url: str) -> None:
    """A worker's settle meets a server that took over with less than its predecessor knew: there, another worker has the entry.
    LawBroken when the settle ends that other worker's attempt, or is recorded."""
    may_end = asyncio.Event()

    async def run(payload: object) -> None:
        await may_end.wait()

    async with Proxy(url) as proxy, benches(proxy.url, handler(run)) as bench:
        store, queue = bench.store, bench.queue
        direct = RedisStore(Link(url, clock=Clock()), Clock())
        try:
            (job_id,) = await enqueue(direct, queue, data=body(payload=1))
            bench.pool.ring()
            await _until(lambda: len(bench.pool.held_by_ids({job_id})) == 1, "the pool has claimed the job")
            (entry,) = (await bench.facts()).pending
            await direct.link.call("XCLAIM", prefix(queue) + "ready:5", GROUP, "w2", 0, entry, "JUSTID")
            await direct.link.call("HDEL", prefix(queue) + "meta", "w:w1")
            store.server = "its successor"
            proxy.cut(calls("step"), "before")
            may_end.set()
            await _until(lambda: any(isinstance(e, (JobCompleted, LeaseLost)) for e in bench.told), "the pool tells the end")
            owner = (await bench.facts()).pending.get(entry, ("nobody",))[0]
            if owner != "w2" or any(isinstance(e, JobCompleted) for e in bench.told):
                raise LawBroken(f"w1 settled at a server that it had not asked: {entry} was w2's there, and is {owner}'s now")
            ((_, fields),) = await direct.link.call("XRANGE", prefix(queue) + "ready:5", entry, entry)
            if await Hand(direct, queue, "w2").complete(Claim.read(queue, "5", entry, fields[1], 0.0)):
                raise LawBroken(f"w2, which holds {entry}, was refused")
        finally:
            await direct.close()
