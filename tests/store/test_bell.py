"""The bell: rung when something became runnable and somebody sleeps; never so that all sleep beside work."""

from __future__ import annotations

import random

import pytest

from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, LEASE_MS, Hand, enqueue, fall_asleep, raw, read


async def rung(store: RedisStore, queue: str) -> str:
    return (await store.last_ids(queue))["bell"]


async def test_the_first_enqueue_rings_and_those_before_anybody_came_back_empty_do_not(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    heard = await rung(store, queue)
    assert heard != "0-0"
    await enqueue(store, queue, 3)
    await enqueue(store, queue, ordering_key="k")
    assert await rung(store, queue) == heard


async def test_a_worker_that_got_all_it_asked_for_is_not_asleep(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    heard = await rung(store, queue)
    assert len(await Hand(store, queue).claim(1)) == 1
    await enqueue(store, queue)
    assert await rung(store, queue) == heard


@pytest.mark.parametrize("key", ["", "k"])
async def test_an_enqueue_wakes_a_worker_that_came_back_with_less_than_it_asked_for(
    store: RedisStore, queue: str, key: str
) -> None:
    await enqueue(store, queue)
    heard = await rung(store, queue)
    assert len(await Hand(store, queue).claim(2)) == 1
    await enqueue(store, queue, ordering_key=key)
    assert await rung(store, queue) != heard


async def test_a_delayed_job_always_rings_because_promoters_listen_too(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    heard = await rung(store, queue)
    await enqueue(store, queue, delay_ms=HOUR)
    assert await rung(store, queue) != heard


async def test_a_job_behind_its_key_rings_for_nobody(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, ordering_key="k")
    assert len(await Hand(store, queue).claim()) == 1
    await fall_asleep(store, queue)
    heard = await rung(store, queue)
    await enqueue(store, queue, ordering_key="k")
    assert await rung(store, queue) == heard


class Hall:
    """Three workers at random; who came back with less than it asked for sleeps until the bell rings."""

    def __init__(self, store: RedisStore, queue: str, chance: random.Random) -> None:
        self._store, self._queue, self._chance = store, queue, chance
        self._hands = [Hand(store, queue, f"w{i}") for i in range(3)]
        self._held: list[tuple[Hand, Claim]] = []
        self._asleep: dict[str, str] = {}
        self.calls: list[str] = []

    async def act(self) -> None:
        """One call of somebody."""
        what = self._chance.choice(("enqueue", "enqueue", "keyed", "claim", "claim", "claim", "end", "end", "promote", "reclaim"))
        self.calls.append(what)
        match what:
            case "enqueue" | "keyed":
                key = self._chance.choice("ab") if what == "keyed" else ""
                await enqueue(self._store, self._queue, self._chance.randint(1, 2), ordering_key=key)
            case "claim":
                await self._claim()
            case "end" if self._held:
                await self._end(*self._held.pop(self._chance.randrange(len(self._held))))
            case "promote":
                await self._store.promote(self._queue)
            case "reclaim":
                await self._store.reclaim(self._queue, "r", 0, 99, {}, grace=False)
                self._held.clear()

    async def _claim(self) -> None:
        hand, want = self._chance.choice(self._hands), self._chance.randint(1, 3)
        held = sum(owner is hand for owner, _ in self._held)
        await self._take_in(hand, want, held)

    async def _end(self, hand: Hand, claim: Claim) -> None:
        match self._chance.choice(("complete", "retry", "release")):
            case "complete":
                hand.settles.complete(claim)
            case "retry":
                hand.settles.retry(claim, 0, "no", claim.repacked(attempt=claim.envelope.attempt + 1))
            case "release":
                hand.settles.release(claim, claim.repacked())
        await self._take_in(hand, self._chance.choice((0, 1)), sum(owner is hand for owner, _ in self._held))

    async def _take_in(self, hand: Hand, want: int, held: int) -> None:
        before = await rung(self._store, self._queue)
        reply = await hand.step(want, held)
        claims = read(self._queue, reply)
        self._held += [(hand, claim) for claim in claims]
        self._asleep.pop(hand.name, None)
        has_suspect = reply.drain or any(claim.is_suspect for claim in claims)  # it looks again by itself
        if len(claims) < want and not has_suspect:
            self._asleep[hand.name] = before  # what its own call rings is heard too

    async def check(self) -> None:
        """Somebody who can take work is awake whenever there is some; and who missed the bell would learn it at a glance."""
        waiting = 0
        for tag in (await raw(self._store, self._queue, "HGET", "meta", "tags") or b"").decode():
            if tag != "s":  # suspects wait for a process that holds nothing, which its own ends tell it
                entries = await raw(self._store, self._queue, "XLEN", f"ready:{tag}")
                waiting += entries - (await raw(self._store, self._queue, "XPENDING", f"ready:{tag}", "w"))[0]
        after = " ".join(self.calls)
        assert waiting == 0 or await self._store.may_have_work(self._queue), f"{waiting} jobs wait unseen after: {after}"
        heard = await rung(self._store, self._queue)
        if any(self._asleep.get(hand.name) != heard for hand in self._hands):
            return  # awake: never asked, got all it asked for, or the bell rang since
        assert waiting == 0, f"{waiting} jobs wait and everybody sleeps after: {after}"


@pytest.mark.parametrize("seed", range(40))
async def test_never_does_everybody_sleep_while_a_job_can_run(store: RedisStore, queue: str, seed: int) -> None:
    hall = Hall(store, queue, random.Random(seed))
    for _ in range(40):
        await hall.act()
        await hall.check()


async def test_a_glance_tells_an_idle_queue_from_one_where_something_could_run(store: RedisStore, queue: str) -> None:
    assert await store.may_have_work(queue), "nothing is known yet"
    await enqueue(store, queue)
    assert await store.may_have_work(queue)
    (claim,) = await Hand(store, queue).claim(9)
    assert not await store.may_have_work(queue)
    await Hand(store, queue).lapse(claim)
    await store.reclaim(queue, "r", LEASE_MS, 9, {}, grace=False)
    assert await Hand(store, queue, "busy").claim(9, held=1) == []
    assert await store.may_have_work(queue), "a suspect waits for a worker that holds nothing"
    free = Hand(store, queue, "free")
    assert await free.complete(*await free.claim(1)) == []
    await fall_asleep(store, queue, "other")
    assert not await store.may_have_work(queue)
