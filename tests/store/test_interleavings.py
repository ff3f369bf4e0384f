"""Interleavings: two workers, a reclaimer, a promoter and an operator, in every order in which their calls can reach the server.

A script is one atomic step, so an order of calls is all there is to a race. Each set-up is a few programs (who calls what, in
turn); every merge of them is run on a queue of its own, or a sample with a fixed seed where there are too many. After every call
the whole queue is looked at; at the end another worker finishes what is left, and everything must have ended exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from engine import Clock
from engine.keys import prefix
from engine.store.claim import Claim
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from engine.store.settles import Settles
from engine.store.work import StepReply
from tests.support.factory import Hand, enqueue, raw, read, whereabouts

ENDED = {"completed", "dead", "cancelled"}
HOLDS_KEY = {"waiting", "active", "retrying"}
_queues = itertools.count()


@dataclass(frozen=True)
class SetUp:
    """`programs`: one string a caller, its calls in turn. `most` orders are run, all when there are no more."""

    name: str
    programs: tuple[str, ...]
    jobs: int = 2
    keyed: bool = True
    stall_limit: int = 9
    most: int = 1500


SET_UPS = [
    SetUp("complete while leases run out", ("w1:claim w1:complete", "w2:claim w2:complete", "lapse lapse")),
    SetUp("one job, three takers", ("w1:claim w1:complete", "w2:claim w2:complete", "lapse", "lapse"), jobs=1, keyed=False),
    SetUp("two jobs without a key", ("w1:claim w1:retry", "w2:claim w2:complete", "lapse", "promote"), keyed=False),
    SetUp("retry and promote", ("w1:claim w1:retry", "w2:claim w2:complete", "promote", "lapse")),
    SetUp("replies lost", ("w1:claim? w1:again w1:complete? w1:again", "w2:claim w2:complete", "lapse")),
    SetUp("requests lost", ("w1:claim! w1:again w1:retry! w1:again", "w2:claim w2:complete", "lapse")),
    SetUp("settle and claim in one call, reply lost", ("w1:claim w1:swap? w1:again w1:complete", "w2:claim w2:swap", "lapse")),
    SetUp("a call that waits at the bell is called back", ("w1:claim! w1:back w1:complete w1:claim", "fire1", "w2:claim", "lapse")),
    SetUp("an older copy arrives late", ("w1:claim w1:complete w1:late w1:claim", "w2:claim w2:retry", "lapse")),
    SetUp("cancel of the first", ("w1:claim w1:retry", "w2:claim w2:complete", "cancel1", "lapse", "promote"), most=700),
    SetUp("cancel of the second", ("w1:claim w1:release", "w2:claim w2:complete", "cancel2", "lapse"), most=400),
    SetUp("renewals", ("w1:claim w1:renew w1:release", "w2:claim w2:renew w2:complete", "lapse1", "cancel2"), most=600),
    SetUp("stall limit and requeue", ("w1:claim w1:complete", "w2:claim w2:bury", "lapse", "requeue1"), stall_limit=0),
    SetUp("snooze, hasten, delete", ("w1:claim w1:snooze", "w2:claim w2:complete", "hasten1", "delete2", "lapse"), most=700),
    SetUp(
        "everything at once",
        (
            *("w1:claim? w1:again w1:renew w1:retry? w1:again", "w2:claim w2:renew w2:release w2:claim w2:complete"),
            *("lapse1", "lapse", "promote", "cancel2"),
        ),
        most=500,
    ),
]  # fmt: skip


def merges(programs: list[list[str]]) -> Iterator[list[str]]:
    """Every order that keeps each program's own."""
    if not any(programs):
        yield []
        return
    for i, program in enumerate(programs):
        if program:
            rest = [*programs[:i], program[1:], *programs[i + 1 :]]
            for order in merges(rest):
                yield [program[0], *order]


def sample(programs: list[list[str]], most: int, chance: random.Random) -> list[list[str]]:
    """All orders when there are at most `most`, else so many drawn evenly."""
    few = list(itertools.islice(merges(programs), most + 1))
    if len(few) <= most:
        return few
    drawn = []
    for _ in range(most):
        turns = [i for i, program in enumerate(programs) for _ in program]
        chance.shuffle(turns)
        left = [iter(program) for program in programs]
        drawn.append([next(left[i]) for i in turns])
    return drawn


