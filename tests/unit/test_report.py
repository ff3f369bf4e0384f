"""Report: what is kept of an exception is masked, bounded, and grouped by its cause."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.services.report import MAX_MESSAGE, MAX_TRACEBACK, dead_info, error_line, fingerprint
from engine.store.rows import Death

PHONE = "+5511987654321"


def caught(error: Exception) -> Exception:
    try:
        raise error
    except (ValueError, KeyError, RuntimeError) as found:
        return found


def one_place(n: int) -> Exception:
    return caught(ValueError(f"order {n} failed"))


def another_place(n: int) -> Exception:
    try:
        raise ValueError(f"order {n} failed")
    except ValueError as found:
        return found


def info_of(error: BaseException) -> tuple[Death, str]:
    data, print_ = dead_info(error, reason="discarded", history=(), worker="w1", organization_id="org-1", now_ms=7)
    return msgspec.msgpack.decode(data, type=Death), print_


@given(st.text(max_size=300))
def test_an_error_is_one_short_line(text: str) -> None:
    line = error_line(ValueError(text))
    assert line.startswith("ValueError")
    assert len(line) <= 500
    assert len(line.splitlines()) <= 1


def test_only_the_first_line_of_a_message_is_in_the_line() -> None:
    assert error_line(ValueError("first\nsecond")) == "ValueError: first"
    assert error_line(ValueError()) == "ValueError"


def test_phone_numbers_are_masked_everywhere() -> None:
    error = caught(RuntimeError(f"can't reach {PHONE}"))
    death, _ = info_of(error)
    for text in (error_line(error), death.message, death.traceback):
        assert "987654321" not in text


def test_a_death_holds_what_is_known_within_bounds() -> None:
    error = caught(RuntimeError("x" * 100_000))
    death, print_ = info_of(error)
    assert (death.type, death.reason, death.worker, death.organization_id, death.died_at_ms) == (
        "RuntimeError",
        "discarded",
        "w1",
        "org-1",
        7,
    )
    assert death.fingerprint == print_
    assert len(death.message) == MAX_MESSAGE
    assert len(death.traceback) <= MAX_TRACEBACK


def test_the_end_of_a_long_traceback_is_kept() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise KeyError("the bottom")

    try:
        deep(300)
    except KeyError as error:
        death, _ = info_of(error)
    assert "the bottom" in death.traceback


def test_equal_causes_have_one_fingerprint_whatever_their_numbers() -> None:
    assert len({fingerprint(one_place(n)) for n in range(5)}) == 1
    assert fingerprint(ValueError("order 1 failed")) == fingerprint(ValueError("order 2 failed"))  # without any frame
    assert len(fingerprint(one_place(1))) == 12


def test_different_places_types_and_messages_are_told_apart() -> None:
    prints = [
        fingerprint(e)
        for e in (one_place(1), another_place(1), caught(KeyError("order 1 failed")), ValueError("a"), ValueError("b"))
    ]
    assert len(set(prints)) == 5


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [Speechless(), ExceptionGroup("many", [ValueError("one"), KeyError("two")]), SystemExit(3), ValueError("\ud800")]
)
def test_odd_exceptions_are_reported_like_any_other(error: BaseException) -> None:
    death, print_ = info_of(error)
    assert death.type == type(error).__name__
    assert len(print_) == 12
    assert error_line(error).startswith(type(error).__name__)
