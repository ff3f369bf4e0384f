"""Patience: the one rule for asking again. Soon at first, capped, spread, and rarely while people must mend something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnanswered, StoreUnreachable
from engine.store.patience import FIRST_PAUSE, LEAST, LONGEST_PAUSE, RARE_PAUSE, pause

PASSING = [StoreUnreachable("away"), StoreUnanswered("lost"), StoreRefused("busy", code="BUSY"), StoreFull("full", code="OOM")]
LASTING = [StoreDenied("no", code="WRONGPASS"), StoreRefused("many", code="MAXCLIENTS"), StoreRefused("odd", code="WRONGTYPE")]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_the_first_repeat_is_immediate_and_pauses_grow_to_their_limit(error: StoreError) -> None:
    pauses = [pause(tries, error, 0.999999) for tries in range(1, 40)]
    assert pauses[0] == 0
    assert pauses[1] == pytest.approx(FIRST_PAUSE, rel=1e-3)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, rel=1e-3)


@given(tries=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True), error=st.sampled_from(PASSING))
def test_no_pause_is_longer_than_lets_work_go_on_within_two_seconds(tries: int, chance: float, error: StoreError) -> None:
    assert 0 <= pause(tries, error, chance) <= LONGEST_PAUSE < 2.0


@given(tries=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True), error=st.sampled_from(LASTING))
def test_what_people_must_mend_is_asked_rarely_from_the_first_time(tries: int, chance: float, error: StoreError) -> None:
    assert RARE_PAUSE <= pause(tries, error, chance) <= 1.5 * RARE_PAUSE
    assert RARE_PAUSE >= 5.0


def test_many_who_wait_ask_once_a_second_each_on_average_and_not_together() -> None:
    waits = sorted(pause(30, PASSING[0], n / 1000) for n in range(1000))
    assert sum(waits) / len(waits) == pytest.approx(1.0, rel=0.01)
    assert waits[0] == pytest.approx(LONGEST_PAUSE * LEAST)
    fullest = max(sum(1 for wait in waits if at <= wait < at + 0.1) for at in (0.7 + n / 100 for n in range(60)))
    assert fullest <= 250, "a tenth of a second meets a fifth of them, by even chance"
