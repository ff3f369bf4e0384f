"""Workers: their calls, one at a time, through the store's typed verbs, and what each may change and must answer."""

from __future__ import annotations

import msgspec

from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from engine.store.wire import Wire
from engine.store.work import StepReply
from tests.support.factory import HOUR, read

from .change_laws import Change
from .facts import OLD_MS, Facts
from .others import LOST, ask
from .state_laws import LawBroken
from .world import SETTLING, Sent, Worker, World

NOTES_MS = 60_000
FRONTS = "ABCDEFGHI"
ENDS = {
    "complete": "completed",
    "result": "completed",
    "swap": "completed",
    "retry": "retrying",
    "snooze": "scheduled",
    "release": "waiting",
    "discard": "dead",
    "expire": "cancelled",
}
GOES_ON = ("retry", "snooze", "release")
"""Settles that a cancel which was asked for turns into an end."""


class Hands:
    """The workers' side of a search."""

    def __init__(self, store: RedisStore, wire: Wire) -> None:
        self._store = store
        self._wire = wire

    async def play(self, world: World, name: str, word: str, before: Facts) -> tuple[World, Change | None]:
        """One call of a worker; no change when there is nothing it could ask for. The world knows its answer, or that it is owed.

        Raises:
            LawBroken: the answer was not the truth.
        """
        worker = world.worker(name)
        verb, want = word.rstrip("0123456789"), int(word[len(word.rstrip("0123456789")) :] or 1)
        match verb:
            case "again":
                return await self._call(world, name, worker, before)
            case "renew":
                return await self._renew(world, name, worker, before)
            case "renewall":
                await ask(self._store.renew_all(world.queue, name))
                return world, Change(f"{name} renews whatever is its own")
            case "note":
                return await self._note(world, name, worker, before)
            case "leave":
                await ask(self._store.leave(world.queue, name))
                return world.with_worker(name, worker._replace(is_gone=True, held=())), Change(f"{name} leaves")
            case "beat":
                said = msgspec.msgpack.encode({"lease_ms": want * OLD_MS}) if want > 1 else b"here"
                await ask(self._store.heartbeat(world.queue, name, said))
                return world.with_worker(name, worker._replace(lease=want)), Change(f"{name}'s heartbeat")
            case "die":
                return world.with_worker(name, Worker(is_gone=True, lease=worker.lease)), None
            case _:
                return await self._step(world, name, worker, verb, want, before)

    async def _step(
        self, world: World, name: str, worker: Worker, verb: str, want: int, before: Facts
    ) -> tuple[World, Change | None]:
        if verb != "claim" and verb not in SETTLING:
            raise ValueError(f"{verb} is no call of a worker")
        claims = () if verb == "claim" else worker.held[:want]
        want = want if verb == "claim" else 1 if verb == "swap" else 0
        if any(c.is_suspect for c in worker.held if c not in claims):
            want = 0  # what its pool does: nothing beside a suspect
        if not claims and not want:
            return world, None
        sent = Sent(worker.number + 1, want, len(worker.held) - len(claims), verb if claims else "", claims)
        asked = worker._replace(number=sent.number, sent=sent, earlier=worker.sent, is_open=True, hidden=None, asleep=None)
        return await self._call(world, name, asked, before)

    async def _call(self, world: World, name: str, worker: Worker, before: Facts) -> tuple[World, Change]:
        """A numbered call reaches the server, for the first time or again."""
        assert worker.sent is not None
        sent, world = worker.sent, world.with_worker(name, worker)
        change = expected(name, worker, before, world)
        reply = await ask(self.deliver(world.queue, name, sent))
        if not isinstance(reply, StepReply):
            hidden = tuple(change.refused) if worker.hidden is None else worker.hidden
            return world.with_worker(name, worker._replace(hidden=hidden)), change
        check_reply(name, worker, reply, before, change)
        return world.with_worker(name, take_in(world.queue, worker, reply, before)), change

    async def deliver(self, queue: str, name: str, sent: Sent) -> StepReply:
        """The call reaches the server."""
        settles, record = sent.settles()
        return await self._store.step(self._wire, queue, name, sent.number, sent.want, sent.held, settles, record, NOTES_MS)

    async def copy(self, world: World, name: str, which: str, before: Facts) -> tuple[World, Change | None]:
        """A copy of an earlier call comes out of a buffer; nobody reads its answer."""
        worker = world.worker(name)
        if which == "renewal":
            if not worker.renewal:
                return world, None
            await self._store.renew(world.queue, name, worker.renewal)
            return world, Change(f"a late copy of {name}'s renewal")
        sent = worker.sent if which == "last" else worker.earlier
        if sent is None or (which == "last" and worker.is_open):
            return world, None
        reply = await self.deliver(world.queue, name, sent)
        if reply.status == "ok":
            raise LawBroken(f"an old copy of {name}'s call {sent.number} was done anew")
        return world, Change(f"a late copy of {name}'s call {sent.number}", is_still=True)

    async def _renew(self, world: World, name: str, worker: Worker, before: Facts) -> tuple[World, Change | None]:
        named = worker.held
        if not named:
            return world, None
        world = world.with_worker(name, worker._replace(renewal=named))
        told = await ask(self._store.renew(world.queue, name, named))
        if not isinstance(told, tuple):
            return world, Change(f"{name} renews")
        lost, asked = told
        gone = [c.entry for c in named if before.pending.get(c.entry, ("",))[0] != name]
        if sorted(lost) != sorted(gone):
            raise LawBroken(f"{name} renews {[c.entry for c in named]}: lost are {gone}, it was told {lost}")
        if set(asked) != {c.id for c in named if f"c{c.id}" in before.flags}:
            raise LawBroken(f"{name} renews and hears of cancels {asked}, asked were {sorted(before.flags)}")
        held = tuple(c for c in worker.held if c.entry not in lost)
        return world.with_worker(name, worker._replace(held=held, renewal=named)), Change(f"{name} renews")

    async def _note(self, world: World, name: str, worker: Worker, before: Facts) -> tuple[World, Change | None]:
        if not worker.held:
            return world, None
        claim = worker.held[0]
        is_own = before.pending.get(claim.entry, ("",))[0] == name
        told = await ask(self._store.note(world.queue, name, claim.tag, claim.entry, claim.id, "progress", b"1"))
        if told is not LOST and told != is_own:
            raise LawBroken(
                f"{name} keeps a note of {claim.entry}: told {told}, and its lease is {'its own' if is_own else 'lost'}"
            )
        return world, Change(f"{name}'s note", is_still=not is_own)


