"""Self-test: violations planted in a run that was read; the law that is meant for each must see it. So nobody need believe that a
green table means that somebody looked. `python -m bench.chaos.check DIR --url URL --self-test` does it with your run.
"""

from __future__ import annotations

import msgspec

from . import plants_kept, plants_told
from .ground import Ground, Nothing, Plant
from .laws import judge
from .story import Evidence, Story

PLANTS: dict[str, tuple[str, Plant]] = {**plants_kept.PLANTS, **plants_told.PLANTS}
"""What is planted -> the law that must see it, and how it is done."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One planted violation."""

    name: str
    law: str
    was_planted: bool
    """False: this run had nobody to plant it in."""
    broken: list[str]
    """The laws that found more than before."""

    @property
    def held(self) -> bool:
        """The law that is meant for it saw it."""
        return not self.was_planted or self.law in self.broken


def self_test(evidence: Evidence) -> list[Trial]:
    """Plant each, in a copy of its own, and judge."""
    before = {judged.law: judged.count for judged in judge(Story(evidence))}
    trials = []
    for name, (law, plant) in PLANTS.items():
        try:
            planted = plant(Ground(evidence))
        except Nothing:
            trials.append(Trial(name=name, law=law, was_planted=False, broken=[]))
            continue
        broken = [judged.law for judged in judge(Story(planted)) if judged.count > before[judged.law]]
        trials.append(Trial(name=name, law=law, was_planted=True, broken=broken))
    return trials
