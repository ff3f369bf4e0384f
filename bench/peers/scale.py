"""Scale: how much of everything a run does; the whole table, and a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts and seconds of the workloads."""

    runs: int = 3
    enqueue_one: int = 2_000
    enqueue_bulk: int = 10_000
    drain_jobs: int = 20_000
    drain_seconds: float = 6.0
    """A drain is measured for at most so long: slow engines are judged by what they did in it."""
    jobs_a_key: int = 4
    """Where jobs share their ordering keys: three of four are blocked."""
    io_jobs: int = 1_500
    load_seconds: float = 2.5
    delayed_jobs: int = 2_000
    delayed_over: float = 10.0
    delayed_lead: float = 3.0
    """Between the first delayed enqueue and the first due instant: all must be in by then."""
    patience: float = 5.0
    """Seconds that jobs may still be missing after the last one was enqueued, or due; then they count as at least so late."""
    idle_seconds: float = 20.0
    down_seconds: float = 9.0
    back_limit: float = 40.0
    kill_limit: float = 400.0
    """Long enough for lease times of five minutes and what they are overstepped by; beyond that the answer is "more than"."""
    raw_jobs: int = 20_000


QUICK = Scale(
    runs=1,
    enqueue_one=500,
    enqueue_bulk=2_000,
    drain_jobs=3_000,
    drain_seconds=3.0,
    io_jobs=300,
    load_seconds=1.5,
    delayed_jobs=400,
    delayed_over=2.0,
    delayed_lead=1.5,
    patience=3.0,
    idle_seconds=5.0,
    back_limit=20.0,
    kill_limit=25.0,
    raw_jobs=10_000,
)