@dataclass
class World:
    """One queue, its workers, and what was accepted so far."""

    store: RedisStore
    queue: str
    ids: list[str]
    set_up: SetUp
    hands: dict[str, Hand] = field(default_factory=dict)
    held: dict[str, list[Claim]] = field(default_factory=dict)
    calls: dict[str, list[tuple[int, Claim | None, str]]] = field(default_factory=dict)
    """Number, settled claim and verb of each call a worker made, for its repeats."""
    accepted: dict[str, list[str]] = field(default_factory=dict)
    waiting: dict[str, tuple[int, int, int, Settles, bytes]] = field(default_factory=dict)
    """Calls that were sent and have not taken effect."""
    requeued: bool = False

    async def act(self, call: str) -> None:
        """One call reaches the server, or is lost on its way."""
        who, _, what = call.rpartition(":")
        if who:
            await self._work(who, what)
        elif what.startswith("lapse"):
            await self._lapse(what.removeprefix("lapse"))
        elif what.startswith("fire"):
            await self._fire(f"w{what.removeprefix('fire')}")
        elif what == "promote":
            await self.store.promote(self.queue)
        else:
            job_id = self.ids[int(what[-1]) - 1]
            match what[:-1]:
                case "cancel":
                    await self.store.cancel(self.queue, job_id, "why")
                case "delete":
                    await self.store.delete(self.queue, job_id, "why")
                case "hasten":
                    await self.store.hasten(self.queue, job_id)
                case "requeue":
                    if await self.store.requeue(self.queue, [job_id]):
                        self.requeued = True
                        self.accepted.pop(job_id, None)

    async def _lapse(self, only: str) -> None:
        """Every lease ran out, or those of one worker, and somebody looks."""
        lease_ms = 10_000 if only else 0
        if only:
            hand = self._hand(f"w{only}")
            for claim in self.held[hand.name]:
                await hand.lapse(claim)
        await self.store.reclaim(self.queue, "r", lease_ms, self.set_up.stall_limit, {}, grace=False)

    def _hand(self, who: str) -> Hand:
        self.held.setdefault(who, [])
        self.calls.setdefault(who, [])
        return self.hands.setdefault(who, Hand(self.store, self.queue, who))

    async def _work(self, who: str, what: str) -> None:
        hand, held = self._hand(who), self.held[who]
        if what == "renew":
            if held:
                lost, _ = await hand.renew(*held)
                held[:] = [c for c in held if c.entry not in lost]
            return
        if what == "again":
            self._take_in(who, await hand.again())
            return
        if what == "late":
            await self._late(hand)
            return
        if what == "back":  # the same number again, and nothing wanted any more
            number, _, n_held, settles, record = hand._last
            hand._last = (number, 0, n_held, settles, record)
            self._take_in(who, await hand.again())
            return
        verb, fate = what.rstrip("?!"), what[-1]
        claim = held[0] if held and verb != "claim" else None
        if claim is not None:
            self._say(hand, verb, claim)
        if claim is None and verb not in ("claim", "swap"):
            verb = "nothing"
        self.calls[who].append((hand.number + 1, claim, verb))
        want = 1 if verb in ("claim", "swap") else 0
        if fate == "!":
            hand.prepare(want, len(held))
            self.waiting[who] = hand._last
            return
        reply = await hand.step(want, len(held) - (claim is not None))
        if fate != "?":
            self._take_in(who, reply)

    @staticmethod
    def _say(hand: Hand, verb: str, claim: Claim) -> None:
        match verb:
            case "complete" | "swap":
                hand.settles.complete(claim)
            case "retry":
                hand.settles.retry(claim, 0, "no", claim.repacked(attempt=claim.envelope.attempt + 1))
            case "snooze":
                hand.settles.snooze(claim, 3_600_000, claim.repacked())
            case "release":
                hand.settles.release(claim, claim.repacked())
            case "bury":
                hand.settles.bury(claim, b"", "f00d", "why", claim.repacked())

    def _take_in(self, who: str, reply: StepReply) -> None:
        assert reply.status in ("ok", "again"), reply.status
        _, claim, verb = self.calls[who][-1]
        if claim is not None and claim in self.held[who]:
            self.held[who].remove(claim)
            if claim.entry not in reply.lost:
                if verb in ("complete", "swap", "bury"):
                    self.accepted.setdefault(claim.id, []).append(verb)
            else:
                assert reply.lost == [claim.entry]
        known = {c.entry for c in self.held[who]}
        self.held[who] += [c for c in read(self.queue, reply) if c.entry not in known]

    async def _fire(self, who: str) -> None:
        """The server comes to a call that it had got and not begun; whoever sent it may have hung up."""
        if who in self.waiting:
            number, want, held, settles, record = self.waiting.pop(who)
            hand = Hand(self.store, self.queue, who)
            hand._last = (number, want, held, settles, record)
            assert (await hand.again()).status in ("ok", "again", "stale")

    async def _late(self, hand: Hand) -> None:
        """A copy of the call before the last comes out of a socket's buffer."""
        calls = self.calls[hand.name]
        if len(calls) < 2:
            return
        before = await whereabouts(self.store, self.queue)
        number, claim, verb = calls[-2]
        if claim is not None:
            self._say(hand, verb, claim)
        now, hand.number = hand.number, number - 1
        reply = await hand.step(1)
        hand.number = now
        assert reply.status == "stale"
        assert await whereabouts(self.store, self.queue) == before

    async def check(self) -> None:
        """What must hold after every call."""
        found = await whereabouts(self.store, self.queue)
        meta = await raw(self.store, self.queue, "HGETALL", "meta")
        removed = int(meta.get(b"removed", 0))
        lost = [job_id for job_id in self.ids if job_id not in found]
        assert len(lost) == removed, f"lost {lost}, removed {removed}"
        assert all(len(states) == 1 for states in found.values()), f"in two places: {found}"
        now = [found.get(job_id, ["removed"])[0] for job_id in self.ids]
        assert int(meta[b"enqueued"]) == len(self.ids)
        assert int(meta.get(b"completed", 0)) == now.count("completed")
        assert int(meta.get(b"cancelled", 0)) == now.count("cancelled")
        assert all(len(verbs) == 1 for verbs in self.accepted.values()), f"ended twice: {self.accepted}"
        if self.set_up.keyed:
            holders = [state for state in now if state in HOLDS_KEY]
            snoozed = now.count("scheduled")  # nothing here is delayed, so whoever is scheduled snoozes and holds the key
            assert len(holders) + snoozed <= 1, f"two jobs of one key can run: {now}"
            assert not ("blocked" in now and len(holders) + snoozed == 0), f"blocked behind nobody: {now}"
            if not self.requeued and now[0] not in ENDED | {"removed"}:
                assert now[-1] in ("blocked", "cancelled", "removed") or self.set_up.jobs == 1, f"overtaken: {now}"

    async def finish(self) -> None:
        """Another worker runs what is left; then nothing is left."""
        hand = Hand(self.store, self.queue, "last")
        for _ in range(30):
            for job_id in self.ids:
                await self.store.hasten(self.queue, job_id)
            await self.store.reclaim(self.queue, "r", 0, 99, {}, grace=False)
            claims = await hand.claim()
            if not claims and not await self._left():
                break
            for claim in claims:
                assert await hand.complete(claim) == []
                self.accepted.setdefault(claim.id, []).append("complete")
        await self.check()
        found = await whereabouts(self.store, self.queue)
        assert all(states[0] in ENDED for states in found.values()), found
        for job_id, (state,) in found.items():
            assert bool(self.accepted.get(job_id)) == (state == "completed") or state == "dead", (found, self.accepted)
        dead = any(state == ["dead"] for state in found.values())
        for suffix in ("jobs", "keys", "line:k", "scheduled", "retrying", "flags", *(() if dead else ("where",))):
            assert not await raw(self.store, self.queue, "EXISTS", suffix), f"{suffix} is left"
        assert not await raw(self.store, self.queue, "XLEN", "blocked"), "somebody is still blocked"

    async def _left(self) -> bool:
        found = await whereabouts(self.store, self.queue)
        return any(states[0] not in ENDED for states in found.values())


