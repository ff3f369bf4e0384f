"""Auditing: rows of a queue that contradict one another, found and, when asked, put right.

Nothing the engine does leaves such rows; a key deleted by hand, a server that came back with part of its data, or a failover to
a replica that lagged can. What was lost is not brought back: what is left is made whole, so that the queue goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from ..keys import prefix, shown
from ..masking import mask_text
from ..store.audit import Kind, Row, Verdict
from ..store.rows import QueueCounts
from .finding import Finding, of_queue
from .looking import Looking
from .views import counted

GLANCE = 2_000
"""Rows of each structure that are looked at unless all are asked for: under a second for a queue."""

EXAMPLES = 3
LONGEST = 60
"""Characters of each that are shown."""

FOREIGN = "a key of it has a foreign type"

_WORDS = {
    Kind.META: (
        "a field of the hash `meta` that holds what it can't",
        "{} fields of the hash `meta` that hold what they can't",
        "made again; a pause stands until `engine resume`",
    ),
    Kind.UNSERVED: ("a stream with jobs that no worker reads", "{} streams with jobs that no worker reads", "served again"),
    Kind.GROUP: (
        "a ready stream in use that is gone, or whose group is",
        "{} ready streams in use that are gone, or whose group is",
        "made again",
    ),
    Kind.PENDING: ("an active entry whose data is gone", "{} active entries whose data is gone", "dropped"),
    Kind.READDED: (
        "a waiting job that its id does not lead to, or that is there twice",
        "{} waiting jobs that their id does not lead to, or that are there twice",
        "found again, the second copy dropped",
    ),
    Kind.TIMED: (
        "a scheduled or retrying job whose rows do not agree",
        "{} scheduled or retrying jobs whose rows do not agree",
        "in order again: due now where the time was lost, removed where the data was",
    ),
    Kind.WHERE: ("a trace of a job that is nowhere", "{} traces of jobs that are nowhere", "dropped"),
    Kind.HELD: (
        "a job that runs, or is to run next, beside its ordering key's holder",
        "{} jobs that run, or are to run next, beside their ordering keys' holders",
        "holder of its key, or first in line behind the one that runs",
    ),
    Kind.BLOCKED: (
        "a blocked job that stands in no line",
        "{} blocked jobs that stand in no line",
        "in line again, or waiting",
    ),
    Kind.KEY: (
        "an ordering key held by a job that is gone, or whose row is no line",
        "{} ordering keys held by jobs that are gone, or whose rows are no lines",
        "given to the next in line",
    ),
    Kind.FLAG: ("a mark of a job that is gone", "{} marks of jobs that are gone", "dropped"),
    Kind.NOTES: ("notes of a job that is gone", "notes of {} jobs that are gone", "left to their retention"),
    Kind.COUNTERS: ("counters that do not obey the law", "{} counters that do not obey the law", "written off"),
}


class Audited(msgspec.Struct):
    """What an audit of one queue looked at and found."""

    is_all: bool = True
    wrong: dict[Kind, set[str]] = msgspec.field(default_factory=dict)
    mended: dict[Kind, set[str]] = msgspec.field(default_factory=dict)


class Auditing(Looking):
    """The auditor; part of `Client.checkup`."""

    async def audit_rows(
        self, queue: str, *, full: bool = False, mend: bool = False, on_bite: Callable[[int], None] | None = None
    ) -> Audited:
        """Look at the rows of a queue, `full` at every one; with `mend`, put right what is wrong.

        Errors: StoreUnreachable, StoreUnanswered; StoreRefused for a key of a foreign type. Rows are mended a bite at a time, so
        calling again goes on where it broke off.
        """
        found = Audited()
        seen: Counter[Kind] = Counter()
        async for rows in self.store.rows(queue, most=10**12 if full else GLANCE, mend=mend):
            verdicts = await self._ask(self.store.examine, queue, rows)
            wrong = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is Verdict.WRONG]
            if wrong:
                verdicts = await self._ask(self.store.examine, queue, wrong, mend=True) if mend else [Verdict.WRONG] * len(wrong)
                for row, verdict in zip(wrong, verdicts, strict=True):
                    if verdict is not Verdict.SOUND:  # somebody ended it between the two looks
                        of = found.mended if verdict is Verdict.MENDED else found.wrong
                        of.setdefault(row.kind, set()).add(row.about)
            seen[rows[0].kind] += len(rows)
            if on_bite is not None:
                on_bite(len(rows))
        found.is_all = full or max(seen.values()) < GLANCE
        return found

    async def foreign_findings(self, queue: str, *, full: bool = False) -> list[Finding]:
        """The keys of a queue that hold another type than the engine's: one finding each, of the families of ordering keys and of
        notes one for all. Errors as `audit_rows`, without StoreRefused."""
        found: list[Finding] = []
        families: Counter[str] = Counter()
        async for name in self.store.foreign_keys(queue, most=10**12 if full else GLANCE):
            family = name.partition(":")[0]
            if family in ("line", "notes"):
                families[family] += 1
                continue
            key = prefix(queue) + name
            mend = f"rename it out of the way: RENAME {key} foreign:{{{queue}}}:{name}, then engine doctor --full --fix"
            found.append(of_queue("problem", queue, f"{FOREIGN}: {key}", mend))
        for family, n in families.items():  # an ordering key may be a phone number
            what = f"{FOREIGN}: {n:,} of the family {prefix(queue)}{family}:"
            found.append(
                of_queue(
                    "problem", queue, what, "find them with TYPE, rename them out of the way, then engine doctor --full --fix"
                )
            )
        return found

    async def write_off(self, queue: str) -> bool:
        """Count what is missing as removed, so that the law of conservation holds from now on. False: it did hold."""
        (verdict,) = await self._ask(self.store.examine, queue, [Row(Kind.COUNTERS, "")], mend=True)
        return verdict is Verdict.MENDED


def audit_findings(queue: str, found: Audited) -> list[Finding]:
    """What an audit found, in words."""
    told = []
    for kind, rows in found.wrong.items():
        told.append(of_queue("problem", queue, _many(kind, rows), "engine doctor --fix"))
    for kind, rows in found.mended.items():
        told.append(of_queue("note", queue, f"mended: {_many(kind, rows)}; {_WORDS[kind][2]}"))
    if not found.is_all and not told:
        what = f"of each structure its first {GLANCE:,} rows were looked at"
        told.append(of_queue("note", queue, what, "engine doctor --full looks at all of them"))
    return told


def law_finding(counts: QueueCounts, *, written_off: bool) -> list[Finding]:
    """What the law of conservation says of a queue; nothing when it holds."""
    unread = []
    if counts.unread:
        what = f"no numbers in the hash `meta`: {', '.join(counts.unread)}"
        unread = [
            of_queue("note", counts.queue, f"written off: {what}; begun again at 0")
            if written_off
            else of_queue("problem", counts.queue, what, "engine doctor --write-off begins them again at 0")
        ]
    if not counts.difference:
        return unread
    off = counted(abs(counts.difference), "job")
    missing = f"{off} missing" if counts.difference > 0 else f"{off} too many"
    if written_off:
        return [*unread, of_queue("note", counts.queue, f"written off: {missing}, counted as removed from now on")]
    what = f"the conservation law is broken: {missing} (enqueued: {counts.enqueued:,})"
    mend = (
        "data was lost or written from outside: keep a copy, look in the server's log for a restart without its data; "
        "engine doctor --write-off then counts the difference as removed"
    )
    return [*unread, of_queue("problem", counts.queue, what, mend)]


def _many(kind: Kind, about: set[str]) -> str:
    """How many, and which, masked: nobody knows what is in rows of somebody else's. Ordering keys are only counted."""
    one, many, _ = _WORDS[kind]
    what = one if len(about) == 1 else many.format(f"{len(about):,}")
    if kind is Kind.KEY:
        return what
    told = [mask_text(one if one.isprintable() else shown(one))[:LONGEST] for one in sorted(about)[:EXAMPLES]]
    return f"{what}: {', '.join(told)}{', ...' if len(about) > EXAMPLES else ''}"
