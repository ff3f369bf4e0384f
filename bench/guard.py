"""Guard: what a job costs in counts that no machine changes, against the figures kept in `guard.json`.

    python -m bench.guard                     measure, compare, exit 1 when a count has grown by more than a tenth
    python -m bench.guard --accept "REASON"   keep what was measured as the new figures; the reason stays beside those that grew

Counted are commands and bytes of the server, the bytecode instructions of our own code, which one Python version always executes
alike, and objects in rings, which only the garbage collector frees (they once cost a third of a worker's time). A timing would
need a quiet machine; these fail for the change that made a job dearer and for nothing else. The lowest figure there ever was is
kept beside the accepted one, so that many small steps are seen as the one large step they are. The suite runs the comparison
(tests/bench/test_guard.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .guard_counts import INSTRUCTIONS, OBJECTS, START, measured

KEPT = Path(__file__).with_name("guard.json")
SLACK = 0.10
"""Share by which a count may grow; they repeat to a few thousandths, also on a busy machine."""
BESIDES = {OBJECTS: 0.02, START: 6.0}
"""How much the counts that end so may grow in any case: they are none, or belong to no job."""
TOLD = 0.01
"""Share over the lowest figure from which on the reason is asked for and shown."""
DIGITS = 6
"""That count, of each kept figure: 0.0113636 calls a job are not 0.01."""
TRIES = 2
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One count as `guard.json` has it."""

    accepted: float
    lowest: float
    why: tuple[str, ...] = ()
    """What each rise since the lowest bought: `993 to 1106: ...`."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One count beside the kept one."""

    name: str
    now: float
    kept: Kept | None

    @property
    def _besides(self) -> float:
        return next((more for end, more in BESIDES.items() if self.name.endswith(end)), 0.0)

    @property
    def has_grown(self) -> bool:
        """True when it is more than the slack over what is kept."""
        return self.kept is not None and self.now > self.kept.accepted * (1 + SLACK) + self._besides

    @property
    def has_shrunk(self) -> bool:
        """True when the kept figure would hide a later growth."""
        return self.kept is not None and self.now < self.kept.accepted * (1 - SLACK) - self._besides

    def __str__(self) -> str:
        if self.kept is None:
            return f"  {self.name:<64} {_shown(self.now):>9}   not kept for Python {PYTHON}"
        word = "GROWN" if self.has_grown else "shrunk" if self.has_shrunk else ""
        accepted, lowest = self.kept.accepted, self.kept.lowest
        change = f"{self.now / accepted - 1:+7.1%}" if accepted else " " * 7
        line = f"  {self.name:<64} {_shown(self.now):>9}   kept {_shown(accepted):>9}   {change} {word}".rstrip()
        if not is_told(self.kept):
            return line
        return "\n".join([line, f"      lowest ever {_shown(lowest)}", *(f"      {reason}" for reason in self.kept.why)])


def is_told(kept: Kept) -> bool:
    """True when what is accepted is so far over the lowest that a reason is asked for."""
    return kept.accepted > kept.lowest * (1 + TOLD) + 1e-9


def compare(now: dict[str, float], kept: dict[str, Kept]) -> list[Compared]:
    """Each count beside the kept one, in the order of `now`."""
    return [Compared(name, value, kept.get(name)) for name, value in now.items()]


def vanished(now: dict[str, float], kept: dict[str, Kept]) -> list[str]:
    """What is kept and no longer counted: a guard that lost a count would pass for ever."""
    return [name for name in kept if name not in now]


def kept_counts(place: Path = KEPT) -> dict[str, Kept]:
    """What is kept; instructions only for this version of Python, whose compiler makes them."""
    kept: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return msgspec.convert({**kept["server"], **kept["python"].get(PYTHON, {})}, dict[str, Kept])


def accept(now: dict[str, float], why: str, place: Path = KEPT) -> None:
    """Keep these counts from now on.

    Raises:
        ValueError: a count has risen over its lowest, and `why` is empty.
    """
    before = kept_counts(place)
    fresh = {name: _accepted(float(f"{value:.{DIGITS}g}"), before.get(name), why) for name, value in now.items()}
    unsaid = [name for name, one in fresh.items() if is_told(one) and not one.why]
    if unsaid:
        raise ValueError(f"say why these have risen: {', '.join(unsaid)}")
    kept: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    told = {name: msgspec.to_builtins(one) for name, one in fresh.items()}
    kept["python"][PYTHON] = {name: one for name, one in told.items() if INSTRUCTIONS in name}
    kept["server"] = {name: one for name, one in told.items() if INSTRUCTIONS not in name}
    place.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _accepted(now: float, before: Kept | None, why: str) -> Kept:
    if before is None:
        return Kept(now, now)
    lowest = min(now, before.lowest)
    if not is_told(Kept(now, lowest)):
        return Kept(now, lowest)
    reasons, base = before.why, before.accepted if before.why else lowest
    if now > base * (1 + TOLD):
        if not why:
            return Kept(now, lowest)
        reasons = (*reasons, f"{_shown(base)} to {_shown(now)}: {why}")
    return Kept(now, lowest, reasons)


def least(kept: dict[str, Kept]) -> dict[str, float]:
    """Measure until nothing has grown, twice at most, and take the lower of each count: whatever disturbs one adds to it."""
    now = measured()
    for _ in range(TRIES - 1):
        if not any(row.has_grown for row in compare(now, kept)):
            break
        again = measured()
        now = {name: min(value, again[name]) for name, value in now.items()}
    return now


def told(rows: Iterable[Compared]) -> str:
    """All rows as a person reads them."""
    return "\n".join(map(str, rows))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}" if value >= 1 else f"{value:.4f}" if value else "0"


def main() -> None:
    """Measure, then compare or keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description="Costs of a job that no machine changes.")
    parser.add_argument("--accept", metavar="REASON", help="keep what is measured now; what the counts that grew have bought")
    options = parser.parse_args()
    if options.accept is not None:
        if not options.accept.strip():
            sys.exit("Say why: --accept 'what the counts that grew have bought'.")
        accept(measured(), options.accept.strip())
    kept = kept_counts()
    now = least(kept)
    rows = compare(now, kept)
    print(told(rows))
    if gone := vanished(now, kept):
        sys.exit(f"Kept and no longer counted: {', '.join(gone)}.")
    if any(row.has_grown for row in rows):
        sys.exit("A job has become dearer. Find out why; when it is worth it, run with --accept and the reason.")
    if any(row.has_shrunk for row in rows):
        print("Cheaper than kept: run with --accept, so that a later growth is seen.")


if __name__ == "__main__":
    main()
