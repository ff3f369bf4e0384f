"""The schedule of a chaos run: the same seed gives the same faults, and the command says so before anything runs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from bench.chaos.faults import INJECT
from bench.chaos.kinds import COMMON, RARE, Drawer, table
from bench.chaos.schedule import KINDS, WATCHED, draw, matching
from bench.chaos.watched import DOWN_AFTER_MS


def test_the_same_seed_draws_the_same_schedule_and_another_seed_another() -> None:
    one, again, other = (draw(seed, count=200, seconds=600.0, lease=2.0) for seed in (7, 7, 8))
    assert one == again != other
    assert [one.at_s for one in one] == sorted(one.at_s for one in one)
    assert 0 <= one[0].at_s <= one[-1].at_s <= 600.0


def test_every_kind_comes_before_luck_gives_one_a_second_turn() -> None:
    assert set(Counter(one.kind for one in draw(3, count=len(KINDS), seconds=60.0, lease=2.0)).values()) == {1}
    assert {one.kind for one in draw(3, count=500, seconds=600.0, lease=2.0)} == set(KINDS)


def test_a_frozen_worker_stays_so_for_longer_than_its_lease() -> None:
    planned = [one for one in draw(1, count=300, seconds=600.0, lease=2.0) if one.kind.startswith("freeze@")]
    assert planned
    assert all(one.seconds == pytest.approx(3.2) for one in planned)


def test_every_kind_can_be_injected_and_failovers_come_only_under_sentinel() -> None:
    assert set(INJECT) == {*KINDS, *WATCHED}
    assert {one.kind for one in draw(3, count=200, seconds=600.0, lease=2.0, among=WATCHED)} == set(WATCHED)
    assert WATCHED["client-pause"].high_s * 1000 < DOWN_AFTER_MS, "a longer pause is a failover that nobody planned"
    with pytest.raises(ValueError, match="no such fault"):
        matching(("failover",))
    assert matching(("failover",), WATCHED) == ["failover"]


def test_only_takes_a_kind_or_a_family_of_kinds() -> None:
    assert matching(("cut", "lost-reply@step")) == ["cut", "lost-reply@step"]
    assert {kind.partition("@")[0] for kind in matching(("kill", "freeze"))} == {"kill", "freeze"}
    with pytest.raises(ValueError, match="no such fault"):
        matching(("earthquake",))


def test_the_same_seed_draws_the_same_jobs() -> None:
    shares = table(100.0)
    assert sum(shares.values()) == pytest.approx(1.0)
    one, again = (
        [drawer.draw(n, ["a", "b"]) for n in range(2000)] for drawer in (Drawer("7/p1", shares, 2.0), Drawer("7/p1", shares, 2.0))
    )
    assert one == again
    assert {plan.script.kind for plan in one} >= set(COMMON)
    assert set(table(100.0)) == {*COMMON, *RARE}


def test_the_command_prints_its_schedule_and_refuses_an_unknown_fault() -> None:
    command = [sys.executable, "-m", "bench.chaos", "--schedule", "--minutes", "1", "--faults", "5", "--seed", "9"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    assert len(first.splitlines()) == 5
    wrong = subprocess.run([*command, "--only", "earthquake"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "there is no such fault" in wrong.stderr
