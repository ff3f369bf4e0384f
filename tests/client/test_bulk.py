"""Bulk: acts on many jobs take exactly what was meant, at the pace that was asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from engine import Clock
from engine.client import Client, Filter, Progress
from engine.declared import QueueSpec
from engine.errors import BadInput, BadTime, Refused, UnknownQueue
from engine.job import State
from engine.store.redis_store import RedisStore
from tests.store.seed import Hand, dead, enqueue, foreign, ids_ahead

HOUR = 3_600_000


class CountedSleeps(Clock):
    """Time that passes at once when somebody sleeps."""

    def __init__(self, meanwhile: Callable[[float], Awaitable[object]] | None = None) -> None:
        """`meanwhile` happens in each sleep, told how long was slept until then."""
        self.slept = 0.0
        self._meanwhile = meanwhile

    def mono(self) -> float:
        return self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self._meanwhile is not None:
            await self._meanwhile(self.slept)


async def test_everything_dead_goes_back_in_the_order_of_its_death(client: Client, store: RedisStore, queue: str) -> None:
    ids = await dead(store, queue, 120)
    heard: list[Progress] = []
    done = await client.retry_failed(Filter(queue=queue), rate=100_000, on_progress=heard.append)
    assert (done.matched, done.done, done.skipped, done.looked_at) == (120, 120, 0, 120)
    rows = (await store.page(queue, State.WAITING, limit=500)).rows
    assert [row.id for row in rows] == ids
    assert (heard[-1].done, heard[-1].total) == (120, 120)


async def test_what_dies_again_meanwhile_stays_dead(
    client: Client, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(store, queue, 3)
    real, hand = store.requeue, Hand(store, queue)

    async def and_die_at_once(name: str, ids: list[str]) -> int:
        moved = await real(name, ids)
        for claim in await hand.step(want=10):
            await hand.bury(claim)
        return moved

    monkeypatch.setattr(store, "requeue", and_die_at_once)
    assert (await client.retry_failed(Filter(queue=queue), rate=1000)).done == 3
    assert (await store.counts(queue)).dead == 3


async def test_the_pace_is_kept(store: RedisStore, queue: str) -> None:
    clock = CountedSleeps()
    client = Client(store, {queue: QueueSpec(queue)}, clock=clock)
    await dead(store, queue, 100)
    await client.retry_failed(Filter(queue=queue), rate=20)
    assert clock.slept == pytest.approx(5.0)


async def test_only_what_fits_the_filter_is_retried(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 3, fingerprint="aaa1", kind="OSError")
    await dead(store, queue, 2, fingerprint="bbb2", kind="TimeoutError", message="Upstream is late")
    rehearsed = await client.retry_failed(Filter(queue=queue, error="upstream"), dry_run=True)
    assert (rehearsed.matched, rehearsed.done, rehearsed.looked_at, len(rehearsed.samples)) == (2, 0, 5, 2)
    assert (await store.counts(queue)).dead == 5
    assert (await client.retry_failed(Filter(queue=queue, fingerprint="aaa"), limit=2, rate=1000)).done == 2
    assert (await client.retry_failed(Filter(queue=queue, error="upstream"), rate=1000)).done == 2
    assert (await client.retry_failed(Filter(queue=queue, name="other"), rate=1000)).matched == 0
    assert (await client.retry_failed(Filter(queue=queue, since_ms=HOUR), rate=1000)).done == 1


async def test_an_unreadable_entry_is_skipped_and_counted_so(client: Client, store: RedisStore, queue: str) -> None:
    await foreign(store, queue, b"\xff no envelope")
    await Hand(store, queue).claim_only(2)
    await store.reclaim(queue, "rescuer", 0, 0, {}, grace=False)
    done = await client.retry_failed(Filter(queue=queue), rate=1000)
    assert (done.matched, done.done, done.skipped) == (2, 1, 1)


@pytest.mark.parametrize("given", [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"rate": 1e9}, {"limit": 0}])
async def test_a_pace_or_limit_that_is_none_is_refused(client: Client, queue: str, given: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        await client.retry_failed(Filter(queue=queue), **given)  # type: ignore[arg-type]  # nonsense is what is tested


async def test_clean_takes_the_named_states_and_no_other(client: Client, store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    await dead(store, queue, 60)
    await enqueue(store, queue, 30)
    for _ in range(10):
        await hand.complete(*await hand.step(want=3))
    for job_id in await enqueue(store, queue, 4):
        await store.cancel(queue, job_id, "typo")
    await enqueue(store, queue)
    assert (await client.clean(("completed", "cancelled", "dead"), 3600, queue=queue)).done == 0
    now_ms = await store.now_ms()
    client.store = RedisStore(store.link, Clock(), test_now_ms=lambda: now_ms + HOUR)
    rehearsed = await client.clean(("completed", "dead"), 1, queue=queue, dry_run=True)
    assert (rehearsed.matched, rehearsed.done) == (90, 0)
    assert (await client.clean(("completed",), 1, queue=queue)).done == 30
    assert (await client.clean(("dead",), 1, queue=queue)).done == 60
    assert len((await store.page(queue, State.CANCELLED)).rows) == 4
    assert (await store.counts(queue)).waiting == 1


@pytest.mark.parametrize("age", [0, -1, 0.5, float("nan")])
async def test_clean_wants_an_age(client: Client, queue: str, age: float) -> None:
    with pytest.raises(BadTime):
        await client.clean(("completed",), age, queue=queue)


async def test_clean_wants_a_state(client: Client, queue: str) -> None:
    with pytest.raises(BadInput):
        await client.clean((), 60, queue=queue)


async def test_drain_pauses_and_waits_for_the_active_ones(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)

    async def settle(slept: float) -> None:
        if slept > 0.5:
            await hand.step()

    client = Client(store, {queue: QueueSpec(queue)}, clock=CountedSleeps(settle))
    await enqueue(store, queue, 2)
    (claim,) = await hand.step(want=1)
    hand.settles.complete(claim)
    assert await client.drain(queue, timeout=10) == 0
    assert await hand.step(want=1) == []
    assert (await store.counts(queue)).paused is not None


async def test_drain_says_how_many_are_left_when_time_is_up(store: RedisStore, queue: str) -> None:
    client = Client(store, {queue: QueueSpec(queue)}, clock=CountedSleeps())
    await enqueue(store, queue, 2)
    await Hand(store, queue).step(want=2)
    assert await client.drain(queue, timeout=5) == 2


async def test_drain_leaves_the_reason_of_an_earlier_pause_but_not_its_end(client: Client, store: RedisStore, queue: str) -> None:
    assert await client.drain(queue, timeout=1) == 0
    assert (await reason_and_end(store, queue))[0] == "being drained"
    await client.pause(queue, "token revoked", for_seconds=3600)
    assert await client.drain(queue, timeout=1) == 0
    assert await reason_and_end(store, queue) == ("token revoked", 0)
    assert await client.drain(queue, timeout=1, reason="moving house") == 0
    assert await reason_and_end(store, queue) == ("moving house", 0)


async def reason_and_end(store: RedisStore, queue: str) -> tuple[str, int]:
    """Of the pause that stands."""
    pause = (await store.counts(queue)).paused
    assert pause is not None
    return pause.reason, pause.until_ms


async def test_empty_deletes_what_has_not_started_and_nothing_else(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue)
    await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.step(want=1)
    await enqueue(store, queue, 70)
    await enqueue(store, queue, 60, delay_ms=HOUR)
    await enqueue(store, queue, 60, ordering_key="c1")
    done = await client.empty(queue)
    assert (done.matched, done.done, done.skipped) == (190, 190, 0)
    counts = await store.counts(queue)
    assert (counts.pending, counts.active, counts.dead, counts.removed) == (1, 1, 1, 190)


@pytest.mark.parametrize("ahead_ms", [0, 500, HOUR])
async def test_empty_takes_what_was_there_when_it_began_also_after_the_servers_clock_was_set_back(
    client: Client, store: RedisStore, queue: str, ahead_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ids_ahead(store, queue, ahead_ms)
    await enqueue(store, queue, 3)
    await enqueue(store, queue, delay_ms=HOUR)
    real, late = store.delete, []

    async def enqueue_first(*args: str) -> object:
        late.extend(await enqueue(store, queue))
        return await real(*args)

    monkeypatch.setattr(store, "delete", enqueue_first)
    assert (await client.empty(queue)).done == 4
    assert [row.id for row in (await store.page(queue, State.WAITING)).rows] == late


async def test_obliterate_refuses_while_jobs_are_active(client: Client, store: RedisStore, queue: str) -> None:
    await store.register_queue(queue, 1)
    await enqueue(store, queue)
    await Hand(store, queue).step(want=1)
    with pytest.raises(Refused, match="1 active job in queue"):
        await client.obliterate(queue)
    await client.obliterate(queue, force=True)
    assert (await store.counts(queue)).enqueued == 0
    assert queue not in await store.queue_names()
    with pytest.raises(UnknownQueue):
        await client.obliterate(f"{queue}-typo")
