"""Lines behind ordering keys: one order over the row and the tail that hold a line, whoever leaves it and however."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from engine.job import State
from engine.keys import prefix
from engine.store.acts import Removal
from engine.store.claim import Claim
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.rows import Place
from tests.support.factory import HOUR, Hand, Now, at_time, body, enqueue, raw, reclaim, states, usurp
from tests.support.laws import ROOM, assert_conserved, lines

LONG = 3 * ROOM


async def run_all(hand: Hand) -> list[str]:
    """Complete what there is, settling and claiming in one call as a worker does; the ids in the order of their claim."""
    ran, claims = [], await hand.claim()
    while claims:
        ran += [c.id for c in claims]
        for claim in claims:
            hand.settles.complete(claim)
        claims = await hand.claim()
    return ran


async def take(store: RedisStore, queue: str, act: str, job_id: str) -> None:
    assert await (store.cancel if act == "cancel" else store.delete)(queue, job_id, "why") is Removal.DONE


async def enqueue_each(store: RedisStore, queue: str, keys: list[str], producer: str, data: bytes = b"") -> list[str]:
    """One job a key, in one call."""
    return [one.id for one in await store.enqueue(queue, producer, 1, [Entry(data or body(), ordering_key=key) for key in keys])]


async def deleted_by_hand(store: RedisStore, queue: str, *ids: str) -> None:
    """Entries of `blocked` disappear without a word to anybody; counted, so that the conservation law holds."""
    assert await raw(store, queue, "XDEL", "blocked", *ids) == len(ids)
    await raw(store, queue, "HINCRBY", "meta", "removed", len(ids))


@pytest.mark.parametrize("calls", [1, 5, LONG])
async def test_a_long_line_runs_in_its_order_and_nothing_is_left_of_it(store: RedisStore, queue: str, calls: int) -> None:
    ids: list[str] = []
    for _ in range(calls):
        ids += await enqueue(store, queue, -(-LONG // calls), ordering_key="k")
    assert await lines(store, queue) == {"k": ids}
    assert await raw(store, queue, "ZCARD", "line:k") == len(ids) - 1 - ROOM
    assert await run_all(Hand(store, queue)) == ids
    assert await lines(store, queue) == {}
    assert not any([await raw(store, queue, "EXISTS", suffix) for suffix in ("keys", "line:k", "where")])


async def test_a_short_line_needs_no_tail(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 1 + ROOM, ordering_key="k")
    assert not await raw(store, queue, "EXISTS", "line:k")
    assert await lines(store, queue) == {"k": ids}


@pytest.mark.parametrize("act", ["cancel", "delete"])
@pytest.mark.parametrize("gone", [(1,), (4,), (ROOM,), (ROOM + 1,), (LONG // 2,), (LONG - 1,), (1, ROOM, ROOM + 1, LONG - 1)])
async def test_who_leaves_a_line_from_either_part_leaves_no_gap(
    store: RedisStore, queue: str, act: str, gone: tuple[int, ...]
) -> None:
    ids = await enqueue(store, queue, LONG, ordering_key="k")
    for at in gone:
        await take(store, queue, act, ids[at])
    left = [job_id for at, job_id in enumerate(ids) if at not in gone]
    assert await lines(store, queue) == {"k": left}
    assert await run_all(Hand(store, queue)) == left


async def test_everybody_in_a_long_line_has_his_place(store: RedisStore, queue: str) -> None:
    ids: list[str] = []
    for at in range(12):
        ids += await enqueue(store, queue, 100, ordering_key="k", producer=f"p{at}")
    for at in (1, ROOM, ROOM + 1, 700, 1199):
        assert (await store.inspect(queue, ids[at])).line == at
    await take(store, queue, "cancel", ids[700])
    assert (await store.inspect(queue, ids[1199])).line == 1198


async def test_when_all_of_the_tail_have_left_who_comes_stands_in_the_row_again(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, LONG, ordering_key="k")
    for job_id in [*ids[ROOM + 1 :], ids[3]]:
        await take(store, queue, "cancel", job_id)
    left = [*ids[:3], *ids[4 : ROOM + 1]]
    assert await lines(store, queue) == {"k": left}
    left += await enqueue(store, queue, ordering_key="k")
    assert await lines(store, queue) == {"k": left}
    assert not await raw(store, queue, "EXISTS", "line:k")
    assert await run_all(Hand(store, queue)) == left


async def test_when_all_of_the_row_have_left_the_tail_goes_on(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, LONG, ordering_key="k")
    for job_id in ids[1 : ROOM + 1]:
        await take(store, queue, "delete", job_id)
    left = [ids[0], *ids[ROOM + 1 :], *await enqueue(store, queue, ordering_key="k")]
    assert await lines(store, queue) == {"k": left}
    assert await run_all(Hand(store, queue)) == left


async def test_who_comes_while_there_is_a_tail_joins_its_end_though_the_row_has_room(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, ROOM + 3, ordering_key="k")
    hand = Hand(store, queue)
    for _ in range(4):
        await hand.complete(*await hand.claim())
    late = await enqueue(store, queue, 2, ordering_key="k")
    assert await lines(store, queue) == {"k": [*ids[4:], *late]}
    assert await run_all(hand) == [*ids[4:], *late]


async def test_a_line_of_those_who_came_by_different_ways_is_one_line(store: RedisStore, queue: str) -> None:
    (dying,) = await enqueue(store, queue, ordering_key="k")
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    first = await enqueue(store, queue, 4, ordering_key="k")
    delayed = await enqueue(store, queue, 6, ordering_key="k", delay_ms=HOUR)
    for job_id in delayed[:5]:
        assert await store.hasten(queue, job_id)
    assert await store.requeue(queue, [dying]) == 1
    late = await enqueue(store, queue, 2, ordering_key="k")
    assert await store.hasten(queue, delayed[5])
    line = [*first, *delayed[:5], dying, *late, delayed[5]]
    assert await lines(store, queue) == {"k": line}
    assert await states(store, queue, line) == ["waiting", *["blocked"] * (len(line) - 1)]
    for at, job_id in enumerate(line[1:], 1):
        found = await store.inspect(queue, job_id)
        assert (found.place, found.holder, found.line) == (Place.BLOCKED, line[0], at)
    assert [row.id for row in (await store.page(queue, State.BLOCKED)).rows] == line[1:]
    await take(store, queue, "cancel", delayed[2])
    await take(store, queue, "cancel", dying)
    line = [job_id for job_id in line if job_id not in (delayed[2], dying)]
    assert await run_all(hand) == line
    assert not await raw(store, queue, "EXISTS", "where")


async def test_the_entry_id_of_who_was_blocked_later_is_nobodys_id(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, ordering_key="k")
    (delayed,) = await enqueue(store, queue, ordering_key="k", delay_ms=HOUR)
    await store.hasten(queue, delayed)
    (row,) = (await store.page(queue, State.BLOCKED)).rows
    assert row.entry != delayed
    assert await store.cancel(queue, row.entry, "why") is Removal.UNKNOWN
    assert await states(store, queue, [delayed]) == ["blocked"]


@pytest.mark.parametrize("gone", [(1, 2), (ROOM,), (ROOM + 1, ROOM + 2), tuple(range(1, LONG - 1)), tuple(range(1, LONG))])
async def test_who_was_deleted_by_hand_is_passed_over(store: RedisStore, queue: str, gone: tuple[int, ...]) -> None:
    ids = await enqueue(store, queue, LONG, ordering_key="k")
    await deleted_by_hand(store, queue, *(ids[at] for at in gone))
    assert await run_all(Hand(store, queue)) == [job_id for at, job_id in enumerate(ids) if at not in gone]
    assert not any([await raw(store, queue, "EXISTS", suffix) for suffix in ("keys", "line:k")])


async def test_when_all_that_is_blocked_is_missing_the_key_is_free_again(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, LONG, ordering_key="k")
    await raw(store, queue, "DEL", "blocked")
    await raw(store, queue, "HINCRBY", "meta", "removed", LONG - 1)
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim())
    assert await lines(store, queue) == {}
    after = await enqueue(store, queue, 2, ordering_key="k")
    assert await run_all(hand) == after


async def test_a_missing_tail_costs_only_who_stood_in_it(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, ROOM + 4, ordering_key="k")
    await raw(store, queue, "DEL", "line:k")
    late = await enqueue(store, queue, ordering_key="k")
    assert await run_all(Hand(store, queue)) == [*ids[: ROOM + 1], *late]
    assert not any([await raw(store, queue, "EXISTS", suffix) for suffix in ("keys", "line:k")])
    assert await states(store, queue, ids[ROOM + 1 :]) == ["blocked"] * 3
    for job_id in ids[ROOM + 1 :]:
        await take(store, queue, "delete", job_id)


async def test_a_foreign_type_where_a_tail_would_begin_refuses_nobody(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, ROOM, ordering_key="k")
    restore = await usurp(store, queue, "line:k")
    ids += await enqueue(store, queue, 5, ordering_key="k")
    (delayed,) = await enqueue(store, queue, ordering_key="k", delay_ms=HOUR)
    assert await store.hasten(queue, delayed)
    await take(store, queue, "cancel", ids.pop())
    assert (await store.inspect(queue, delayed)).line == len(ids)
    assert await run_all(Hand(store, queue)) == [*ids, delayed]
    await restore()


async def test_a_foreign_type_in_a_tails_place_keeps_nobody_else_and_the_tail_is_found_again(
    store: RedisStore, queue: str
) -> None:
    ids = await enqueue(store, queue, LONG, ordering_key="k")
    restore = await usurp(store, queue, "line:k")
    assert (await store.inspect(queue, ids[-1])).line == 0
    hand = Hand(store, queue)
    assert await run_all(hand) == ids[: ROOM + 1]
    assert (await store.counts(queue)).difference == 0
    between = await enqueue(store, queue, 2, ordering_key="k")
    assert await run_all(hand) == between
    await restore()
    (after,) = await enqueue(store, queue, ordering_key="k")
    assert await run_all(hand) == [after, *ids[ROOM + 1 :]]
    assert await lines(store, queue) == {}


@pytest.mark.parametrize("row", ["", "x", "+", "1763791234567-534234", "x" * 30])
async def test_a_row_that_is_none_of_ours_costs_no_settle(store: RedisStore, queue: str, row: str) -> None:
    _, second = await enqueue(store, queue, 2, ordering_key="k")
    hand = Hand(store, queue)
    claims = await hand.claim()
    await raw(store, queue, "HSET", "keys", "k", row)
    assert await hand.complete(*claims) == []
    assert not await raw(store, queue, "HLEN", "keys")
    assert (await store.inspect(queue, second)).line == 0
    await take(store, queue, "delete", second)
    after = await enqueue(store, queue, 3, ordering_key="k")
    assert await run_all(hand) == after


async def test_hundreds_of_keys_are_taken_and_handed_over_in_one_call_each(store: RedisStore, queue: str) -> None:
    many = [str(n) for n in range(450)]
    for turn in range(2):
        added = []
        for at in range(0, 450, 150):
            added += await enqueue_each(store, queue, many[at : at + 150], f"p{turn}-{at}")
        assert await states(store, queue, added) == ["blocked" if turn else "waiting"] * 450
    hand = Hand(store, queue)
    claims = await hand.claim(450)
    assert await hand.complete(*claims) == []
    assert await lines(store, queue) == {key: [job_id] for key, job_id in zip(many, added, strict=True)}
    assert sorted(c.id for c in await hand.claim(450)) == sorted(added)


async def test_what_is_blocked_keeps_ids_rising_when_meta_is_gone_and_the_clock_went_back(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue, ordering_key="k")
    now.forward(60_000)
    before = await enqueue(timed, queue, 3, ordering_key="k")  # only `blocked` knows ids so young
    await raw(store, queue, "DEL", "meta", "bell")
    now.forward(-30_000)
    after = await enqueue(timed, queue, 3, ordering_key="k")
    await raw(store, queue, "HINCRBY", "meta", "enqueued", 4)
    numbers = [tuple(int(part) for part in job_id.split("-")) for job_id in (*before, *after)]
    assert all(older < younger for older, younger in pairwise(numbers))
    assert (await lines(store, queue))["k"][1:] == [*before, *after]


@pytest.mark.parametrize("jobs_a_key", [4, 20])
async def test_a_blocked_job_costs_at_most_120_bytes_beside_its_payload(store: RedisStore, queue: str, jobs_a_key: int) -> None:
    data, jobs = body(payload={"text": "x" * 280}), 1200
    keys = [f"conversation-{n:05}" for n in range(jobs // jobs_a_key)]
    for turn in range(jobs_a_key):
        for at in range(0, len(keys), 100):
            await enqueue_each(store, queue, keys[at : at + 100], f"p{turn}-{at}", data)
    assert (await store.counts(queue)).blocked == jobs - len(keys)
    used = 0
    for suffix in ("ready:5", "blocked", "keys", "where", *(f"line:{key}" for key in keys)):
        used += await store.link.call("MEMORY", "USAGE", prefix(queue) + suffix, "SAMPLES", 0) or 0
    assert used / jobs - len(data) <= 120


class Walk:
    """Two keys, three workers and an operator at random, beside a plain list a key that says how each line must stand."""

    def __init__(self, store: RedisStore, queue: str, chance: random.Random) -> None:
        self._store, self._queue, self._chance = store, queue, chance
        self._hands = [Hand(store, queue, f"w{i}") for i in range(3)]
        self._held: list[tuple[Hand, Claim]] = []
        self._delayed: dict[str, str] = {}
        self._key_of: dict[str, str] = {}
        self.dead: list[str] = []
        self.lines: dict[str, list[str]] = {"a": [], "b": []}
        self.calls: list[str] = []

    async def act(self) -> None:
        """One call of somebody."""
        acts = {"enqueue": 6, "delayed": 2, "hasten": 2, "claim": 4, "end": 6, "remove": 4, "requeue": 1, "reclaim": 1}
        what = self._chance.choices(list(acts), list(acts.values()))[0]
        self.calls.append(what)
        key = self._chance.choice("ab")
        match what:
            case "enqueue" | "delayed":
                delay_ms = HOUR if what == "delayed" else 0
                ids = await enqueue(self._store, self._queue, self._chance.randint(1, 6), ordering_key=key, delay_ms=delay_ms)
                self._key_of.update(dict.fromkeys(ids, key))
                if delay_ms:
                    self._delayed.update(dict.fromkeys(ids, key))
                else:
                    self.lines[key] += ids
            case "hasten" if self._delayed:
                job_id = self._chance.choice(list(self._delayed))
                assert await self._store.hasten(self._queue, job_id)
                self.lines[self._delayed.pop(job_id)].append(job_id)
            case "claim":
                hand = self._chance.choice(self._hands)
                self._held += [(hand, claim) for claim in await hand.claim(2)]
            case "end" if self._held:
                await self._end(*self._held.pop(self._chance.randrange(len(self._held))))
            case "remove" if self.lines[key]:
                await self._remove(key, self._chance.choice(self.lines[key]))
            case "requeue" if self.dead:
                job_id = self.dead.pop(self._chance.randrange(len(self.dead)))
                assert await self._store.requeue(self._queue, [job_id]) == 1
                self.lines[self._key_of[job_id]].append(job_id)
            case "reclaim" if self._held:
                for hand, claim in self._held:
                    await hand.lapse(claim)
                await reclaim(self._store, self._queue, stall_limit=99)
                self._held.clear()

    async def _end(self, hand: Hand, claim: Claim) -> None:
        how = self._chance.choice(("complete", "complete", "cancel", "bury", "retry", "snooze", "release"))
        self.calls.append(how)
        if how in ("retry", "snooze", "release"):
            await (hand.retry(claim, 0) if how == "retry" else hand.snooze(claim, 0) if how == "snooze" else hand.release(claim))
            await self._store.promote(self._queue)
            return
        await (hand.complete if how == "complete" else hand.cancel if how == "cancel" else hand.bury)(claim)
        self.lines[claim.envelope.key].remove(claim.id)
        if how == "bury":
            self.dead.append(claim.id)

    async def _remove(self, key: str, job_id: str) -> None:
        if any(claim.id == job_id for _, claim in self._held):
            return
        await take(self._store, self._queue, self._chance.choice(("cancel", "delete")), job_id)
        self.lines[key].remove(job_id)

    async def check(self) -> None:
        """The lines stand as they must, and no job is lost."""
        after = " ".join(self.calls)
        assert await lines(self._store, self._queue) == {key: ids for key, ids in self.lines.items() if ids}, after
        await assert_conserved(self._store, self._queue)


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_each_line_stands_as_it_must(store: RedisStore, queue: str, seed: int) -> None:
    walk = Walk(store, queue, random.Random(seed))
    for _ in range(120):
        await walk.act()
        await walk.check()
