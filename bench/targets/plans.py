"""Plans: what a producer is told to send and when, and the instants themselves. Pure, so that they can be checked."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

Kind = Literal["messages", "paced", "campaign", "all-queues"]

NUMBER = "+55119{:08}"
"""Made-up mobile numbers in canonical form."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One load."""

    kind: Kind
    count: int
    """How many jobs, of each kind where there are several."""
    seconds: float = 0.0
    """How long the load lasts; their pace is count / seconds."""
    seed: int = 7
    run: str
    """Goes into every id: equal plans of two runs are not duplicates of one another."""
    notes: str
    """File for what the producer writes down."""

    @property
    def per_second(self) -> float:
        """The pace asked for."""
        return self.count / self.seconds


def at_random(count: int, seconds: float, seed: int) -> list[float]:
    """Instants (seconds from the start) as independent people make them: exactly `count`, each anywhere, in order.

    This is a Poisson process of which the count is known: bursts and gaps are there, the rate is the one asked for.
    """
    dice = random.Random(seed)
    return sorted(dice.uniform(0.0, seconds) for _ in range(count))


def evenly(count: int, seconds: float) -> list[float]:
    """Instants at one distance, the first at 0."""
    return [seconds * number / count for number in range(count)]
