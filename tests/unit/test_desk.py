"""Desk: slots go to the lowest priority number, one grant in ten to whoever waited longest, and never more than there are."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.services.desk import FAIR_SHARE, Desk


def make(slots: int, **seats: tuple[int, int]) -> tuple[Desk, list[str]]:
    """A desk with seats of (priority, places); whom it woke."""
    desk, woken = Desk(slots), list[str]()
    for name, (priority, places) in seats.items():
        desk.join(name, priority, places, lambda name=name: woken.append(name))  # type: ignore[misc]  # a default binds the loop's name
    return desk, woken


def test_the_lowest_priority_number_is_served_first() -> None:
    desk, woken = make(3, late=(9, 5), soon=(1, 2))
    desk.deal()
    assert (desk.granted("soon"), desk.granted("late"), desk.free) == (2, 1, 0)
    assert sorted(woken) == ["late", "soon"]


def test_a_queue_without_waiting_jobs_gets_nothing() -> None:
    desk, _ = make(3, late=(9, 5), soon=(1, 5))
    desk.hunger("soon", False)
    desk.deal()
    assert (desk.granted("soon"), desk.granted("late")) == (0, 3)


def test_what_comes_back_is_dealt_again() -> None:
    desk, _ = make(2, a=(5, 2), b=(5, 2))
    desk.hunger("b", False)
    desk.deal()
    desk.give_back("a", 1)
    desk.hunger("a", False)
    desk.hunger("b", True)
    desk.deal()
    assert (desk.granted("a"), desk.granted("b")) == (1, 1)


def test_queues_of_equal_priority_take_turns() -> None:
    desk, _ = make(1, a=(5, 9), b=(5, 9), c=(5, 9))
    served = run(desk, ["a", "b", "c"], 30)
    assert [served.count(name) for name in "abc"] == [10, 10, 10]


def test_one_grant_in_ten_goes_to_whoever_waited_longest() -> None:
    desk, _ = make(1, a=(1, 9), b=(5, 9), c=(9, 9))
    served = run(desk, ["a", "b", "c"], 400)
    assert served.count("a") == 360
    assert served.count("b") == served.count("c") == 20


def run(desk: Desk, names: list[str], grants: int) -> list[str]:
    """Who is served when every job ends at once and everybody always wants more."""
    served = []
    for _ in range(grants):
        desk.deal()
        (holder,) = [name for name in names if desk.granted(name)]
        served.append(holder)
        desk.give_back(holder, 1)
    return served


def test_it_says_who_holds_what() -> None:
    desk, _ = make(3, a=(1, 2))
    desk.deal()
    assert repr(desk) == "<Desk 1 of 3 free; a 2>"


NAMES = ["a", "b", "c", "d"]


class DeskRules(RuleBasedStateMachine):
    """Any order of hunger, deals and returns."""

    desk: Desk

    @initialize(slots=st.integers(1, 8), seats=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=4, max_size=4))
    def begin(self, slots: int, seats: list[tuple[int, int]]) -> None:
        self.desk = Desk(slots)
        self.seats = dict(zip(NAMES, seats, strict=True))
        self.hungry = dict.fromkeys(NAMES, True)
        self.passed_over = dict.fromkeys(NAMES, 0)
        self.woken: list[str] = []
        for name, (priority, places) in self.seats.items():
            self.desk.join(name, priority, places, lambda name=name: self.woken.append(name))  # type: ignore[misc]  # as above

    def wants(self, name: str) -> bool:
        return self.hungry[name] and self.desk.granted(name) < self.seats[name][1]

    @rule(name=st.sampled_from(NAMES), hungry=st.booleans())
    def hunger(self, name: str, hungry: bool) -> None:
        self.hungry[name] = hungry
        self.desk.hunger(name, hungry)

    @rule(name=st.sampled_from(NAMES), n=st.integers(1, 4))
    def give_back(self, name: str, n: int) -> None:
        self.desk.give_back(name, min(n, self.desk.granted(name)))

    @rule()
    def deal(self) -> None:
        before = {name: self.desk.granted(name) for name in NAMES}
        wanted = {name for name in NAMES if self.wants(name)}
        self.woken.clear()
        self.desk.deal()
        got = {name: self.desk.granted(name) - before[name] for name in NAMES}
        assert all(n >= 0 for n in got.values())
        assert {name for name, n in got.items() if n} == set(self.woken)
        assert len(self.woken) == len(set(self.woken)), "woken twice"
        assert {name for name, n in got.items() if n} <= wanted
        assert self.desk.free == 0 or not any(self.wants(name) for name in NAMES), "a slot is free and somebody wants it"
        for name in NAMES:
            waits = self.wants(name) and not got[name]
            self.passed_over[name] = self.passed_over[name] + sum(got.values()) if waits else 0

    @invariant()
    @precondition(lambda self: hasattr(self, "desk"))
    def never_more_than_there_are(self) -> None:
        held = {name: self.desk.granted(name) for name in NAMES}
        assert 0 <= sum(held.values()) <= self.desk.slots
        assert all(0 <= n <= self.seats[name][1] for name, n in held.items())
        # of any ten grants one is by waiting time, so nobody is passed over longer than it takes all others to have theirs
        assert max(self.passed_over.values()) <= FAIR_SHARE * len(NAMES), self.passed_over


TestDeskRules: Any = DeskRules.TestCase
TestDeskRules.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_low_queue_is_never_starved_by_a_busy_high_one(slots: int) -> None:
    desk, _ = make(slots, high=(1, 9), low=(9, 9))
    served = 0
    for _ in range(200):
        desk.deal()
        served += desk.granted("low")
        for name in ("high", "low"):
            desk.give_back(name, desk.granted(name))
    assert served == pytest.approx(200 * slots / FAIR_SHARE, abs=1)


def test_a_queue_with_fewer_places_than_grants_gives_the_rest_to_others() -> None:
    desk = Desk(5)
    for name in ("stuck", "well"):
        desk.join(name, 1, 5, lambda: None)
    desk.hunger("well", False)
    assert desk.share("stuck", held=0, room=5) == 5
    desk.resize("stuck", 2)
    assert desk.share("stuck", held=2, room=0) == 0
    assert desk.granted("stuck") == 2
    assert desk.share("well", held=0, room=5) == 3


def test_a_call_costs_the_same_however_many_queues_there_are() -> None:
    """It looked at every queue several times a call: a hundred times the steps at a thousand queues."""
    for hungry in (False, True):
        assert steps_of_a_call(1000, hungry=hungry) <= 1.1 * steps_of_a_call(10, hungry=hungry)


def steps_of_a_call(others: int, *, hungry: bool) -> int:
    """Bytecode instructions of what a pool asks of the desk around one call, beside so many others that may want slots too."""
    desk, steps = Desk(20), 0
    for n in range(others):
        desk.join(f"q{n}", 5, 5, lambda: None)
        desk.hunger(f"q{n}", hungry)
    desk.join("mine", 1, 5, lambda: None)
    desk.deal()

    def each(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal steps
        if event == "opcode":
            steps += 1
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return each

    before = sys.gettrace()
    sys.settrace(each)
    try:
        desk.share("mine", 0, 5)
        desk.hunger("mine", False)
        desk.keep("mine", 0)
    finally:
        sys.settrace(before)
    return steps
