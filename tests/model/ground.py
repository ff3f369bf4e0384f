"""Ground: where the machine meets the server: a loop of its own, one connection for numbered calls, calls that may be lost.

Everything goes through the store's typed verbs, with a clock of the test's choice. One ground serves every example of a test.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from engine import Clock
from engine.keys import GROUP, prefix
from engine.store.acts import Obliterated
from engine.store.claim import Claim
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from engine.store.settles import Settles
from engine.store.work import StepReply
from tests.support.factory import Now

from .memory.workers import LEASE_MS, Ending

T = TypeVar("T")
NOTES_MS = 60_000
BEGINNING_MS = 1_700_000_000_000
_queues = itertools.count(1)


class Dice(Clock):
    """A clock whose chance is the same in every example, so that what failed once fails again."""

    def __init__(self) -> None:
        super().__init__()
        self.throws = random.Random(7)

    def random(self) -> float:
        """The gap before the next ids."""
        return self.throws.random()


class Ground:
    """A server as the machine uses it."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.now = Now()
        self._dice = Dice()
        self.base = RedisStore(Link(url, clock=Clock()), Clock())
        self.store = RedisStore(self.base.link, self._dice, test_now_ms=lambda: self.now.ms)
        self.wire = self.base.link.new_wire()
        self.steps = 0
        """How many calls were compared on this ground."""
        self.claimed = self.settled = 0
        """How many jobs those gave out, and how many endings they wrote down."""

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.wire.drop())
        self.run(self.base.close())
        self.loop.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Do one thing and wait for it."""
        return self.loop.run_until_complete(call)

    def new_queue(self) -> str:
        """A queue nobody used before, at the beginning of time."""
        self.now.ms = BEGINNING_MS
        self._dice.throws.seed(7)
        return f"model-{next(_queues)}"

    def obliterate(self, queue: str, *, force: bool = True) -> Obliterated:
        """All bites. Nothing is left of the queue, but dedup rows whose end the real clock has yet to see."""
        done = self.run(self.store.obliterate(queue, force=force))
        while not done.is_done and not done.active:
            done = self.run(self.store.obliterate(queue, force=force))
        for key in self.run(self.base.link.call("KEYS", prefix(queue) + "*")) if done.is_done else ():
            assert key.startswith(prefix(queue).encode() + b"dedup:"), f"obliterate left {key}"
            assert self.run(self.base.link.call("PTTL", key)) > 0, f"{key} would stay for ever"
            self.run(self.base.link.call("DEL", key))
        return done


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered call of a worker, kept as it was sent."""

    number: int
    want: int
    held: int
    endings: tuple[Ending, ...]


@dataclass(slots=True)
class Worker:
    """A worker by hand: what it believes to hold, what it sent, and whether its last call was answered."""

    ground: Ground
    queue: str
    name: str
    held: list[Claim] = field(default_factory=list)
    sent: list[Step] = field(default_factory=list)
    is_unanswered: bool = False
    cursors: dict[str, str] = field(default_factory=dict)
    """Of its reclaimer."""

    @property
    def is_alone(self) -> bool:
        """It runs a suspect, so it claims nothing."""
        return any(claim.is_suspect for claim in self.held)

    def next_step(self, want: int, held: int, endings: Sequence[Ending]) -> Step:
        """Number a call."""
        self.sent.append(Step(len(self.sent) + 1, want, held, tuple(endings)))
        self.is_unanswered = True
        return self.sent[-1]

    async def send(self, step: Step) -> StepReply:
        """The call reaches the server, for the first time or once more."""
        store, settles = self.ground.store, Settles()
        ran = []
        for ending in step.endings:
            _say(settles, ending)
            if ending.verb in ("complete", "result"):
                claim = ending.claim
                moved = [claim.entry] if claim.moved_id else []
                ran.append((claim.id, claim.name, claim.envelope.attempt, 1000, 5, *moved))
        if step.endings:
            settles.count("n", len(step.endings))
        record = msgspec.msgpack.encode((self.name, ran)) if ran else b""
        wire = self.ground.wire
        return await store.step(wire, self.queue, self.name, step.number, step.want, step.held, settles, record, NOTES_MS)

    def take_in(self, step: Step, reply: StepReply) -> None:
        """The answer came back."""
        self.is_unanswered = False
        settled = {ending.claim.entry for ending in step.endings}
        self.held = [claim for claim in self.held if claim.entry not in settled]
        known = {claim.entry for claim in self.held}
        for tag, entry, value in reply.rows:
            if entry not in known:
                self.held.append(Claim.read(self.queue, tag, entry, value, 0.0))

    async def age(self, claims: Sequence[Claim]) -> None:
        """Make leases old at once."""
        for claim in claims:
            stream = f"{prefix(self.queue)}ready:{claim.tag}"
            await self.ground.base.link.call("XCLAIM", stream, GROUP, self.name, 0, claim.entry, "IDLE", 2 * LEASE_MS, "JUSTID")


def _say(settles: Settles, ending: Ending) -> None:
    claim = ending.claim
    match ending.verb:
        case "complete" | "result":
            if ending.frees_notes:
                settles.complete_with(claim, ending.result)
            else:
                settles.complete(claim)
        case "retry":
            settles.retry(claim, ending.delay_ms, "OSError: no", claim.repacked(attempt=claim.envelope.attempt + 1))
        case "snooze":
            settles.snooze(claim, ending.delay_ms, claim.repacked())
        case "release":
            settles.release(claim, claim.repacked())
        case "bury":
            settles.bury(claim, b"info", "f00d", "attempts used up", claim.repacked())
        case "cancel" | "expire":
            settles.cancel(claim, "asked" if ending.verb == "cancel" else "expired", claim.repacked())
