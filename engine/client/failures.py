"""Failures: which dead jobs are meant, and dead jobs in groups of one cause. Pure."""

from __future__ import annotations

import msgspec

from ..masking import mask_text
from ..store.rows import JobRow
from .views import instant

SAMPLES = 3
"""Ids shown of a group, the newest."""

MOST_GROUPS = 500
"""Beyond these, causes are counted together as `other`: a failure with a random message must not fill the memory."""


class Filter(msgspec.Struct, frozen=True):
    """Which dead jobs are meant; all that is given must fit."""

    queue: str | None = None
    name: str | None = None
    error: str | None = None
    """Part of `Type: message`, in any case"""
    fingerprint: str | None = None
    """The first characters of it are enough"""
    since_ms: int | None = None
    """Died within the last so many ms"""

    def fits(self, row: JobRow, now_ms: int) -> bool:
        """True when this dead job is meant; `now_ms` is the server's."""
        death = row.death
        return not (
            (self.name is not None and row.name != self.name)
            or (self.error is not None and self.error.casefold() not in _line(row).casefold())
            or (self.fingerprint is not None and not (death and death.fingerprint.startswith(self.fingerprint)))
            or self.is_before(row, now_ms)
        )

    def is_before(self, row: JobRow, now_ms: int) -> bool:
        """True when it died longer ago than is meant, as all that died before it did."""
        return self.since_ms is not None and row.ended_ms < now_ms - self.since_ms


def _line(row: JobRow) -> str:
    """`Type: message`; masked, which takes longer than all else, so only where it is looked at."""
    return f"{row.death.type}: {mask_text(row.death.message)}" if row.death else ""


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead jobs with one fingerprint in one queue."""

    fingerprint: str
    queue: str
    names: list[str]
    type: str
    message: str
    reason: str
    count: int
    organizations: int
    first_at: str | None
    last_at: str | None
    samples: list[str]
    """Full ids, newest first"""


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """All groups, the largest first. `is_cut`: there are more dead jobs than were looked at."""

    groups: list[FailureGroup]
    matched: int
    looked_at: int
    is_cut: bool


class _Group(msgspec.Struct):
    first: JobRow
    names: set[str] = msgspec.field(default_factory=set)
    organizations: set[str] = msgspec.field(default_factory=set)
    samples: list[str] = msgspec.field(default_factory=list)
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0


class Tally(msgspec.Struct):
    """Adds dead jobs up, newest first."""

    looked_at: int = 0
    matched: int = 0
    is_cut: bool = False
    _groups: dict[tuple[str, str], _Group] = msgspec.field(default_factory=dict)

    def add(self, row: JobRow, *, fits: bool) -> None:
        """Count one dead job; it joins its group when it fits."""
        self.looked_at += 1
        if not fits:
            return
        self.matched += 1
        print_ = (row.death.fingerprint if row.death else "") or "unknown"
        key = (row.queue, print_)
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = (row.queue, "other")
        group = self._groups.setdefault(key, _Group(row))
        group.count += 1
        group.names.add(row.name)
        if row.death and row.death.organization_id:
            group.organizations.add(row.death.organization_id)
        if len(group.samples) < SAMPLES:
            group.samples.append(f"{row.queue}/{row.id}")
        group.first_ms = min(group.first_ms or row.ended_ms, row.ended_ms)
        group.last_ms = max(group.last_ms, row.ended_ms)

    def result(self) -> Failures:
        """The groups as they are now."""
        groups = [_view(key, group) for key, group in self._groups.items()]
        groups.sort(key=lambda group: (-group.count, group.queue, group.fingerprint))
        return Failures(groups=groups, matched=self.matched, looked_at=self.looked_at, is_cut=self.is_cut)


def _view(key: tuple[str, str], group: _Group) -> FailureGroup:
    death = group.first.death
    return FailureGroup(
        fingerprint=key[1],
        queue=key[0],
        names=sorted(name for name in group.names if name),
        type=(death.type if death else "") or "Unknown",
        message=mask_text(death.message) if death else "",
        reason=death.reason if death else "",
        count=group.count,
        organizations=len(group.organizations),
        first_at=instant(group.first_ms),
        last_at=instant(group.last_ms),
        samples=group.samples,
    )
