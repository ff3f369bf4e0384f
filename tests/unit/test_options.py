"""Options: what may be said about a job is checked before anything is sent, and the sentence names the value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine.errors import BadInput, BadName, BadTime
from engine.options import EnqueueOptions, due_at_ms

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOW_MS = due_at_ms(NOW)


def test_nothing_said_means_as_declared() -> None:
    options = EnqueueOptions()
    assert (options.delay, options.at, options.priority, options.attempts) == (0.0, None, None, None)


@pytest.mark.parametrize(
    "given",
    [
        {"delay": 0},
        {"delay": 3650 * 86_400},
        {"at": NOW},
        {"priority": 1},
        {"priority": 9},
        {"attempts": 1},
        {"attempts": 1000},
        {"dedup_key": "wamid.HBg=="},
        {"dedup_window": 30 * 86_400},
        {"ordering_key": "ção/1"},
        {"timeout": 0.001},
        {"expires_after": 1},
    ],
)
def test_what_makes_sense_is_taken(given: dict[str, Any]) -> None:
    EnqueueOptions(**given)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"delay": -0.001}, BadTime),
        ({"delay": float("nan")}, BadTime),
        ({"delay": float("inf")}, BadTime),
        ({"delay": 10**400}, BadTime),
        ({"delay": True}, BadTime),
        ({"delay": "10s"}, BadTime),
        ({"delay": 3650 * 86_400 + 1}, BadTime),
        ({"at": datetime(2026, 11, 23, 12, 0)}, BadTime),
        ({"at": "tomorrow"}, BadTime),
        ({"at": NOW, "delay": 1}, BadInput),
        ({"priority": 0}, BadInput),
        ({"priority": 10}, BadInput),
        ({"priority": 1.0}, BadInput),
        ({"priority": True}, BadInput),
        ({"attempts": 0}, BadInput),
        ({"attempts": 1001}, BadInput),
        ({"dedup_key": ""}, BadName),
        ({"ordering_key": "x" * 513}, BadName),
        ({"ordering_key": 7}, BadName),
        ({"dedup_window": 0}, BadTime),
        ({"dedup_window": 30 * 86_400 + 1}, BadTime),
        ({"timeout": 0}, BadTime),
        ({"expires_after": -1}, BadTime),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(given))):
        EnqueueOptions(**given)


def test_an_instant_may_lie_a_minute_back_and_ten_years_ahead() -> None:
    for shift in (timedelta(seconds=-60), timedelta(0), timedelta(days=3650)):
        EnqueueOptions(at=NOW + shift).check_at(NOW_MS)
    EnqueueOptions(delay=5).check_at(NOW_MS)
    with pytest.raises(BadTime, match="in the past, 1m1s ago"):
        EnqueueOptions(at=NOW - timedelta(seconds=61)).check_at(NOW_MS)
    with pytest.raises(BadTime, match="ten years"):
        EnqueueOptions(at=NOW + timedelta(days=3651)).check_at(NOW_MS)


def test_the_same_instant_in_two_zones_is_one() -> None:
    assert due_at_ms(NOW.astimezone(timezone(timedelta(hours=-3)))) == NOW_MS
    assert due_at_ms(datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))) > NOW_MS  # beyond year 9999 in UTC


def test_an_instant_within_a_millisecond_is_due_at_its_end_and_not_before() -> None:
    assert due_at_ms(NOW.replace(microsecond=1)) == NOW_MS + 1
    assert due_at_ms(NOW.replace(microsecond=1000)) == NOW_MS + 1
