"""Explore: goes through every order of a set-up on the real server, call by call, and looks at the laws after each.

Depth first: the keys of each depth are a queue of their own, and going back is a COPY of its keys on the server, so orders that begin
equally share that beginning. Two prefixes that lead to the same form (all that scripts read back and all that the actors know, with
ids replaced by their rank) go on equally, because a script is a function of what it reads, of its arguments, and of a clock and a
chance that stand still here, and it compares ids without doing sums with them. So the second one is not gone through again: its
orders are counted by what follows the first. `tests/store/test_interleavings.py` compares both ways of going through.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.declared import NO_LIMIT, Limit
from engine.errors import StoreRefused
from engine.keys import prefix
from tests.support.factory import HOUR

from .change_laws import Change, check_change
from .facts import Facts, look, renumbered
from .lane import open_lane
from .last import Last
from .others import Others
from .state_laws import LawBroken, check_state
from .workers import Hands
from .world import J, World
from .world_laws import check_world

_searches = itertools.count()

ALWAYS_ANSWERED = frozenset({"die", "tick", "age", "bite", "destroy", "usurp", "restore", "forget", "beat"})
"""What is no call, or sends nothing again. The reply of any other may be lost. A request that is lost needs no move of its own: it
is the same call, made later."""


@dataclass(frozen=True)
class SetUp:
    """Who calls what, in turn: one program an actor, `w1: claim complete|retry`; a bar means that each is tried."""

    name: str
    programs: tuple[str, ...]
    jobs: tuple[J, ...] = (J("k"), J("k"))
    """What is enqueued before."""
    adds: tuple[J, ...] = ()
    """What producers add: `add1` the first of these."""
    stall_limit: int = 9
    limit: Limit = NO_LIMIT
    """How many may wait, for those that producers add."""
    lost: int = 0
    """So many replies may be lost, at any call."""
    copies: int = 0
    """So many copies of earlier calls of the workers may arrive late, at any moment."""
    orders: int = 0
    """So many orders there are; counted while going through them."""
    calls: int = 0
    """So many calls that takes."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-").replace(",", "")


class Move(NamedTuple):
    """One call that may reach the server next."""

    program: int
    """-1: a copy of an earlier call."""
    who: str
    word: str
    lost: int = 0
    """Which of its replies is lost, 0 none. Our calls are one command each; a plant may make two of one."""

    def __str__(self) -> str:
        return f"{self.who}:{self.word}{'?' * self.lost}"


class Found(NamedTuple):
    """What a search went through."""

    orders: int
    calls: int
    ends: frozenset[str]
    """The forms that they end in."""


def _may_be_lost(move: Move) -> bool:
    verb = move.word.rstrip("0123456789")
    is_aging = verb == "lapse" != move.word  # a worker's leases are made old first, by calls of the test's own
    return move.program >= 0 and not is_aging and verb not in ALWAYS_ANSWERED


def parse(program: str) -> tuple[str, list[list[str]]]:
    """`w1: claim complete|retry` -> the actor, and for each call the ways to make it."""
    who, _, words = program.partition(": ")
    return who, [word.split("|") for word in words.split()]


