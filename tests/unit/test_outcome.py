"""Outcome: `decide` answers every ending with one thing to do, and never raises."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.outcome
from engine import ConfigError, Discard, Exponential, Fixed, PauseQueue, ProducerFull, QueueFull, RateLimited, Retry, Snooze
from engine.backoff import MAX_DELAY, Backoff
from engine.errors import AttemptTimeout
from engine.outcome import (
    STORE_TROUBLE_MS,
    Asked,
    Bury,
    Cancel,
    Complete,
    Ending,
    Next,
    Outcome,
    Policy,
    Raised,
    Release,
    Returned,
    Rules,
    Stopped,
    TimedOut,
    TryAgain,
    Wait,
    decide,
)

PLAIN = Rules(3, Fixed(5.0), {})


class Boom(BaseException):
    """Not even an Exception."""


class Odd(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(attempt: int) -> float:
    raise RuntimeError("bad backoff")


def nonsense(attempt: int) -> Any:
    return "soon"


seconds = st.floats(0, MAX_DELAY)
outcomes = st.one_of(
    st.builds(Retry, st.none() | seconds, st.text()),
    st.builds(Snooze, seconds, st.text()),
    st.builds(RateLimited, seconds, st.sampled_from(["job", "queue", "key:tenant"])),
    st.builds(Discard, st.text()),
    st.builds(PauseQueue, st.text()),
)
errors = outcomes | st.sampled_from([ValueError("v"), KeyError(1), OSError("o"), Boom("b"), ExceptionGroup("g", [ValueError()])])
endings: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Returned, st.none() | st.integers() | st.text()),
    st.builds(Raised, errors),
    st.builds(TimedOut, st.floats(0.001, 1e6)),
    st.just(Asked()),
    st.just(Stopped()),
)
delays: st.SearchStrategy[Backoff] = st.sampled_from(
    [Fixed(5), Exponential(), raising, nonsense, lambda n: -1.0, lambda n: float("nan"), lambda n: 1e300]
)
bare: list[type[Discard] | type[PauseQueue]] = [Discard, PauseQueue]
meanings: st.SearchStrategy[Any] = st.one_of(outcomes, st.sampled_from(bare), delays)
policies: st.SearchStrategy[Policy] = st.dictionaries(
    st.sampled_from([ValueError, Exception, BaseException, LookupError, OSError, AttemptTimeout, Boom]),
    meanings,
    max_size=4,
)
rules = st.builds(Rules, st.integers(1, 10), delays, policies)


@given(st.integers(1, 20), rules, endings, st.floats(0, 1, exclude_max=True))
def test_every_ending_has_one_next_step_with_a_sane_delay(attempt: int, rules: Rules, ending: Ending, chance: float) -> None:
    found = decide(attempt, rules, ending, chance)
    assert isinstance(found, (Complete, TryAgain, Wait, Release, Bury, Cancel))
    if isinstance(found, (TryAgain, Wait)):
        assert 0 <= found.delay_ms <= MAX_DELAY * 1000
    if isinstance(found, TryAgain):
        assert attempt < rules.attempts


@given(rules, endings, st.floats(0, 1, exclude_max=True))
def test_the_last_attempt_is_never_followed_by_another(rules: Rules, ending: Ending, chance: float) -> None:
    assert not isinstance(decide(rules.attempts, rules, ending, chance), TryAgain)


CASES: list[tuple[Ending, Next]] = [
    (Returned(7), Complete(7)),
    (Stopped(), Release()),
    (Asked("why"), Cancel("why")),
    (Raised(Snooze(60, "later")), Wait(60_000, "later")),
    (Raised(RateLimited(1.5)), Wait(1500, "rate limited for 1.5 s (job)", "job")),
    (Raised(RateLimited(2, scope="queue")), Wait(2000, "rate limited for 2 s (queue)", "queue")),
    (Raised(PauseQueue("revoked")), Release(pause="revoked")),
]


@pytest.mark.parametrize(("ending", "expected"), CASES, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("attempt", [1, 3, 99])
def test_waiting_for_the_outside_and_stopping_are_possible_on_the_last_attempt_too(
    attempt: int, ending: Ending, expected: Next
) -> None:
    assert decide(attempt, PLAIN, ending, 0.0) == expected


def test_an_unplanned_error_is_tried_again_after_the_backoff_and_dead_at_the_end() -> None:
    error = ValueError("no")
    assert decide(1, PLAIN, Raised(error), 0.0) == TryAgain(5000, error)
    assert decide(2, PLAIN, Raised(error), 0.0) == TryAgain(5000, error)
    assert decide(3, PLAIN, Raised(error), 0.0) == Bury(error, "attempts used up")


def test_retry_may_choose_its_delay_or_leave_it_to_the_backoff() -> None:
    soon, some = Retry(after=0.25), Retry()
    assert decide(1, PLAIN, Raised(soon), 0.0) == TryAgain(250, soon)
    assert decide(1, PLAIN, Raised(some), 0.0) == TryAgain(5000, some)
    assert decide(3, PLAIN, Raised(soon), 0.0) == Bury(soon, "attempts used up")


@pytest.mark.parametrize(("after", "ms"), [(0.0004, 1), (0.2504, 251), (1.1, 1100), (0.0, 0)])
def test_no_time_that_was_asked_for_is_rounded_down(after: float, ms: int) -> None:
    retry = Retry(after=after)
    assert decide(1, PLAIN, Raised(retry), 0.0) == TryAgain(ms, retry)
    error = ValueError("no")
    assert decide(1, Rules(3, Fixed(after), {}), Raised(error), 0.0) == TryAgain(ms, error)
    for outcome in (Snooze(after), RateLimited(after)):
        found = decide(1, PLAIN, Raised(outcome), 0.0)
        assert isinstance(found, Wait)
        assert found.delay_ms == ms


def test_discard_buries_at_once() -> None:
    error = Discard("bad number")
    assert decide(1, PLAIN, Raised(error), 0.0) == Bury(error, "discarded")


def test_a_timeout_is_a_failed_attempt_that_says_how_long() -> None:
    found = decide(1, PLAIN, TimedOut(30), 0.0)
    assert isinstance(found, TryAgain)
    assert isinstance(found.error, AttemptTimeout)
    assert "30 s" in str(found.error)
    last = decide(3, PLAIN, TimedOut(30), 0.0)
    assert isinstance(last, Bury)


class Special(ValueError):
    """A child, so that the nearest class can be told."""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({ValueError: Snooze(9)}, Wait),
        ({ValueError: Discard}, Bury),
        ({ValueError: Discard("fixed words")}, Bury),
        ({ValueError: PauseQueue}, Release),
        ({ValueError: Fixed(1)}, TryAgain),
        ({ValueError: Retry(1)}, TryAgain),
        ({Exception: Discard, ValueError: Snooze(9)}, Wait),
        ({ValueError: Discard, Special: Snooze(9)}, Wait),
        ({KeyError: Discard}, TryAgain),
    ],
)
def test_a_policy_says_what_an_error_means_the_nearest_class_first(policy: Policy, expected: type[Next]) -> None:
    assert isinstance(decide(1, Rules(3, Fixed(5), policy), Raised(Special("words")), 0.0), expected)


def test_a_policys_backoff_replaces_the_queues_and_its_bare_class_takes_the_errors_words() -> None:
    error = ValueError("card expired")
    assert decide(1, Rules(3, Fixed(5), {ValueError: Fixed(1)}), Raised(error), 0.0) == TryAgain(1000, error)
    assert decide(1, Rules(3, Fixed(5), {ValueError: PauseQueue}), Raised(error), 0.0) == Release(pause="card expired")
    assert decide(1, Rules(3, Fixed(5), {ValueError: Discard}), Raised(error), 0.0) == Bury(error, "discarded")


def test_an_outcome_raised_by_the_handler_is_not_looked_up_in_the_policy() -> None:
    found = decide(1, Rules(3, Fixed(5), {BaseException: Discard}), Raised(Snooze(1)), 0.0)
    assert isinstance(found, Wait)


def test_a_timeout_may_have_a_policy_of_its_own() -> None:
    assert isinstance(decide(1, Rules(3, Fixed(5), {AttemptTimeout: Discard}), TimedOut(1), 0.0), Bury)


@pytest.mark.parametrize("bad", [raising, nonsense])
def test_a_broken_backoff_falls_back_to_the_default(bad: Callable[[int], float]) -> None:
    found = decide(1, Rules(3, bad, {}), Raised(ValueError()), 0.0)
    assert isinstance(found, TryAgain)
    assert found.delay_ms == 2000


@pytest.mark.parametrize("policy", [{Odd: Discard}, {Odd: PauseQueue}, {Odd: Snooze(1)}, {Odd: RateLimited(1)}, {}])
def test_an_error_whose_text_cannot_be_had_is_decided_like_any_other(policy: Policy) -> None:
    assert isinstance(decide(1, Rules(3, Fixed(5), policy), Raised(Odd()), 0.0), (Bury, Release, Wait, TryAgain))


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), MAX_DELAY + 1, "60", True, [5]])
@pytest.mark.parametrize("make", [Retry, Snooze, RateLimited])
def test_an_outcome_with_an_absurd_time_is_refused_where_it_is_made(make: Callable[[float], Outcome], after: Any) -> None:
    with pytest.raises(ConfigError, match="seconds between 0 and"):
        make(after)


@pytest.mark.parametrize("scope", ["", "all", "key:", "Queue", None, 5, b"job", ["job"]])
def test_a_rate_limit_of_an_unknown_scope_is_refused(scope: Any) -> None:
    with pytest.raises(ConfigError, match="one of 'job', 'queue' or 'key:<name>'"):
        RateLimited(1, scope=scope)


def test_the_examples_in_its_docstrings_are_true() -> None:
    assert doctest.testmod(engine.outcome).failed == 0


def test_a_handler_that_meets_a_full_queue_waits_and_keeps_its_attempt() -> None:
    for full in (QueueFull("full", queue="q", limit=1, waiting=1), ProducerFull("full", queue="q", waiting=1)):
        assert decide(3, PLAIN, Raised(full), 0.0) == Wait(STORE_TROUBLE_MS, "full")
