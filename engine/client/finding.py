"""Finding: one thing a check-up looked at, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "note", "warning", "problem"]

LEVELS: tuple[Level, ...] = ("problem", "warning", "note", "ok")
"""The worst first."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `mend` says what to do, '' when there is nothing to."""

    level: Level
    subject: str
    """`server`, `queue messages`, ..."""
    what: str
    mend: str = ""


def of_server(level: Level, what: str, mend: str = "") -> Finding:
    """About the server."""
    return Finding(level=level, subject="server", what=what, mend=mend)


def of_queue(level: Level, queue: str, what: str, mend: str = "") -> Finding:
    """About one queue."""
    return Finding(level=level, subject=f"queue {queue}", what=what, mend=mend)
