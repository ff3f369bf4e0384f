"""Backoff: attempt number -> seconds until the next attempt. Pure, so it can be tested without waiting.

`Exponential(initial=2.0)` waits about 2, 4, 8 ... seconds, never more than `cap`, each drawn from the upper part of its
step (`jitter=0.5`: between half and the whole), so that a thousand jobs that failed together do not come back together.
A queue or handler also takes any callable `attempt -> seconds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import ConfigError

MAX_DELAY = 30 * 86_400.0
"""Seconds. No backoff is longer: a job that must wait a month is a schedule, not a retry."""

Backoff = Callable[[int], float]
"""Seconds to wait after attempt `n` (from 1) failed."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """`initial * factor ** (attempt - 1)` seconds, at most `cap`, minus up to `jitter` of itself.

    >>> Exponential(initial=2.0, jitter=0).base(1), Exponential(initial=2.0).base(3)
    (2.0, 8.0)
    >>> Exponential(initial=2.0, cap=60).base(50)
    60.0
    """

    initial: float = 2.0
    factor: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.initial <= MAX_DELAY and self.factor >= 1 and 0 < self.cap <= MAX_DELAY and 0 <= self.jitter <= 1):
            raise ConfigError(
                f"{self!r} is no backoff: initial and cap are seconds above 0 (at most {MAX_DELAY:.0f}), "
                "factor is at least 1, jitter between 0 and 1",
                setting="backoff",
            )

    def base(self, attempt: int) -> float:
        """Seconds without jitter; `attempt` counts from 1."""
        try:
            seconds = self.initial * self.factor ** (max(attempt, 1) - 1)
        except OverflowError:
            return float(self.cap)
        return float(min(seconds, self.cap))

    def delay(self, attempt: int, random: float) -> float:
        """Seconds with jitter; `random` in [0, 1) comes from the clock."""
        return self.base(attempt) * (1.0 - self.jitter * random)

    def __call__(self, attempt: int) -> float:
        return self.base(attempt)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same number of seconds.

    >>> Fixed(5.0)(1), Fixed(5.0)(9)
    (5.0, 5.0)
    """

    seconds: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= MAX_DELAY:
            raise ConfigError(
                f"Fixed({self.seconds}) is no backoff: seconds are between 0 and {MAX_DELAY:.0f}", setting="backoff"
            )

    def __call__(self, attempt: int) -> float:
        return float(self.seconds)


def delay_seconds(backoff: Backoff, attempt: int, random: float) -> float:
    """Seconds to wait after `attempt` failed, jitter included, clipped to [0, MAX_DELAY].

    A callable that raises or returns nonsense is the caller's to handle: `outcome.decide` falls back to the default.
    """
    seconds = backoff.delay(attempt, random) if isinstance(backoff, Exponential) else float(backoff(attempt))
    if not seconds >= 0:  # also catches NaN
        return 0.0
    return min(seconds, MAX_DELAY)