def expected(name: str, worker: Worker, before: Facts, world: World) -> Change:
    """What a numbered call may do to a queue in this state. One that was done before does nothing."""
    sent = worker.sent
    assert sent is not None
    what = f"{name}'s call {sent.number} ({sent.verb or 'claim'})"
    if worker.hidden is not None:
        return Change(what, is_still=True)
    change = Change(what, claimer=name, most=sent.want if world.gives_out() else 0)
    for claim in sent.claims:
        spot = before.spots.get(claim.id, (None,))[0]
        owner = before.pending.get(claim.entry, ("",))[0]
        if not owner or (owner != name and not world.is_group_lost) or spot is None:
            change.refused.append(claim.entry)
            continue
        end = ENDS[sent.verb]
        if f"c{claim.id}" in before.flags and sent.verb in GOES_ON:
            end = "cancelled"
        change.may[claim.id] = frozenset({end})
        if sent.verb == "retry":  # cancelled then, it is told at the attempt that would have come, as any retrying job is
            change.attempts[claim.id] = claim.envelope.attempt + 1
        if end == "retrying":
            change.dues[claim.id] = world.now_ms
        elif end == "scheduled":
            change.dues[claim.id] = world.now_ms + HOUR
        elif end == "waiting":  # given back: to the front of its priority, or to run alone
            change.tags[claim.id] = "s" if spot.stalls else FRONTS[int(spot.priority) - 1]
    return change


def check_reply(name: str, worker: Worker, reply: StepReply, before: Facts, change: Change) -> None:
    """The answer says the truth: what was refused, and what is claimed. Once the group was lost an entry may be given out again under
    its id, and whoever settles it first has settled it."""
    if worker.hidden is None:
        if reply.status != "ok":
            raise LawBroken(f"{change.what} is new and was answered {reply.status}")
        if sorted(reply.lost) != sorted(change.refused):
            raise LawBroken(f"{change.what}: told that {reply.lost} are lost, and {change.refused} is the truth")
        return
    if reply.status != "again":
        raise LawBroken(f"{change.what} was done before and was answered {reply.status}")
    if sorted(reply.lost) != sorted(worker.hidden):
        raise LawBroken(f"{change.what} was answered again: lost {reply.lost}, at first it was {list(worker.hidden)}")
    mine = {entry for entry, (owner, _, _) in before.pending.items() if owner == name}
    if {entry for _, entry, _ in reply.rows} != mine:
        raise LawBroken(f"{change.what} was answered again with {[r[1] for r in reply.rows]}, pending for it are {sorted(mine)}")


def take_in(queue: str, worker: Worker, reply: StepReply, before: Facts) -> Worker:
    """What a worker knows once it has read an answer."""
    sent = worker.sent
    assert sent is not None
    settled = {c.entry for c in sent.claims}
    held: list[Claim] = [c for c in worker.held if c.entry not in settled]
    known = {c.entry for c in held} | settled
    held += [c for c in read(queue, reply) if c.entry not in known]
    return worker._replace(held=tuple(held), is_open=False, hidden=None, asleep=_asleep(sent, reply, before))


def _asleep(sent: Sent, reply: StepReply, before: Facts) -> tuple[str, int] | None:
    """Whether its pool goes to sleep on this answer: not when it looks again by itself, at a pause's end or after a suspect."""
    will_look = reply.status != "ok" or reply.drain or reply.paused_until_ms > 0 or any(tag == "s" for tag, _, _ in reply.rows)
    return None if will_look or len(reply.rows) >= sent.want else (before.bell, reply.next_due_ms)
