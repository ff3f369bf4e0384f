"""Found: what a law has looked at, and what it holds against whom."""

from __future__ import annotations

import msgspec

SHOWN = 200
"""Violations kept of one law: the first ones tell what is wrong, the count how bad it is."""


class Violation(msgspec.Struct, frozen=True):
    """One breach."""

    job: str
    """A job's full id, or the queue, key or process that it is about."""
    what: str


class Found:
    """Filled by a law."""

    def __init__(self) -> None:
        self.looked = 0
        """Things that were judged. A law that looked at nothing has shown nothing."""
        self.count = 0
        self.violations: list[Violation] = []

    def __repr__(self) -> str:
        return f"<Found {self.count} among {self.looked}>"

    def look(self, n: int = 1) -> None:
        """So many things are judged."""
        self.looked += n

    def against(self, job: str, what: str) -> None:
        """This one is a breach."""
        self.count += 1
        if len(self.violations) < SHOWN:
            self.violations.append(Violation(job, what))
