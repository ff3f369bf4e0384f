"""Backoff: attempt number -> seconds until the next attempt. Pure, so it can be tested without waiting.

`Exponential(initial=2.0)` waits about 2, 4, 8 ... seconds, never more than `cap`, each drawn from the upper part of its
step (`jitter=0.5`: between half and the whole), so that a thousand jobs that failed together do not come back together.
A queue or handler also takes any callable `attempt -> seconds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from .errors import ConfigError
from .given import why_no_function_of_one, within
from .keys import shown

MAX_DELAY = 30 * 86_400.0
"""Seconds. No backoff is longer: a job that must wait a month is a schedule, not a retry."""

Backoff = Callable[[int], float]
"""Seconds to wait after attempt `n` (from 1) failed."""


class Exponential(msgspec.Struct, frozen=True):
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
        if not (
            all(within(seconds, 0, MAX_DELAY, float) and seconds for seconds in (self.initial, self.cap))
            and within(self.factor, 1, math.inf, float)
            and within(self.jitter, 0, 1, float)
        ):
            raise ConfigError(
                f"{shown(self, 200)} is no backoff: initial and cap are seconds above 0 (at most {MAX_DELAY:.0f}), "
                "factor is at least 1, jitter between 0 and 1",
                setting="backoff",
            )

    def base(self, attempt: int) -> float:
        """Seconds without jitter; `attempt` counts from 1."""
        try:
            seconds = self.initial * float(self.factor) ** (max(attempt, 1) - 1)
        except OverflowError:
            return float(self.cap)
        return float(min(seconds, self.cap))

    def delay(self, attempt: int, random: float) -> float:
        """Seconds with jitter; `random` in [0, 1) comes from the clock."""
        return self.base(attempt) * (1.0 - self.jitter * random)

    def __call__(self, attempt: int) -> float:
        return self.base(attempt)


class Fixed(msgspec.Struct, frozen=True):
    """Always the same number of seconds.

    >>> Fixed(5.0)(1), Fixed(5.0)(9)
    (5.0, 5.0)
    """

    seconds: float = 5.0

    def __post_init__(self) -> None:
        if not within(self.seconds, 0, MAX_DELAY, float):
            raise ConfigError(
                f"Fixed({shown(self.seconds)}) is no backoff: seconds are between 0 and {MAX_DELAY:.0f}", setting="backoff"
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


def in_ms(seconds: float) -> int:
    """Whole milliseconds, rounded up: never early. What floats add beyond a microsecond is none.

    >>> in_ms(0.0004), in_ms(1.1), in_ms(0)
    (1, 1100, 0)
    """
    return math.ceil(round(seconds * 1000, 3))


def check_backoff(given: Any, setting: str = "backoff") -> Backoff:
    """Return `given` when it can be asked for the seconds after an attempt; `setting` is where it was given.

    Raises:
        ConfigError: a class where an instance is meant, no callable, or one that can't be called with the attempt's number.
    """
    if isinstance(given, type):
        name = given.__name__
        raise ConfigError(f"{setting}: {name} is a class, give an instance of it: {name}()", setting=setting)
    if not callable(given):
        raise ConfigError(f"{setting}: {shown(given)} is neither Exponential, Fixed nor a callable", setting=setting)
    why = why_no_function_of_one(given)
    if why is not None:
        raise ConfigError(
            f"{setting}: {shown(given)} can't be called with an attempt's number to get seconds: {why}", setting=setting
        )
    backoff: Backoff = given
    return backoff
