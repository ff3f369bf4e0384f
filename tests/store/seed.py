"""Seed: brings jobs of a queue into each state, through the same verbs that producers and workers use."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from engine import Clock
from engine.job import AttemptRecord, Body, encode_payload, pack_body
from engine.keys import prefix
from engine.store.base import text
from engine.store.claim import Claim
from engine.store.producing import Entry
from engine.store.rows import Death
from engine.store.settles import Settles

if TYPE_CHECKING:
    from engine.store.redis_store import RedisStore

_producers = itertools.count(1)


async def enqueue(
    store: RedisStore, queue: str, n: int = 1, *, name: str = "greet", payload: Any = None, **entry: Any
) -> list[str]:
    """Add `n` jobs in one call; their ids, in order."""
    body = pack_body(Body(name, msgspec.Raw(encode_payload({"n": 1} if payload is None else payload))))
    added = await store.enqueue(queue, f"seed-{next(_producers)}", 1, [Entry(body, **entry)] * n)
    return [one.id for one in added]


async def ids_ahead(store: RedisStore, queue: str, ms: int = 3_600_000) -> None:
    """A job came and went while the server's clock was so far ahead: ids go on from there."""
    now_ms = await store.now_ms()
    ahead = type(store)(store.link, Clock(), test_now_ms=lambda: now_ms + ms)
    await ahead.delete(queue, (await enqueue(ahead, queue))[0], "seed")


async def foreign(store: RedisStore, queue: str, value: bytes) -> str:
    """Put bytes that are no job among the waiting ones, counted as enqueued so that the law of conservation holds; its id."""
    await enqueue(store, queue)  # makes the stream and its group
    entry = text(await store.link.call("XADD", f"{prefix(queue)}ready:5", "*", "j", value))
    await store.link.call("HINCRBY", f"{prefix(queue)}meta", "enqueued", 1)
    return entry


@dataclass(slots=True)
class Hand:
    """A worker by hand: claims and settles exactly when the test says so."""

    store: RedisStore
    queue: str
    name: str = "hand"
    calls: int = 0
    settles: Settles = field(default_factory=Settles)

    async def step(self, want: int = 0, record: bytes = b"") -> list[Claim]:
        """One call: settle what was said, claim up to `want`."""
        return [Claim.read(self.queue, tag, entry, value, 0.0) for tag, entry, value in await self.claim_only(want, record)]

    async def claim_only(self, want: int, record: bytes = b"") -> list[tuple[str, str, bytes]]:
        """As `step`, with the claimed entries unread: tag, entry, value."""
        self.calls += 1
        settles, self.settles = self.settles, Settles()
        wire = self.store.link.new_wire(self.queue)
        try:
            reply = await self.store.step(wire, self.queue, self.name, self.calls, want, 0, settles, record, 60_000)
        finally:
            await wire.drop()
        return reply.rows

    async def complete(self, *claims: Claim, run_ms: int = 5) -> None:
        """Settle as completed, with the packed record that a worker writes."""
        for claim in claims:
            self.settles.complete(claim)
        ran = [(c.id, c.body.name, c.envelope.attempt, 1000, run_ms, *([c.entry] if c.entry != c.id else [])) for c in claims]
        await self.step(record=msgspec.msgpack.encode((self.name, ran)))

    async def retry(self, claim: Claim, delay_ms: int, error: str = "OSError: no way") -> None:
        """Settle as failed, to be tried again."""
        self.settles.retry(
            claim, delay_ms, error, claim.repacked(attempt=claim.envelope.attempt + 1, body=_with(claim, "retry", error))
        )
        await self.step()

    async def bury(self, *claims: Claim, fingerprint: str = "abc123", kind: str = "OSError", message: str = "no way") -> None:
        """Settle as dead, with everything a worker writes down."""
        for claim in claims:
            body = _with(claim, "dead", f"{kind}: {message}")
            death = Death(kind, message, "Traceback ...", fingerprint, "attempts used up", body.history, self.name, "org-1", 0)
            self.settles.bury(claim, msgspec.msgpack.encode(death), fingerprint, "attempts used up", claim.repacked(body=body))
        await self.step()


def _with(claim: Claim, outcome: str, error: str) -> Body:
    record = AttemptRecord(claim.envelope.attempt, 1000, 1005, outcome, error, "hand")
    old = claim.body
    return Body(old.name, old.payload, old.attempts, old.timeout, old.expires_after_ms, old.has_notes, (*old.history, record))


async def dead(store: RedisStore, queue: str, n: int = 1, **how: Any) -> list[str]:
    """Add `n` jobs and bury them; their ids, in the order they died."""
    hand = Hand(store, queue, f"killer-{next(_producers)}")
    ids = await enqueue(store, queue, n)
    while claims := await hand.step(want=min(n, 50)):
        await hand.bury(*claims, **how)
    return ids
