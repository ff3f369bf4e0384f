"""Aims: how a moment of a job's life is recognised among what passes between an engine and its server.

A script call is known by its SHA-1; what a step settles and whether its answer brought jobs stand in its words.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import hiredis
import msgspec

from engine.store.scripts import names, script

Side = Literal["request", "reply"]
Need = Literal["", "settles", "rows", "moved"]


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """One armed aim. It strikes once: the message that fits is held, and whoever armed it is told."""

    id: int
    who: tuple[str, ...] = ()
    """Listeners it looks at; none: all."""
    script: str = ""
    """'' any call of a script."""
    side: Side = "request"
    need: Need = ""
    """settles: the step ends jobs; rows: its answer gives jobs out; moved: the promotion or reclaim moved some."""
    cut: bool = False
    """True: cut the connection instead of holding it, and go on: a lost request, or a lost reply."""
    times: int = 1


@functools.cache
def shas() -> dict[bytes, str]:
    """SHA-1 -> name of each script, as they pass."""
    return {script(name).sha.encode(): name for name in names()}


def script_of(command: Sequence[bytes]) -> str:
    """The script a request calls; '' for any other command."""
    if len(command) > 2 and command[0].upper() == b"EVALSHA":
        return shas().get(command[1], "")
    return ""


_FIRST = 4  # EVALSHA, its SHA-1, the number of keys, the key
_PAIRS_AT = _FIRST + 8


def settles(command: Sequence[bytes]) -> bool:
    """Whether a step's request ends jobs: it has more words than its counters and the number of plain completions."""
    pairs = int(command[_PAIRS_AT])
    groups_at = _PAIRS_AT + 1 + pairs * 2
    return len(command) > groups_at + 1


def brings(name: str, reply: bytes) -> bool:
    """Whether a step's answer gives jobs out, or a promotion or reclaim moved some."""
    reader = hiredis.Reader()
    reader.feed(reply)
    answer = reader.gets()
    if not isinstance(answer, list):
        return False  # an error: nothing moved
    if name == "step":
        return any(len(rows) > 0 for rows in answer[2][1::2])
    return name in ("promote", "reclaim") and int(answer[name == "reclaim"]) > 0


class Call(msgspec.Struct, frozen=True):
    """What is known of a request that passes."""

    script: str = ""
    ends_jobs: bool = False
    queue: str = ""
    """Whose key it names."""


NO_CALL = Call()


def call_of(command: Sequence[bytes]) -> Call:
    """What that request is."""
    name = script_of(command)
    if not name:
        return NO_CALL
    queue = command[_FIRST - 1].partition(b"{")[2].partition(b"}")[0].decode(errors="replace")
    return Call(name, name == "step" and settles(command), queue)


def fits(aim: Aim, who: str, call: Call, reply: bytes | None = None) -> bool:
    """Whether the aim strikes this request, or with `reply` the answer to it."""
    if not call.script or (aim.side == "reply") != (reply is not None):
        return False
    if (aim.who and who not in aim.who) or (aim.script and aim.script != call.script):
        return False
    if aim.need == "settles":
        return call.ends_jobs
    return not aim.need or (reply is not None and brings(call.script, reply))
