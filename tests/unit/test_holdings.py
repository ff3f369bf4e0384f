"""Holdings: what the process holds over all queues, and whose turn it is to run alone."""

from __future__ import annotations

from engine.services.holdings import Holdings
from tests.support.factory import claim


def hold(holdings: Holdings, queue: str, *entries: str) -> None:
    for entry in entries:
        holdings.of(queue)[entry] = claim(queue, entry=entry)
    holdings.count(queue)


def test_entries_and_claims_under_way_of_the_other_queues_count_beside() -> None:
    holdings = Holdings()
    hold(holdings, "a", "1-1", "1-2")
    hold(holdings, "b", "2-1")
    holdings.ask("b", 4)
    assert (holdings.total, holdings.beside("a"), holdings.beside("b")) == (3, 5, 2)
    holdings.ask("b", 0)
    assert holdings.beside("a") == 1


def test_a_process_of_several_queues_is_empty_for_a_suspect_only_in_its_turn() -> None:
    holdings = Holdings()
    hold(holdings, "a", "1-1")
    assert holdings.told("a", 0) == 0  # nobody else who could claim meanwhile
    holdings.of("b")
    assert (holdings.told("a", 0), holdings.told("a", 3), holdings.told("b", 0)) == (1, 3, 1)
    holdings.take_solo("a")
    assert (holdings.told("a", 0), holdings.told("b", 0)) == (0, 1)
    holdings.ask("b", 2)
    assert holdings.told("a", 0) == 2


def test_a_snapshot_does_not_change_with_what_is_held() -> None:
    holdings = Holdings()
    hold(holdings, "a", "1-1")
    seen = holdings.snapshot()
    hold(holdings, "a", "1-2")
    holdings.of("b")
    assert {queue: [c.entry for c in claims] for queue, claims in seen.items()} == {"a": ["1-1"]}


def test_while_a_suspect_waits_or_runs_the_other_queues_claim_nothing() -> None:
    holdings = Holdings()
    assert holdings.may_claim("a")
    assert holdings.take_solo("a")
    assert holdings.take_solo("a")
    assert not holdings.take_solo("b")
    assert (holdings.may_claim("a"), holdings.may_claim("b")) == (True, False)
    holdings.end_solo("b")  # not its turn to end
    assert not holdings.may_claim("b")


def test_who_asks_while_another_queue_has_the_turn_has_the_next_and_nobody_claims_between() -> None:
    holdings = Holdings()
    holdings.take_solo("a")
    for queue in ("b", "c", "b"):
        assert not holdings.take_solo(queue)
    seen = []
    while holdings.solo is not None:
        seen.append(holdings.solo)
        holdings.end_solo(holdings.solo)
    assert seen == ["a", "b", "c"]
    assert all(holdings.may_claim(queue) for queue in "abc")


def test_everybody_looks_when_the_process_is_empty_for_a_suspect_and_when_its_turn_is_over() -> None:
    holdings, looks = Holdings(), []
    for name in ("a", "b"):
        holdings.watch(lambda name=name: looks.append(name))  # type: ignore[misc]  # a default binds the loop's name
    hold(holdings, "a", "1-1")
    holdings.ended()
    assert looks == []  # no suspect waits
    holdings.take_solo("b")
    holdings.ended()
    assert looks == []  # it is not empty yet
    del holdings.of("a")["1-1"]
    holdings.count("a")
    holdings.ended()
    assert looks == ["a", "b"]
    holdings.end_solo("b")
    assert looks == ["a", "b", "a", "b"]
    assert repr(holdings) == "<Holdings 0 solo=None>"