class Search:
    """One set-up on one connection."""

    def __init__(self, url: str, set_up: SetUp, *, merge: bool = True) -> None:
        self._set_up = set_up
        self._programs = [parse(program) for program in set_up.programs]
        self._merge = merge
        self._now = [0]
        self._lane, self._store = open_lane(url, self._now)
        self._hands = Hands(self._store, self._lane.wire)
        self._others = Others(self._store, set_up.jobs, set_up.adds, set_up.stall_limit, set_up.limit)
        self._last = Last(self._store, self._hands, self._look)
        self._known: dict[bytes, Facts] = {}
        self._orders: dict[bytes, int] = {}
        self._ends: set[str] = set()
        self._path: list[str] = []
        self._base = f"search-{next(_searches)}"
        self._depth = 0
        self.calls = 0

    async def run(self) -> Found:
        """Every order; LawBroken with the calls that led to it and the law's sentence."""
        await self._lane.begin()
        try:
            world = await self._begin()
            orders = await self._go(world, await self._look(world.queue), 0)
        except LawBroken as broken:
            raise LawBroken(f"{self._set_up.name}: {' '.join(self._path)}\n{broken}") from broken
        finally:
            self._lane.loses = 0
            for level in range(self._depth + 3):
                await self._clear(self._queue(level))
            await self._store.close()
        return Found(orders, self.calls, frozenset(self._ends))

    async def _begin(self) -> World:
        queue, jobs = self._queue(0), self._set_up.jobs
        programs = len(self._programs)
        ids: list[str] = []
        world = World(queue, (), (0,) * programs, ("",) * programs, {}, {}, self._set_up.lost, self._set_up.copies)
        self._now[0] = world.now_ms
        if jobs:
            entries = [job.entry(number) for number, job in enumerate(jobs, 1)]
            ids = [one.id for one in await self._store.enqueue(queue, "before", 1, entries)]
        return world._replace(ids=(*ids, *("",) * len(self._set_up.adds)))

    def _queue(self, level: int) -> str:
        return f"{self._base}-{level}"

    async def _look(self, queue: str) -> Facts:
        return await look(self._store, queue, self._known)

    async def _clear(self, queue: str) -> None:
        names = await self._lane.call("KEYS", prefix(queue) + "*")
        if names:
            await self._lane.call("UNLINK", *names)

    # --- the search ------------------------------------------------------------------------------------------------------

    async def _go(self, world: World, facts: Facts, level: int) -> int:
        """How many orders begin here."""
        self._depth = max(self._depth, level)
        key = hashlib.blake2b(renumbered(facts.form + world.form(facts)).encode(), digest_size=16).digest()
        if self._merge and key in self._orders:
            return self._orders[key]
        orders, is_last = 0, True
        for move in self._moves(world):
            is_last = False
            found, commands = await self._try(world, facts, level, move)
            orders += found
            for one in range(1, commands + 1) if world.lost and _may_be_lost(move) else ():
                orders += (await self._try(world, facts, level, move._replace(lost=one), commands))[0]
        if is_last:
            self._ends.add(renumbered(facts.form + world.form(facts)))
            self._lane.from_copy(world.queue, self._queue(level + 1))
            self._now[0] = world.now_ms + 2 * HOUR
            await self._last.finish(self._queue(level + 1))
            orders = 1
        self._orders[key] = orders
        return orders

    def _moves(self, world: World) -> Iterator[Move]:
        for n, (who, steps) in enumerate(self._programs):
            if world.owed[n]:
                words = [] if world.is_usurped else [world.owed[n]]
            elif world.at[n] < len(steps) and not world.worker(who).is_gone:
                words = steps[world.at[n]]
            else:
                continue
            for word in words:
                yield Move(n, who, word)
        if world.copies:
            for who, worker in world.workers.items():
                if worker.sent is not None and not worker.is_open:
                    yield Move(-1, who, "last")
                if worker.earlier is not None:
                    yield Move(-1, who, "earlier")
                if worker.renewal:
                    yield Move(-1, who, "renewal")

    async def _try(self, world: World, before: Facts, level: int, move: Move, commands: int = 0) -> tuple[int, int]:
        """Make a call and go on from there. `commands`: how many it sends when no reply is lost. How many orders, and how many
        commands it sent."""
        self._path.append(str(move))
        queue = self._queue(level + 1)
        self._lane.from_copy(world.queue, queue)
        self._now[0] = world.now_ms
        self._lane.loses, made = move.lost, self._lane.made
        there, change = await self._dare(world._replace(queue=queue), move, before)
        made = self._lane.made - made
        assert not self._lane.loses, f"{move} sent {made} commands now, {commands} before"
        if 0 < move.lost < commands and change is not None:
            change.or_not = True
        there = self._after(there, move, is_refused=change is not None and change.is_refused)
        if not made:
            orders = await self._go(there._replace(queue=world.queue), before, level)
        else:
            self.calls += 1
            after = await self._look(queue)
            self._judge(world, there, before, after, change)
            orders = await self._go(there, after, level + 1)
        self._path.pop()
        return orders, 0 if change is not None and change.is_refused else made

    async def _dare(self, world: World, move: Move, before: Facts) -> tuple[World, Change | None]:
        """The call; refused because a stranger's key is in the way, it changes nothing and is owed again."""
        try:
            return await self._play(world, move, before)
        except StoreRefused:
            if not world.is_usurped:
                raise
            return world, Change(f"{move}, refused", is_still=True, is_refused=True)

    async def _play(self, world: World, move: Move, before: Facts) -> tuple[World, Change | None]:
        if move.program < 0:
            return await self._hands.copy(world, move.who, move.word, before)
        if move.who[0] == "w":
            return await self._hands.play(world, move.who, move.word, before)
        return await self._others.play(world, move.who, move.word, before)

    def _after(self, world: World, move: Move, *, is_refused: bool) -> World:
        """Whose turn it is now, and what is owed."""
        if move.program < 0:
            return world._replace(copies=world.copies - 1)
        n, owed = move.program, ""
        if move.lost:
            is_numbered = move.who[0] == "w" and world.worker(move.who).is_open
            owed, world = "again" if is_numbered else move.word, world._replace(lost=world.lost - 1)
        elif is_refused:
            owed = move.word
        at = world.at if world.owed[n] else (*world.at[:n], world.at[n] + 1, *world.at[n + 1 :])
        return world._replace(owed=(*world.owed[:n], owed, *world.owed[n + 1 :]), at=at)

    def _judge(self, world: World, there: World, before: Facts, after: Facts, change: Change | None) -> None:
        if world.is_usurped or there.is_usurped:
            if change is not None and change.is_still:
                check_change(before, after, change)
            return
        check_state(after)
        if change is not None:
            check_change(before, after, change)
        check_world(there, after)
