"""Audit of ordering keys: where rows of `keys` were lost, whoever runs holds his key again, so that nobody runs beside him."""

from __future__ import annotations

import pytest

from engine.store.audit import Kind, Row, Verdict
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, body, enqueue, raw, states
from tests.support.laws import assert_conserved, assert_sound, lines

from .test_audit import drained, wrong


@pytest.mark.parametrize("lost", [("keys",), ("keys", "line:k")])
@pytest.mark.parametrize("more", [2, 30])
async def test_beside_a_running_holder_whose_key_was_lost_nobody_of_it_is_made_runnable(
    store: RedisStore, queue: str, more: int, lost: tuple[str, ...]
) -> None:
    ids = await enqueue(store, queue, 1 + more, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    for suffix in lost:
        await raw(store, queue, "DEL", suffix)
    assert await wrong(store, queue) == {Kind.HELD: {f"5:{ids[0]}"}, Kind.BLOCKED: set(ids[1:])}
    await wrong(store, queue, mend=True)
    await assert_sound(store, queue)
    assert (await lines(store, queue))["k"] == ids
    assert await hand.claim(5) == []
    await hand.complete(claim)
    assert await drained(store, queue) == ids[1:]
    await assert_conserved(store, queue)


async def test_a_holder_alone_has_its_key_again_and_what_comes_next_waits_for_it(store: RedisStore, queue: str) -> None:
    (first,) = await enqueue(store, queue, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await raw(store, queue, "HDEL", "keys", "k")
    assert await wrong(store, queue) == {Kind.HELD: {f"5:{first}"}}
    assert await wrong(store, queue, mend=True) == {Kind.HELD: {f"5:{first}"}}
    (second,) = await enqueue(store, queue, ordering_key="k")
    assert await hand.claim(5) == []
    await hand.complete(claim)
    assert await drained(store, queue) == [second]


@pytest.mark.parametrize("delayed", ["retry", "snooze"])
async def test_who_keeps_its_key_until_it_runs_again_has_it_again(store: RedisStore, queue: str, delayed: str) -> None:
    ids = await enqueue(store, queue, 3, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await getattr(hand, delayed)(claim)
    await raw(store, queue, "DEL", "keys")
    assert await wrong(store, queue, mend=True) == {Kind.HELD: {ids[0]}, Kind.BLOCKED: set(ids[1:])}
    await assert_sound(store, queue)
    assert await hand.claim(5) == []
    await store.hasten(queue, ids[0])
    assert await drained(store, queue) == ids


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("claimed", ["the one without the key", "the holder", "nobody"])
@pytest.mark.parametrize("more", [2, 12])
async def test_of_two_that_could_run_the_one_that_runs_has_the_key_and_the_other_is_next(
    store: RedisStore, queue: str, claimed: str, more: int, released: bool
) -> None:
    hand = Hand(store, queue)
    (without,) = await enqueue(store, queue, ordering_key="k")
    if released:
        await hand.release(*await hand.claim())  # its entry's id is not its own
    if claimed == "the one without the key":
        claims = await hand.claim()
    await raw(store, queue, "HDEL", "keys", "k")
    (holder, *line) = await enqueue(store, queue, 1 + more, ordering_key="k")
    if claimed == "the holder":
        first, claim = await hand.claim(2)
        claims = [claim]
        await hand.release(first)
    if claimed == "nobody":
        claims = []
    assert list(await wrong(store, queue, mend=True)) == [Kind.HELD]
    await assert_sound(store, queue)
    await assert_conserved(store, queue)
    ahead = [without, holder] if claimed == "the one without the key" else [holder, without]
    if claims:
        assert [one.id for one in claims] == ahead[:1]
        assert await hand.claim(5) == []
        await hand.complete(*claims)
        ahead = ahead[1:]
    assert await drained(store, queue) == [*ahead, *line]
    assert await lines(store, queue) == {}


@pytest.mark.parametrize("delayed", ["retry", "snooze"])
@pytest.mark.parametrize("claimed", [True, False])
async def test_who_is_delayed_while_another_has_its_key_joins_the_line_when_it_is_due(
    store: RedisStore, queue: str, delayed: str, claimed: bool
) -> None:
    (late,) = await enqueue(store, queue, ordering_key="k")
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await getattr(hand, delayed)(claim, HOUR)
    await raw(store, queue, "HDEL", "keys", "k")
    ids = await enqueue(store, queue, 2, ordering_key="k")
    claims = await hand.claim() if claimed else []
    assert await wrong(store, queue, mend=True) == {Kind.HELD: {late}}
    await assert_sound(store, queue)
    assert await states(store, queue, [late]) == ["scheduled"]
    await store.hasten(queue, late)
    assert await states(store, queue, [late]) == ["blocked"]
    await hand.complete(*claims)
    assert await drained(store, queue) == [*ids[len(claims) :], late]
    await assert_conserved(store, queue)


async def test_while_both_run_it_is_told_and_when_one_has_ended_it_is_mended(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (first,) = await enqueue(store, queue, ordering_key="k")
    (one,) = await hand.claim()
    await raw(store, queue, "HDEL", "keys", "k")
    (second,) = await enqueue(store, queue, ordering_key="k")
    (two,) = await hand.claim()
    row = Row(Kind.HELD, f"5:{first}")
    assert await store.examine(queue, [row], mend=True) == [Verdict.WRONG]
    await hand.complete(one)
    assert await wrong(store, queue, mend=True) == {Kind.HELD: {f"5:{second}"}}
    await enqueue(store, queue, ordering_key="k")
    assert await hand.claim(5) == []
    await hand.complete(two)
    assert len(await drained(store, queue)) == 1


async def test_a_holder_that_is_gone_is_followed_by_the_one_that_runs(store: RedisStore, queue: str) -> None:
    """And a holder of another key is none of this one."""
    ids = await enqueue(store, queue, 3, ordering_key="k")
    (other,) = await enqueue(store, queue, ordering_key="l")
    hand = Hand(store, queue)
    claim, _ = await hand.claim(2)
    row = await raw(store, queue, "HGET", "keys", "k")
    stranger = await raw(store, queue, "HGET", "keys", "l")
    for holder in (b"\0" * 13, stranger):
        await raw(store, queue, "HSET", "keys", "k", holder + row[13:])
        assert await wrong(store, queue, mend=True) == {Kind.HELD: {f"5:{ids[0]}"}}
        assert await raw(store, queue, "HGET", "keys", "k") == row
    await hand.complete(claim)
    assert await drained(store, queue) == ids[1:]
    assert await states(store, queue, [other]) == ["active"]


@pytest.mark.parametrize("delayed", [True, False])
async def test_before_keys_are_given_away_all_who_must_hold_one_are_looked_at(
    store: RedisStore, queue: str, delayed: bool
) -> None:
    """However few rows of a structure are asked for: a holder that is not found does not hold."""
    hand, keys = Hand(store, queue), [f"k{n}" for n in range(600)]
    added = await store.enqueue(queue, "p", 1, [Entry(body(), ordering_key=key) for key in keys * 2])
    holders = [one.id for one in added[:600]]
    for claim in await hand.claim(600) if delayed else ():
        hand.settles.retry(claim, HOUR, "OSError: no", claim.repacked(attempt=2))
    await hand.step()
    await raw(store, queue, "DEL", "keys")
    async for rows in store.rows(queue, most=2, mend=True):
        await store.examine(queue, rows, mend=True)
    for at in range(0, 600, 25):
        asked = [Row(Kind.HELD, one if delayed else f"5:{one}") for one in holders[at : at + 25]]
        assert await store.examine(queue, asked) == [Verdict.SOUND] * 25
    await wrong(store, queue, mend=True)
