"""Meter: counts and times of one handler between two steps, kept as plain integers and sent with the settles.

Buckets are cumulative only when rendered; here each observation adds one to one bucket, so a step sends few fields.
"""

from __future__ import annotations

from bisect import bisect_left

from ..store.settles import Settles

BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000)
"""Upper bounds in ms: the user's targets (10 ms, 5 s) are bounds, and beyond half an hour all is equally late."""

_LABELS = (*(str(b) for b in BUCKETS_MS), "inf")


class Meter:
    """Fields of the `metrics` hash: `<kind>|<name>|<label>`; kinds `ended` (by outcome), `wait_ms`, `run_ms`, and the sums."""

    __slots__ = ("_counts", "_ended", "_run", "_run_sum", "_wait", "_wait_sum", "average_run")

    def __init__(self, name: str) -> None:
        self._ended = f"ended|{name}|"
        self._wait = tuple(f"wait_ms|{name}|{label}" for label in _LABELS)
        self._run = tuple(f"run_ms|{name}|{label}" for label in _LABELS)
        self._wait_sum, self._run_sum = f"wait_ms_sum|{name}", f"run_ms_sum|{name}"
        self._counts: dict[str, int] = {}
        """Field -> what was counted since the last step; few of them, whatever there is."""
        self.average_run: float | None = None
        """Seconds a run takes, smoothed; what prefetch goes by. None before the first."""

    def observe(self, outcome: str, wait_ms: int, run_seconds: float) -> None:
        """One attempt ended."""
        run_ms, counts = int(run_seconds * 1000), self._counts
        for field, n in (
            (self._ended + outcome, 1),
            (self._wait[bisect_left(BUCKETS_MS, wait_ms)], 1),
            (self._run[bisect_left(BUCKETS_MS, run_ms)], 1),
            (self._wait_sum, max(wait_ms, 0)),
            (self._run_sum, run_ms),
        ):
            counts[field] = counts.get(field, 0) + n
        self.average_run = run_seconds if self.average_run is None else self.average_run * 0.9 + run_seconds * 0.1

    def pour(self, settles: Settles) -> None:
        """Move what was counted into the settles that are about to leave."""
        for field, n in self._counts.items():
            settles.count(field, n)
        self._counts.clear()
