"""Others: everybody who is no worker: reclaimer, promoter, operator, retention, producers, the clock, and a stranger in the keys."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from engine.declared import Limit
from engine.errors import StoreUnanswered
from engine.keys import GROUP, prefix
from engine.store.acts import Removal
from engine.store.redis_store import RedisStore
from engine.store.rows import id_order
from tests.support.factory import HOUR

from .change_laws import Change
from .facts import LIVE, OLD_MS, Facts
from .state_laws import LawBroken
from .world import J, Producer, World

T = TypeVar("T")
AGE = 2
"""Leases of the reclaimer that are over when a lease is made old."""
LOST: Final = object()
"""Instead of an answer: it was lost, and the call took effect."""


async def ask(call: Awaitable[T]) -> T | object:
    """The answer, or LOST."""
    try:
        return await call
    except StoreUnanswered:
        return LOST


class Others:
    """Their side of a search."""

    def __init__(self, store: RedisStore, jobs: Sequence[J], adds: Sequence[J], stall_limit: int, limit: Limit) -> None:
        self._store = store
        self._limit = limit
        self._adds = adds
        self._first = len(jobs)
        self._stall_limit = stall_limit

    async def play(self, world: World, name: str, word: str, before: Facts) -> tuple[World, Change | None]:
        """One call of theirs; no change when it had nobody to act on. LawBroken when the answer was not the truth."""
        verb = word.rstrip("0123456789")
        n = int(word[len(verb) :] or 0)
        match verb:
            case "lapse":
                return world, await self._lapse(world, n, before)
            case "bite":
                return await self._bite(world, before)
            case "age":
                await self._age(world, f"w{n}", before)
                return world, Change("time passes")
            case "promote":
                return world, await self._promote(world, before)
            case "tick":
                return world._replace(now_ms=world.now_ms + HOUR), None
            case "pause" | "resume" | "gate":
                return await self._pause(world, verb)
            case "sweepdead" | "sweepdone":
                return world, await self._sweep(world, verb, before)
            case "forget":
                return await self._forget(world, before), Change(verb)
            case "add":
                return await self._add(world, name, n, before)
            case "destroy":
                await self._store.link.call("XGROUP", "DESTROY", prefix(world.queue) + "ready:5", GROUP)
                return world._replace(is_group_lost=True), Change("the group is lost", is_group_lost=True)
            case "usurp" | "restore":
                await self._usurp(world.queue, verb)
                return world._replace(is_usurped=verb == "usurp"), None
            case _:
                job_id = world.ids[n - 1]
                return world, await self._act(world, verb, job_id, before) if job_id else None

    # --- leases and due times --------------------------------------------------------------------------------------------

    async def _lapse(self, world: World, n: int, before: Facts) -> Change:
        """Every lease has run out (with a number: that worker's, if it is no longer than others'), and somebody looks."""
        if n:
            await self._age(world, f"w{n}", before)
        is_spared = n > 0 and world.worker(f"w{n}").lease > AGE
        due = [entry for entry, (owner, _, _) in before.pending.items() if not is_spared and (not n or owner == f"w{n}")]
        await ask(self._store.reclaim(world.queue, "r", OLD_MS if n else 0, self._stall_limit, {}, grace=False))
        return self._reclaimed(before, "reclaim", due)

    async def _bite(self, world: World, before: Facts) -> tuple[World, Change]:
        """One small look at what is old, from where the last one ended."""
        cursors = dict(world.cursors)
        done = await self._store.reclaim(world.queue, "r", OLD_MS, self._stall_limit, cursors, limit=1, grace=False)
        old = [entry for entry, (_, _, is_old) in before.pending.items() if is_old]
        change = self._reclaimed(before, "a bite of reclaim", old, or_not=True)
        return world._replace(cursors=tuple(sorted(done.cursors.items()))), change

    def _reclaimed(self, before: Facts, what: str, entries: Sequence[str], *, or_not: bool = False) -> Change:
        change = Change(what)
        for entry in entries:
            job_id = before.pending[entry][1]
            stalls = before.spots[job_id][0].stalls + 1
            end = "cancelled" if f"c{job_id}" in before.flags else "dead" if stalls > self._stall_limit else "waiting"
            change.may[job_id] = frozenset({end, "active"} if or_not else {end})
            change.stalls[job_id] = stalls
            change.tags[job_id] = "s"
        return change

    async def _age(self, world: World, owner: str, before: Facts) -> None:
        for entry, (whose, job_id, _) in before.pending.items():
            if whose == owner:
                stream = f"{prefix(world.queue)}ready:{before.spots[job_id][0].tag}"
                await self._store.link.call("XCLAIM", stream, GROUP, owner, 0, entry, "IDLE", AGE * OLD_MS, "JUSTID")

    async def _promote(self, world: World, before: Facts) -> Change:
        change = Change("promote")
        for job_id in before.many("scheduled", "retrying"):
            if before.spots[job_id][0].due_ms <= world.now_ms:
                change.may[job_id] = frozenset({"waiting", "blocked"})
        await ask(self._store.promote(world.queue))
        return change

    # --- operators and retention -----------------------------------------------------------------------------------------

    async def _act(self, world: World, verb: str, job_id: str, before: Facts) -> Change:
        state, queue, change = before.state(job_id), world.queue, Change(f"{verb} of {job_id}")
        told: object
        truth: object = LOST
        match verb:
            case "cancel":
                ends = "cancelled" if state in LIVE and state != "active" else ""
                truth = {"active": Removal.REQUESTED, "dead": Removal.DEAD}.get(state, Removal.DONE if ends else Removal.UNKNOWN)
                change.asked = job_id if state == "active" else ""
                told = await ask(self._store.cancel(queue, job_id, "why"))
            case "delete":
                ends = "-" if state in (*LIVE, "dead") and state != "active" else ""
                truth = {"active": Removal.ACTIVE}.get(state, Removal.DONE if ends else Removal.UNKNOWN)
                told = await ask(self._store.delete(queue, job_id, "why"))
            case "hasten":
                ends = "runnable" if state in ("scheduled", "retrying") else ""
                truth, told = bool(ends), await ask(self._store.hasten(queue, job_id))
            case "requeue":
                ends = "runnable" if state == "dead" else ""
                truth, told = int(bool(ends)), await ask(self._store.requeue(queue, [job_id]))
                if ends:
                    change.attempts[job_id], change.stalls[job_id] = 1, 0
            case "await":
                ends, told = "", LOST
                await ask(self._store.await_end(queue, job_id))
            case _:
                raise ValueError(f"{verb} is no call")
        if told is not LOST and told != truth:
            raise LawBroken(f"{change.what} was answered {told}, and {truth} is the truth")
        if ends:
            change.may[job_id] = frozenset({"waiting", "blocked"} if ends == "runnable" else {ends})
        return change

    async def _pause(self, world: World, verb: str) -> tuple[World, Change]:
        if verb == "gate":
            await ask(self._store.gate(world.queue, HOUR))
            return world._replace(gate_ms=max(world.gate_ms, world.now_ms + HOUR)), Change(verb)
        await ask(self._store.pause(world.queue, "why") if verb == "pause" else self._store.resume(world.queue))
        gate_ms = world.gate_ms if verb == "pause" else 0
        return world._replace(is_paused=verb == "pause", gate_ms=gate_ms), Change(verb)

    async def _sweep(self, world: World, verb: str, before: Facts) -> Change:
        change, past = Change(verb), world.now_ms + 2 * HOUR
        for job_id in before.many(*(("dead",) if verb == "sweepdead" else ("completed", "cancelled"))):
            change.may[job_id] = frozenset({"-"})
        if verb == "sweepdead":
            await ask(self._store.sweep_dead(world.queue, past))
        else:
            await ask(self._store.sweep_done(world.queue, past))
        return change

    async def _forget(self, world: World, before: Facts) -> World:
        """Retention forgets whoever was silent, as if for hours: a worker's last call too, unless something is claimed for it."""
        await self._store.sweep_rest(world.queue, -1, -1)
        for name in before.workers - {owner for owner, _, _ in before.pending.values()}:
            if name in world.workers:
                world = world.with_worker(name, world.workers[name]._replace(hidden=None))
        return world

    # --- producers -------------------------------------------------------------------------------------------------------

    async def _add(self, world: World, name: str, n: int, before: Facts) -> tuple[World, Change]:
        """A producer's numbered call; one whose answer was lost sends the same number again."""
        job, at, me = self._adds[n - 1], self._first + n - 1, world.producers.get(name) or Producer()
        number = me.number if me.is_open else me.number + 1
        change = Change(f"{name} adds job {at + 1}", is_still=me.is_open)
        truth = "as before" if me.is_open else self._truth(job, at, world, before, change)
        told = await ask(self._store.enqueue(world.queue, name, number, [job.entry(at + 1)], self._limit))
        world = world._replace(producers={**world.producers, name: Producer(number, told is LOST)})
        if job.dedup and truth in ("new", "made room"):
            kept = [one for one in world.taken if one[0] != job.dedup]
            world = world._replace(taken=(*kept, (job.dedup, at, world.now_ms + HOUR)))
        if not isinstance(told, list):
            return world, change
        (one,) = told
        said = "a duplicate" if one.duplicate else "refused" if not one.id else "made room" if one.made_room else "new"
        if not me.is_open and said != truth:
            raise LawBroken(f"{change.what}: told that it is {said}, and {truth} is the truth")
        older = next((n for key, n, _ in world.taken if key == job.dedup), at) if one.duplicate else at
        self._check_id(world, one.id, older, before, change)
        return world._replace(ids=(*world.ids[:at], one.id, *world.ids[at + 1 :])), change

    def _check_id(self, world: World, job_id: str, n: int, before: Facts, change: Change) -> None:
        """It was told the id of the job that it is: as somebody else was told, or as its body says."""
        spot = before.spot(job_id)
        body = self._adds[n - self._first].entry(n + 1).body
        if job_id and (world.ids[n] not in ("", job_id) or (spot is not None and spot.state in LIVE and spot.body != body)):
            raise LawBroken(f"{change.what}: told {job_id}, which is another job than {n + 1}")

    def _truth(self, job: J, at: int, world: World, before: Facts, change: Change) -> str:
        """What an enqueue must be told, and what it may do."""
        if any(key == job.dedup and till > world.now_ms for key, _, till in world.taken):
            return "a duplicate"
        change.fresh = (job.entry(at + 1), world.now_ms)
        if not self._limit.most or len(before.many("waiting", "blocked", "scheduled", "retrying")) < self._limit.most:
            return "new"
        goes = next_to_go(before) if self._limit.drops else ""
        if not goes:
            change.fresh = None
            return "refused"
        change.may[goes] = frozenset({"-"})
        return "made room"

    # --- a stranger ------------------------------------------------------------------------------------------------------

    async def _usurp(self, queue: str, verb: str) -> None:
        """Something else writes into our keys: `jobs` is of a foreign type for a while."""
        key, aside, call = prefix(queue) + "jobs", prefix(queue) + "aside:jobs", self._store.link.call
        if verb == "usurp":
            if await call("EXISTS", key):
                await call("RENAME", key, aside)
            await call("SET", key, "not ours")
        else:
            await call("DEL", key)
            if await call("EXISTS", aside):
                await call("RENAME", aside, key)


def next_to_go(facts: Facts) -> str:
    """Whom a full queue drops: of the next in each stream and of the blocked the one that was enqueued first; '' when nobody waits."""
    heads: dict[str, tuple[tuple[int, int], str]] = {}
    for job_id, places in facts.spots.items():
        spot = places[0]
        if spot.state in ("waiting", "blocked"):
            heads[spot.tag] = min(heads.get(spot.tag, (id_order(spot.entry), job_id)), (id_order(spot.entry), job_id))
    return min((job_id for _, job_id in heads.values()), key=id_order, default="")
