"""Laws: what must hold of a run, each a pure function over its story. `judge` asks them all.

The first sentence of a law's docstring is how it is told; docs: bench/README.md.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..story import Story
from .attempts import attempts_honest, outcomes_true
from .ends import answered, drained, ended_as_told, workers_live
from .executions import executions_bounded
from .found import Found, Violation
from .keeping import conserved, deduplicated, enqueued_once, nothing_invented, nothing_lost, settled_once
from .order import in_order, never_early, no_overlap
from .structures import structures_agree
from .suspects import suspects_alone

Law = Callable[[Story, Found], None]

LAWS: dict[str, Law] = {
    "nothing lost": nothing_lost,
    "settled once": settled_once,
    "conserved": conserved,
    "structures agree": structures_agree,
    "in order": in_order,
    "no overlap": no_overlap,
    "never early": never_early,
    "attempts honest": attempts_honest,
    "outcomes true": outcomes_true,
    "executions bounded": executions_bounded,
    "suspects alone": suspects_alone,
    "enqueued once": enqueued_once,
    "deduplicated": deduplicated,
    "ended as told": ended_as_told,
    "nothing invented": nothing_invented,
    "drained": drained,
    "answered": answered,
    "workers live": workers_live,
}


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One law's verdict."""

    law: str
    says: str
    looked: int
    """Things that were judged; 0: this run had nothing to show it with."""
    count: int
    violations: list[Violation]
    """The first ones."""

    @property
    def held(self) -> bool:
        """No violation."""
        return self.count == 0


def judge(story: Story) -> list[Judged]:
    """Every law's verdict, in the order of LAWS."""
    return [_judged(name, law, story) for name, law in LAWS.items()]


def _judged(name: str, law: Law, story: Story) -> Judged:
    found = Found()
    law(story, found)
    says = " ".join((law.__doc__ or "").split())
    return Judged(law=name, says=says, looked=found.looked, count=found.count, violations=found.violations)
