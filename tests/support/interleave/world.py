"""World: what the actors know, as a value. A step makes a new one, so that going back in the search costs nothing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from engine.store.claim import Claim
from engine.store.producing import Entry
from engine.store.settles import Settles
from tests.support.factory import HOUR, body

from .facts import Facts

START_MS = 1_800_000_000_000
"""The server's clock in all of this: it stands still until somebody says `tick`."""


class J(NamedTuple):
    """A job to enqueue."""

    key: str = ""
    priority: int = 5
    delay_ms: int = 0
    dedup: str = ""

    def entry(self, number: int) -> Entry:
        """As the store wants it; the body tells the jobs apart."""
        window = HOUR if self.dedup else 0
        return Entry(body(payload=number), self.priority, self.delay_ms, 0, self.key, self.dedup, window)


class Sent(NamedTuple):
    """A worker's numbered call."""

    number: int
    want: int
    held: int
    verb: str = ""
    """How `claims` are settled, '' when none are."""
    claims: tuple[Claim, ...] = ()

    def settles(self) -> tuple[Settles, bytes]:
        """What it settles, and the record of what completed."""
        made = Settles()
        for claim in self.claims:
            _settle(made, self.verb, claim)
        ran = [(c.id, c.name, c.envelope.attempt, 1000, 5, *([c.entry] if c.moved_id else [])) for c in self.claims]
        completes = self.verb in ("complete", "result", "swap") and ran
        return made, msgspec.msgpack.encode(("w", ran)) if completes else b""


def _settle(made: Settles, verb: str, claim: Claim) -> None:
    match verb:
        case "complete" | "swap":
            made.complete(claim)
        case "result":
            made.complete_with(claim, b"42")
        case "retry":
            made.retry(claim, 0, "OSError: no", claim.repacked(attempt=claim.envelope.attempt + 1))
        case "snooze":
            made.snooze(claim, HOUR, claim.repacked())
        case "release":
            made.release(claim, claim.repacked())
        case "discard":
            made.bury(claim, b"", "f00d", "why", claim.repacked())
        case "expire":
            made.cancel(claim, "expired", claim.repacked())
        case _:
            raise ValueError(f"{verb} is no settle")


SETTLING = ("complete", "result", "swap", "retry", "snooze", "release", "discard", "expire")


class Worker(NamedTuple):
    """What a worker by hand knows."""

    number: int = 0
    held: tuple[Claim, ...] = ()
    sent: Sent | None = None
    earlier: Sent | None = None
    """The call before: a copy of it may still lie in a buffer."""
    renewal: tuple[Claim, ...] = ()
    """What the last renewal named: a copy of it may still lie in a buffer."""
    is_open: bool = False
    """The last call has not been answered."""
    hidden: tuple[str, ...] | None = None
    """Its answer was lost, and these are the entries that it said are lost; None: it has not reached the server."""
    asleep: tuple[str, int] | None = None
    """Found less than it wanted: the bell's id then, and the next due time it was told."""
    is_gone: bool = False
    lease: int = 1
    """How many of the reclaimer's leases its own is, as its heartbeat told."""


class Producer(NamedTuple):
    """What a producer knows."""

    number: int = 0
    is_open: bool = False
    """Its last call has not been answered."""


class World(NamedTuple):
    """All actors."""

    queue: str
    ids: tuple[str, ...]
    """Job ids by the number that the programs use; '' while nobody has been told."""
    at: tuple[int, ...]
    """Calls each program has made."""
    owed: tuple[str, ...]
    """The call each program must send again, '' none."""
    workers: dict[str, Worker]
    producers: dict[str, Producer]
    lost: int
    """Replies that may still be lost."""
    copies: int
    """Copies that may still arrive late."""
    now_ms: int = START_MS
    cursors: tuple[tuple[str, str], ...] = ()
    is_paused: bool = False
    gate_ms: int = 0
    """Until when nothing is given out, as a rate limit asked."""
    taken: tuple[tuple[str, int, int], ...] = ()
    """Dedup keys: the key, which of `ids` has it, and until when."""
    is_usurped: bool = False
    """A stranger's key stands in the place of ours."""
    is_group_lost: bool = False
    """The group of a stream was destroyed: who had claimed what is forgotten, so until the next renewal two may have one entry."""

    def worker(self, name: str) -> Worker:
        """One worker; new ones know nothing."""
        return self.workers.get(name) or Worker()

    def with_worker(self, name: str, worker: Worker) -> World:
        """The same world, but for this worker."""
        return self._replace(workers={**self.workers, name: worker})

    def gives_out(self) -> bool:
        """Whether jobs may be claimed."""
        return not self.is_paused and self.gate_ms <= self.now_ms

    def form(self, facts: Facts) -> str:
        """What decides how it goes on, as text."""
        people = [(name, *_worker_form(w, facts, self.copies > 0)) for name, w in sorted(self.workers.items())]
        rest = (
            self.at,
            self.owed,
            self.lost,
            self.copies,
            self.now_ms,
            self.cursors,
            self.is_paused,
            self.gate_ms,
            self.taken,
            self.is_usurped,
            self.is_group_lost,
            self.ids,
        )
        return repr((people, sorted(self.producers.items()), rest))


def _worker_form(worker: Worker, facts: Facts, may_be_copied: bool) -> tuple[object, ...]:
    return (
        worker.number,
        [_claim_form(c) for c in worker.held],
        _sent_form(worker.sent) if worker.is_open or may_be_copied else "",
        (_sent_form(worker.earlier), [_claim_form(c) for c in worker.renewal]) if may_be_copied else "",
        worker.is_open,
        worker.hidden,
        (worker.asleep[0] == facts.bell, worker.asleep[1]) if worker.asleep else "",
        worker.is_gone,
        worker.lease,
    )


def _claim_form(claim: Claim) -> tuple[object, ...]:
    return claim.tag, claim.entry, claim.id, claim.envelope.attempt, claim.envelope.stalls


def _sent_form(sent: Sent | None) -> object:
    if sent is None:
        return ""
    return sent.number, sent.want, sent.held, sent.verb, [_claim_form(c) for c in sent.claims]
