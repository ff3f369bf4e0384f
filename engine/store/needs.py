"""Needs: which commands a script calls, told from its text, so that the answer is never out of date."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from .scripts import script

_CALLED = re.compile(r"\b(?:call|try)\(\s*'([A-Z]+)'(?:,\s*'([A-Z]+)')?")

FAMILIES = ("XGROUP", "XINFO")
"""Commands whose second word is judged too."""

_DROPPING = frozenset({"DEL", "EXISTS", "HDEL", "XDEL", "ZPOPMIN", "ZREM"})
_OUT_OF_REACH = {"enqueue": _DROPPING | {"ZRANK"}, "enqueue drop-oldest": frozenset({"ZRANK"})}
"""What is only in those functions of a script's parts that it never calls, or only where a full queue's oldest jobs make room."""

_SAMPLES = {
    "DEL": "@meta",
    "EXISTS": "@meta",
    "UNLINK": "@meta",
    "XREADGROUP": "GROUP w me STREAMS @meta >",
    "XREAD": "STREAMS @meta 0",
    "XGROUP CREATE": "@meta w 0",
    "XGROUP DELCONSUMER": "@meta w me",
    "XINFO STREAM": "@meta",
    "XINFO GROUPS": "@meta",
    "XINFO CONSUMERS": "@meta w",
    "SCRIPT LOAD": "x",
    "CLIENT SETNAME": "x",
    "PING": "",
    "TIME": "",
    "INFO": "",
}


@cache
def called_by(name: str) -> frozenset[str]:
    """The commands that a script and its parts have in them, `XGROUP CREATE` for one of a family. `enqueue drop-oldest` is the
    script as queues with such a limit call it."""
    found = set()
    for command, word in _CALLED.findall(script(name.partition(" ")[0]).text):
        found.add(f"{command} {word}" if command in FAMILIES else command)
    return frozenset(found) - _OUT_OF_REACH.get(name, frozenset())


def samples(commands: Iterable[str]) -> dict[str, str]:
    """For each command a call as the server's rules would judge it, `@` before a key, and the command it stands for."""
    return {f"{one} {_SAMPLES.get(one, '@meta x x x')}".rstrip(): one for one in sorted(commands)}
