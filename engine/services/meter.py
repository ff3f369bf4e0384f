"""Meter: counts and times of one handler between two steps, kept as plain integers and sent with the settles.

An attempt is counted though its settle is dropped or refused because its lease was lost: it did run, and so long.

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

    __slots__ = ("_ended", "_name", "_run", "_run_sum", "_seen", "_wait", "_wait_sum", "average_run")

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended: dict[str, int] = {}
        self._wait = [0] * len(_LABELS)
        self._run = [0] * len(_LABELS)
        self._seen: set[int] = set()
        """Buckets that hold something; so a pour after a single job looks at two of them and not at thirty-six."""
        self._wait_sum = 0
        self._run_sum = 0
        self.average_run: float | None = None
        """Seconds a run takes, smoothed; what prefetch goes by. None before the first."""

    def observe(self, outcome: str, wait_ms: int, run_seconds: float) -> None:
        """One attempt ended."""
        run_ms = int(run_seconds * 1000)
        self._ended[outcome] = self._ended.get(outcome, 0) + 1
        wait, run = bisect_left(BUCKETS_MS, wait_ms), bisect_left(BUCKETS_MS, run_ms)
        self._wait[wait] += 1
        self._run[run] += 1
        self._seen.add(wait)
        self._seen.add(run)
        self._wait_sum += max(wait_ms, 0)
        self._run_sum += run_ms
        self.average_run = run_seconds if self.average_run is None else self.average_run * 0.9 + run_seconds * 0.1

    def pour(self, settles: Settles) -> None:
        """Move what was counted into the settles that are about to leave."""
        if not self._ended:
            return
        for outcome, n in self._ended.items():
            settles.count(f"ended|{self._name}|{outcome}", n)
        for kind, counts in (("wait_ms", self._wait), ("run_ms", self._run)):
            for i in self._seen:
                if n := counts[i]:
                    settles.count(f"{kind}|{self._name}|{_LABELS[i]}", n)
                    counts[i] = 0
        settles.count(f"wait_ms_sum|{self._name}", self._wait_sum)
        settles.count(f"run_ms_sum|{self._name}", self._run_sum)
        self._ended.clear()
        self._seen.clear()
        self._wait_sum = self._run_sum = 0
