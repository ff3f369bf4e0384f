"""Durations and instants as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.durations import LONGEST, SKEW_MS, format_duration, parse_duration, parse_when
from engine.errors import BadTime

NOW_MS = 1_795_000_000_000
NOW = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=NOW_MS)
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("30", 30), ("0.25", 0.25), (" 1h 30m ", 5400), ("0", 0),
     ("1.5h", 5400), ("2 h", 7200), ("1s500ms", 1.5)],
)  # fmt: skip
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-5s", "5 weeks", "s", "10S", "5mm", "1m1h", "1e3", "nan", "inf", "٣s", "10s;", "1..5s", ".5", "5.s", "1_000", "9" * 400, "3651d",
     "+5"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadTime, match=r"no duration|too long"):
        parse_duration(text)


def test_the_sentence_about_a_duration_names_the_value_and_the_way_out() -> None:
    with pytest.raises(BadTime, match=r"'7 days' is no duration: write 500ms, 10s, 5m, 2h, 7d or plain seconds"):
        parse_duration("7 days")
    with pytest.raises(BadTime, match="can't be negative"):
        parse_duration("-1h")


@given(st.integers(0, 3650), st.sampled_from(sorted(UNITS)))
def test_a_whole_number_of_any_unit_is_read_exactly(count: int, unit: str) -> None:
    assert parse_duration(f"{count}{unit}") == count * UNITS[unit]


@given(st.floats(0, LONGEST))
@example(59.96)
@example(3599.9)
@example(86_399.9)
@example(0.9996)
def test_a_duration_shown_to_people_reads_back_as_nearly_the_same(seconds: float) -> None:
    again = parse_duration(format_duration(seconds))
    # Two units are shown: off by half of the finer one, so by at most 1/48 (days and hours), half a tenth of a second, or half
    # a millisecond.
    assert abs(again - seconds) <= max(seconds / 48, 0.05 if seconds >= 1 else 0.0005) + 1e-9
    assert format_duration(again) == format_duration(seconds)


@given(st.sampled_from(sorted(UNITS)), st.integers(1, 23))
def test_round_durations_are_shown_as_they_are_written(unit: str, count: int) -> None:
    assert format_duration(parse_duration(f"{count}{unit}")) == f"{count}{unit}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.9996, "1s"),
        (59.97, "1m"),
        (3599.9, "1h"),
        (3570, "59m30s"),
        (86_399, "1d"),
        (90_061, "1d1h"),
        (-5, "-5s"),
    ],
)
def test_a_duration_never_shows_sixty_minutes_or_more_than_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) <= LONGEST
    except BadTime as error:
        assert "\n" not in str(error)


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2027, 1, 1), datetime(2036, 1, 1), timezones=ZONES))
def test_an_instant_with_a_zone_reads_back_as_itself(when: datetime) -> None:
    assert parse_when(when.isoformat(), NOW_MS) == when


def test_z_means_utc_and_the_past_is_forgiven_for_a_minute() -> None:
    almost = NOW - timedelta(milliseconds=SKEW_MS)
    assert parse_when(almost.isoformat().replace("+00:00", "Z"), NOW_MS) == almost


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2027-01-05T09:00", "has no time zone: add Z for UTC, or an offset such as -03:00"),
        ("2027-01-05", "has no time zone"),
        ("tomorrow", "is no time: write it like"),
        ("", "is no time"),
        ("2020-01-05T09:00Z", "is in the past"),
        ("2099-01-05T09:00Z", "more than ten years ahead"),
        ("0001-01-01T00:00:00+14:00", "is in the past"),
        ("9999-12-31T23:59:59-14:00", "more than ten years ahead"),
        (str(NOW_MS), "is no time"),
    ],
)
def test_an_instant_that_can_not_be_meant_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadTime, match=sentence):
        parse_when(text, NOW_MS)


@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_a_sentence(text: str) -> None:
    try:
        assert parse_when(text, NOW_MS).utcoffset() is not None
    except BadTime:
        pass
