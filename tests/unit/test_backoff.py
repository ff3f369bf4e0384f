"""Backoff: within its bounds for every attempt, and refused when it is none."""

from __future__ import annotations

import doctest
import functools
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import engine.backoff
from engine import ConfigError, Exponential, Fixed
from engine.backoff import MAX_DELAY, check_backoff, delay_seconds

backoffs = st.builds(
    Exponential,
    initial=st.floats(0.001, MAX_DELAY),
    factor=st.floats(1, 100),
    cap=st.floats(0.001, MAX_DELAY),
    jitter=st.floats(0, 1),
)
chances = st.floats(0, 1, exclude_max=True)


def test_the_examples_in_its_docstrings_are_true() -> None:
    assert doctest.testmod(engine.backoff).failed == 0


@given(backoffs, st.integers(1, 10_000), chances)
def test_a_delay_lies_between_its_step_and_the_step_less_the_jitter(backoff: Exponential, attempt: int, chance: float) -> None:
    base = backoff.base(attempt)
    assert 0 < base <= backoff.cap
    delay = backoff.delay(attempt, chance)
    assert base * (1 - backoff.jitter) * 0.999 <= delay <= base


@given(backoffs, st.integers(1, 1000))
def test_a_later_attempt_never_waits_less(backoff: Exponential, attempt: int) -> None:
    assert backoff.base(attempt) <= backoff.base(attempt + 1)


@given(st.floats(0.001, 1000), st.floats(1, 10), st.integers(1, 12))
def test_below_its_cap_each_step_is_the_last_times_the_factor(initial: float, factor: float, attempt: int) -> None:
    backoff = Exponential(initial=initial, factor=factor, cap=MAX_DELAY)
    assume(backoff.base(attempt + 1) < MAX_DELAY)
    assert backoff.base(attempt + 1) == pytest.approx(backoff.base(attempt) * factor)


@pytest.mark.parametrize("attempt", [0, -5, 10**6, 10**400])
def test_an_absurd_attempt_number_is_no_error(attempt: int) -> None:
    assert 2.0 <= Exponential(initial=2.0, cap=60).base(attempt) <= 60


@given(st.floats(0, MAX_DELAY), st.integers(1, 100), chances)
def test_fixed_is_always_the_same(seconds: float, attempt: int, chance: float) -> None:
    assert delay_seconds(Fixed(seconds), attempt, chance) == seconds


@pytest.mark.parametrize(
    "given_",
    [
        *({"initial": 0}, {"initial": -1}, {"initial": math.nan}, {"initial": MAX_DELAY * 2}, {"factor": 0.5}),
        *({"factor": math.nan}, {"cap": 0}, {"cap": math.inf}, {"jitter": -0.1}, {"jitter": 1.1}),
        *({"initial": "2"}, {"initial": None}, {"factor": "2"}, {"factor": [2]}, {"cap": b"9"}, {"cap": True}, {"jitter": "no"}),
    ],
)
def test_what_is_no_exponential_is_refused_and_named(given_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is no backoff") as caught:
        Exponential(**given_)
    assert caught.value.setting == "backoff"


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, MAX_DELAY + 1, "5", None, True, [5]])
def test_what_is_no_fixed_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="is no backoff"):
        Fixed(seconds)


@given(st.floats() | st.integers(-(10**6), 10**12), chances)
def test_a_callable_of_the_users_is_clipped_whatever_number_it_answers(answer: float, chance: float) -> None:
    assert 0 <= delay_seconds(lambda attempt: answer, 1, chance) <= MAX_DELAY


def test_a_callable_is_given_the_attempt() -> None:
    assert delay_seconds(lambda attempt: attempt * 10, 3, 0.5) == 30


def test_a_whole_factor_costs_no_more_than_any_other() -> None:
    assert Exponential(factor=3).base(10**9) == 3600


class Waits:
    """A callable object."""

    def __call__(self, attempt: int, *, most: float = 9.0) -> float:
        return min(attempt, most)


async def waits_async(attempt: int) -> float:
    return 1.0


@pytest.mark.parametrize(
    "given_", [Exponential(), Fixed(1), Waits(), lambda attempt: 1.0, lambda *_: 1.0, functools.partial(max, 3)]
)
def test_whatever_takes_the_attempts_number_is_a_backoff(given_: Any) -> None:
    assert check_backoff(given_) is given_


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (Exponential, r"^backoff: Exponential is a class, give an instance of it: Exponential\(\)$"),
        (Waits, r"give an instance of it: Waits\(\)"),
        (5.0, "5.0 is neither Exponential, Fixed nor a callable"),
        (lambda: 1.0, "can't be called with an attempt's number to get seconds: too many positional arguments"),
        (lambda attempt, error: 1.0, "missing a required argument: 'error'"),
        (lambda *, attempt: 1.0, "can't be called"),
        (waits_async, "it is async, and nobody awaits it"),
    ],
)
def test_what_cannot_answer_with_seconds_is_no_backoff(given_: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_backoff(given_)
    assert caught.value.setting == "backoff"
