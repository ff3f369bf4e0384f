"""Search: the highest rate that still holds, by steps. Pure: it says what to try next, the caller tries."""

from __future__ import annotations

from collections.abc import Sequence

GROWTH = 2.0
CLOSE = 1.1
"""The answer is found when the lowest rate that failed is at most so many times the highest that held."""


def next_rate(tried: Sequence[tuple[float, bool]], start: float, most: float, close: float = CLOSE) -> float | None:
    """What to try after these (rate, whether it held); None when the answer is known.

    Doubles until a rate fails, halves until one holds, then divides what lies between. Below 1 a second nothing is tried.

    >>> next_rate([], 100, 5000), next_rate([(100, True)], 100, 5000), next_rate([(100, True), (200, False)], 100, 5000)
    (100, 200.0, 141.0)
    >>> next_rate([(100, True), (109, False)], 100, 5000)
    """
    held, failed = best(tried), min((rate for rate, held in tried if not held), default=None)
    if not tried:
        return start
    if failed is None:
        return min(held * GROWTH, most) if held < most else None
    if held == 0:
        return failed / GROWTH if failed > 1 else None
    if failed / held <= close:
        return None
    return float(f"{(held * failed) ** 0.5:.3g}")


def best(tried: Sequence[tuple[float, bool]]) -> float:
    """The highest rate that held below the lowest that failed; 0 when none did. Beyond a failure, one that held was luck."""
    failed = min((rate for rate, held in tried if not held), default=float("inf"))
    return max((rate for rate, held in tried if held and rate < failed), default=0.0)