async def run_order(store: RedisStore, set_up: SetUp, order: list[str]) -> None:
    """One order on a queue of its own."""
    queue = f"order-{next(_queues)}"
    ids = await enqueue(store, queue, set_up.jobs, ordering_key="k" if set_up.keyed else "")
    world = World(store, queue, ids, set_up)
    try:
        for call in order:
            await world.act(call)
            await world.check()
        await world.finish()
    except AssertionError as error:
        raise AssertionError(f"{set_up.name}: {' '.join(order)}\n{error}") from error
    finally:
        while not (await store.obliterate(queue, force=True)).is_done:
            continue
    assert not await store.link.call("EXISTS", f"{prefix(queue)}meta")


async def run_all(url: str, set_up: SetUp) -> int:
    """Every order of a set-up; how many there were."""
    store = RedisStore(Link(url, clock=Clock()), Clock())
    orders = sample([program.split() for program in set_up.programs], set_up.most, random.Random(7))
    try:
        for order in orders:
            await run_order(store, set_up, order)
    finally:
        await store.close()
    return len(orders)


@pytest.mark.parametrize("set_up", SET_UPS, ids=lambda s: s.name.replace(" ", "-"))
def test_in_every_order_each_job_ends_once_and_in_its_turn(server_url: str, set_up: SetUp) -> None:
    # a loop of its own in a thread: asyncio's debug mode, on for the suite, would make this four times as long
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: asyncio.run(run_all(server_url, set_up))).result() > 0


def test_the_merges_of_programs_are_all_and_each_once() -> None:
    orders = [tuple(order) for order in merges([["a", "b"], ["c", "d"], ["e"]])]
    assert len(orders) == len(set(orders)) == 30
    assert all(order.index("a") < order.index("b") and order.index("c") < order.index("d") for order in orders)
