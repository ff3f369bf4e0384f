"""Replies: the server's answers as plain Python values. Our connections speak RESP3; scripts always answer as in RESP2."""

from __future__ import annotations

from typing import Any

from .base import text


def pairs(reply: Any) -> dict[str, Any]:
    """A map (RESP3), or a flat list of names and values (scripts, stream fields), as a dict; {} for nothing."""
    if isinstance(reply, dict):
        return {text(name): value for name, value in reply.items()}
    return {text(reply[i]): reply[i + 1] for i in range(0, len(reply or ()), 2)}


def entries(reply: Any) -> list[tuple[str, dict[str, bytes]]]:
    """Stream entries: (id, fields)."""
    return [(text(entry), pairs(fields)) for entry, fields in reply or ()]


def streams(reply: Any) -> dict[str, list[tuple[str, dict[str, bytes]]]]:
    """The answer of XREAD: stream -> entries."""
    return {text(name): entries(rows) for name, rows in (reply or {}).items()}
