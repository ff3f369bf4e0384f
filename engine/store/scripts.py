"""Scripts: reads `lua/*.lua`, joins each with the parts it names, and knows its SHA-1.

A script file has its `#!lua` line, a header (its contract), a `--@use` line that names the parts from `lua/parts/` in order, and
its body. Joining by name keeps the prelude of the hot scripts short: a closure that is not used is not built. `enqueue` answers
its usual call before a second such line.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec

LUA = Path(__file__).parent / "lua"


class Script(msgspec.Struct, frozen=True):
    """One script as the server gets it."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script of that name; `LookupError` when a part it names does not exist (a packaging mistake)."""
    lines = (LUA / f"{name}.lua").read_text(encoding="utf-8").splitlines()
    shebang, rest = lines[0], lines[1:]
    out = [shebang]
    for line in rest:
        if line.startswith("--@use "):
            out += [part(p) for p in line.split()[1:]]
        elif not line.startswith("--"):
            out.append(line)
    text = "\n".join(out) + "\n"
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def part(name: str) -> str:
    """The text of one part, its comment lines left out: the server parses it once, but keeps it."""
    path = LUA / "parts" / f"{name}.lua"
    if not path.exists():
        raise LookupError(f"lua part {name!r} does not exist")
    return "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))


def names() -> list[str]:
    """Every script there is."""
    return sorted(p.stem for p in LUA.glob("*.lua"))
