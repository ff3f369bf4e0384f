"""Settles: what finished since the last step, in the form the step script reads.

Plain completions, nearly all there is, go in groups of one stream; everything else is eight arguments a job. A `Settles` is
filled between two steps, sent as it is, and kept until it was answered, so that a lost reply can be asked for again.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from .claim import Claim

WEIGHT_BYTES = 8_192
"""Bytes of an envelope or a result that weigh as much as a plain completion: a full bite has a megabyte, and its last settle."""

DoneRecord = tuple[Any, ...]
"""Job id, name, attempt, started at ms (server's clock), ran for ms; then, of a job that was re-added: its entry id (refused
settles are listed by entry), and the attempts and stalls before. Read by `pages.Ran`."""


HEAVY = 3
"""Weight of a settle that writes rows or hands a key over, against a plain completion's 1 (measured: up to 2.9)."""


class Settles:
    """Endings on their way to the store."""

    __slots__ = ("_groups", "_metrics", "_others", "claims", "done", "weight")

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.done: list[DoneRecord] = []
        """What the done record will hold, one a completion."""
        self._groups: dict[str, list[Claim]] = {}
        self._others: list[tuple[str, Claim, Any, str, bytes | str]] = []
        self._metrics: dict[str, int] = {}
        self.weight = 0
        """What it costs the server, in plain completions."""

    def __len__(self) -> int:
        return len(self.claims)

    def __repr__(self) -> str:
        return f"<Settles {len(self.claims)}>"

    def count(self, field: str, n: int = 1) -> None:
        """Add to a counter of the `metrics` hash."""
        self._metrics[field] = self._metrics.get(field, 0) + n

    def complete(self, claim: Claim) -> None:
        """Completed, with nothing to keep."""
        self.claims.append(claim)
        self.weight += HEAVY if claim.is_marked else 1
        group = self._groups.get(claim.tag)
        if group is None:
            self._groups[claim.tag] = [claim]
        else:
            group.append(claim)

    def complete_with(self, claim: Claim, result: bytes) -> None:
        """Completed with a result ('' none), or with notes of the run to let go."""
        self._other("c", claim, result, "", "")

    def retry(self, claim: Claim, delay_ms: int, why: str, envelope: bytes) -> None:
        """Into backoff."""
        self._other("r", claim, delay_ms, why, envelope)

    def snooze(self, claim: Claim, delay_ms: int, envelope: bytes) -> None:
        """Later, attempt given back."""
        self._other("z", claim, delay_ms, "", envelope)

    def release(self, claim: Claim, envelope: bytes) -> None:
        """Back to the front at once, attempt given back; a job that stalled before goes back to run alone."""
        self._other("l", claim, "1" if claim.envelope.stalls else "", "", envelope)

    def bury(self, claim: Claim, info: bytes, fingerprint: str, reason: str, envelope: bytes) -> None:
        """Dead."""
        self._other("d", claim, info, f"{fingerprint} {reason}", envelope)

    def cancel(self, claim: Claim, reason: str, envelope: bytes) -> None:
        """Ended because somebody asked, or too late to start."""
        self._other("x", claim, "", reason, envelope)

    def _other(self, verb: str, claim: Claim, what: Any, why: str, envelope: bytes | str) -> None:
        self.claims.append(claim)
        self.weight += HEAVY + (len(envelope) + (len(what) if isinstance(what, bytes) else 0)) // WEIGHT_BYTES
        self._others.append((verb, claim, what, why, envelope))

    def without(self, entries: Set[str]) -> Settles:
        """The same, less what is lost: nothing may be settled for an entry that another owner has."""
        kept = Settles()
        kept._metrics = self._metrics
        kept.weight = self.weight
        kept.claims = [c for c in self.claims if c.entry not in entries]
        ids = {c.id for c in kept.claims}
        kept.done = [d for d in self.done if d[0] in ids]
        kept._others = [o for o in self._others if o[1].entry not in entries]
        for tag, claims in self._groups.items():
            if left := [c for c in claims if c.entry not in entries]:
                kept._groups[tag] = left
        return kept

    def args(self, done_record: bytes) -> list[Any]:
        """The step script's arguments from ARGV[8] on."""
        out: list[Any] = [done_record, len(self._metrics)]
        for field, n in self._metrics.items():
            out += (field, n)
        out.append(len(self._groups))
        for tag, claims in self._groups.items():
            keyed = any(c.is_marked for c in claims)
            out += (tag, int(keyed), len(claims))
            out += [c.entry for c in claims]
            if keyed:
                for c in claims:
                    out += (c.envelope.key, c.moved_id)
        for verb, c, what, why, envelope in self._others:
            out += (verb, c.tag, c.entry, c.id, c.envelope.key, what, why, envelope)
        return out
