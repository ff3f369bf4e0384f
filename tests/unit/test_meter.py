"""Meter: every observation lands in one bucket, and what was counted leaves once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.services.meter import BUCKETS_MS, Meter
from engine.store.settles import Settles

observations = st.lists(
    st.tuples(st.sampled_from(["completed", "retried", "dead"]), st.integers(-5, 10**8), st.floats(0, 1e5)), max_size=30
)


def poured(meter: Meter) -> dict[str, int]:
    """What a step would carry."""
    settles = Settles()
    meter.pour(settles)
    args = settles.args(b"")
    return dict(zip(args[2 : 2 + args[1] * 2 : 2], args[3 : 3 + args[1] * 2 : 2], strict=True))


@given(observations)
def test_every_observation_is_counted_once_in_each_kind(seen: list[tuple[str, int, float]]) -> None:
    meter = Meter("greet")
    for outcome, wait_ms, run_seconds in seen:
        meter.observe(outcome, wait_ms, run_seconds)
    fields = poured(meter)
    for kind in ("ended", "wait_ms", "run_ms"):
        assert sum(n for field, n in fields.items() if field.startswith(f"{kind}|greet|")) == len(seen)
    assert fields.get("run_ms_sum|greet", 0) == sum(int(run * 1000) for _, _, run in seen)
    assert fields.get("wait_ms_sum|greet", 0) == sum(max(wait, 0) for _, wait, _ in seen)
    assert poured(meter) == {}


@pytest.mark.parametrize(
    ("ms", "label"), [(-3, "1"), (0, "1"), (1, "1"), (2, "2"), (3, "5"), (5000, "5000"), (5001, "10000"), (10**9, "inf")]
)
def test_a_bucket_takes_what_is_at_most_its_bound(ms: int, label: str) -> None:
    meter = Meter("greet")
    meter.observe("completed", ms, 0)
    assert poured(meter)[f"wait_ms|greet|{label}"] == 1


def test_the_users_targets_are_bounds() -> None:
    assert {10, 5000} <= set(BUCKETS_MS)
    assert sorted(set(BUCKETS_MS)) == list(BUCKETS_MS)


def test_what_left_once_does_not_leave_again() -> None:
    meter = Meter("greet")
    first = None
    for _ in range(2):
        meter.observe("completed", 3, 0.004)
        fields = poured(meter)
        assert first in (None, fields)
        first = fields


def test_the_average_follows_what_runs_take() -> None:
    assert Meter("greet").average_run is None
    meter = Meter("greet")
    meter.observe("completed", 0, 1.0)
    assert meter.average_run == 1.0
    for _ in range(100):
        meter.observe("completed", 0, 0.1)
    assert meter.average_run == pytest.approx(0.1, rel=0.01)


def test_two_handlers_meter_apart() -> None:
    one, two, settles = Meter("a"), Meter("b"), Settles()
    one.observe("completed", 1, 0)
    two.observe("dead", 1, 0)
    one.pour(settles)
    two.pour(settles)
    assert {"ended|a|completed", "ended|b|dead"} <= set(settles.args(b"")[2:])
