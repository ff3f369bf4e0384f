"""Producer and results: calls whose replies are lost are asked for again, and ends are heard by whoever waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from engine import (
    Clock,
    EngineClosed,
    EnqueueUnknown,
    JobCancelled,
    JobDead,
    JobNotFound,
    ProducerFull,
    Refused,
    ResultTimeout,
    StoreRefused,
    StoreUnreachable,
)
from engine.declared import Limit
from engine.producer import CHUNK, CHUNK_BYTES, MOST_DROPPING, REPEATABLE, Producer, in_calls
from engine.results import Results
from engine.store.producing import Enqueued, Entry
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, body, enqueue, lone_store, usurp
from tests.support.fake_clock import FakeClock
from tests.support.faults import Proxy, calls
from tests.support.running import until

ONE = [Entry(body())]


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(server_url) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[RedisStore]:
    """A store behind the proxy."""
    async with lone_store(proxy.url) as store:
        yield store


def producer(store: RedisStore, timeout: float = 5.0) -> Producer:
    return Producer(store, name="p", clock=Clock(), timeout=timeout)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_call_is_sent_again_and_adds_once(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str, when: str
) -> None:
    one = producer(far)
    cut = proxy.cut(calls("enqueue"), "before" if when == "before" else "after", times=3)
    added = [await one.add(queue, ONE) for _ in range(5)]
    assert cut.done == 3
    assert len({a[0].id for a in added}) == 5
    assert (await store.counts(queue)).enqueued == 5


async def test_what_is_enqueued_meanwhile_goes_together_in_the_next_calls(store: RedisStore, queue: str) -> None:
    one = producer(store)
    answers = await asyncio.gather(*(one.add(queue, ONE * (1 + n % 3)) for n in range(120)))
    assert [len(a) for a in answers] == [1 + n % 3 for n in range(120)]
    ids = [e.id for a in answers for e in a]
    assert len(set(ids)) == len(ids) == (await store.counts(queue)).enqueued
    row = await store.link.call("HGET", f"engine:{{{queue}}}:meta", "p:p")
    assert int(row.partition(b"|")[0]) <= 2 + len(ids) // (CHUNK - 2)  # numbered calls: far fewer than callers
    await one.close()


async def test_an_unknown_outcome_can_be_asked_for_and_takes_effect_once(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str
) -> None:
    one = producer(far, timeout=1.0)
    await one.add(queue, ONE)
    cut = proxy.cut(calls("enqueue"), "after", times=10_000)
    with pytest.raises(EnqueueUnknown, match="may have happened") as caught:
        await one.add(queue, ONE)
    cut.times = 0
    await one.add(queue, ONE)  # goes on under another name, so that the first can still be asked for
    assert [a.duplicate for a in await caught.value.repeat()] == [False]
    assert (await store.counts(queue)).enqueued == 3


async def test_an_unknown_outcome_is_asked_for_no_more_when_the_server_may_have_forgotten_it(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str
) -> None:
    """It took effect and its answer was lost. After an hour of silence the row that says so is swept, and a repeat added all anew."""
    clock = FakeClock()
    one = Producer(far, name="p", clock=clock, timeout=1.0)
    await one.add(queue, ONE)
    cut = proxy.cut(calls("enqueue"), "after", times=10_000)
    with pytest.raises(EnqueueUnknown) as caught:
        await one.add(queue, ONE)
    cut.times = 0
    await clock.advance(REPEATABLE - 2)
    assert [a.duplicate for a in await caught.value.repeat()] == [False]
    await store.sweep_rest(queue, HOUR, -HOUR, limit=100, cursor="0")
    await clock.advance(3)
    with pytest.raises(Refused, match=r"made 59m1s ago.*it was not sent"):
        await caught.value.repeat()
    assert (await store.counts(queue)).enqueued == 2


async def test_a_server_that_is_not_there_says_that_nothing_was_sent(queue: str) -> None:
    async with lone_store("unix:///nowhere/redis.sock?db=0") as nowhere:
        with pytest.raises(StoreUnreachable):
            await producer(nowhere, timeout=0.1).add(queue, ONE)


async def test_a_full_queue_answers_each_of_many_callers_for_itself(store: RedisStore, queue: str) -> None:
    one = producer(store)
    adding = [asyncio.ensure_future(one.add(queue, ONE * n, Limit(5))) for n in (1, 2, 4, 2)]  # the last three go together
    answers = await asyncio.gather(*adding)
    assert [[bool(job.id) for job in a] for a in answers] == [[True], [True] * 2, [True] * 2 + [False] * 2, [False] * 2]
    assert (await store.counts(queue)).waiting == 5
    await one.close()


async def test_where_the_oldest_make_room_calls_are_shorter(store: RedisStore, queue: str) -> None:
    one = producer(store)
    answers = await asyncio.gather(*(one.add(queue, ONE, Limit(10, "drop-oldest")) for _ in range(120)))
    assert sum(a[0].made_room for a in answers) == (await store.counts(queue)).dropped == 110
    row = await store.link.call("HGET", f"engine:{{{queue}}}:meta", "p:p")
    assert int(row.partition(b"|")[0]) == 1 + -(-119 // MOST_DROPPING)
    await one.close()


async def test_each_of_many_waiting_callers_hears_of_a_failure(store: RedisStore, queue: str) -> None:
    one = producer(store)
    await one.add(queue, ONE)
    restore = await usurp(store, queue, "ready:5")
    answers = await asyncio.gather(*(one.add(queue, ONE) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(a, StoreRefused) for a in answers)
    await restore()
    await one.close()


async def test_a_caller_that_gave_up_disturbs_nobody(store: RedisStore, queue: str) -> None:
    one = producer(store)
    tasks = [asyncio.ensure_future(one.add(queue, ONE)) for _ in range(6)]
    for task in (tasks[0], tasks[3]):
        asyncio.get_running_loop().call_soon(task.cancel)  # once all of them wait
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(a, asyncio.CancelledError) for a in answers] == [True, False, False, True, False, False]
    assert len(await one.add(queue, ONE)) == 1
    await one.close()


async def test_closing_waits_for_the_call_under_way(store: RedisStore, queue: str) -> None:
    one = producer(store)
    adding = asyncio.ensure_future(one.add(queue, ONE))
    await asyncio.sleep(0)  # it has left
    await one.close()
    assert adding.done()
    assert len(await adding) == 1


async def test_a_closed_producer_refuses_after_it_sent_what_waited(store: RedisStore, queue: str) -> None:
    one = producer(store)
    tasks = [asyncio.ensure_future(one.add(queue, ONE)) for _ in range(5)]
    closing = asyncio.ensure_future(one.close())  # begins once all of them wait
    assert len(await asyncio.gather(*tasks)) == 5
    await closing
    with pytest.raises(EngineClosed):
        await one.add(queue, ONE)


# --- what waits to be sent -------------------------------------------------------------------------------------------


async def held_up(proxy: Proxy, one: Producer, queue: str) -> asyncio.Future[list[Enqueued]]:
    """A call is under way whose answer does not come: what is added now waits."""
    await one.add(queue, ONE)
    proxy.swallow()
    first = asyncio.ensure_future(one.add(queue, ONE))
    await asyncio.sleep(0)  # it has left
    return first


@pytest.mark.parametrize("bound", ["jobs", "bytes"])
async def test_more_than_may_wait_in_this_process_is_refused_at_once_and_the_rest_is_sent(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr("engine.producer.MOST_PENDING", 10 if bound == "jobs" else 1000)
    monkeypatch.setattr("engine.producer.MOST_PENDING_BYTES", 10_000 if bound == "jobs" else 10 * len(ONE[0].body))
    one = producer(far)
    adding = [await held_up(proxy, one, queue)]
    adding += [asyncio.ensure_future(one.add(queue, ONE * 2)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(ProducerFull, match="10 jobs of") as caught:
        await one.add(queue, ONE)
    assert (caught.value.queue, caught.value.waiting) == (queue, 10)
    proxy.heal()
    await proxy.cut_all()
    assert [len(a) for a in await asyncio.gather(*adding)] == [1, 2, 2, 2, 2, 2]
    assert len(await one.add(queue, ONE)) == 1
    assert (await store.counts(queue)).enqueued == 13
    await one.close()


async def test_one_job_may_wait_however_large_it_is(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.producer.MOST_PENDING_BYTES", 1)
    one = producer(far)
    adding = [await held_up(proxy, one, queue), asyncio.ensure_future(one.add(queue, ONE))]
    await asyncio.sleep(0)
    with pytest.raises(ProducerFull):
        await one.add(queue, ONE)
    proxy.heal()
    await proxy.cut_all()
    assert len(await asyncio.gather(*adding)) == 2
    await one.close()


async def test_a_call_carries_a_megabyte_of_payload_or_one_job(store: RedisStore, queue: str) -> None:
    big = [Entry(bytes(CHUNK_BYTES // 4)), Entry(bytes(CHUNK_BYTES // 4)), Entry(bytes(2 * CHUNK_BYTES)), *ONE * 150]
    assert [len(part) for part in in_calls(big)] == [2, 1, 100, 50]
    assert [len(part) for part in in_calls(big, Limit(9, "drop-oldest"))] == [2, 1, 20, 20, 20, 20, 20, 20, 20, 10]
    one = producer(store)
    await asyncio.gather(*(one.add(queue, [entry]) for entry in [*ONE, *big[:3], big[0]]))
    row = await store.link.call("HGET", f"engine:{{{queue}}}:meta", "p:p")
    assert int(row.partition(b"|")[0]) == 4  # the first at once, then two together, the large one, the last
    await one.close()


async def test_callers_that_went_together_ask_again_each_for_its_own(
    proxy: Proxy, far: RedisStore, store: RedisStore, queue: str
) -> None:
    one = producer(far, timeout=0.5)
    await one.add(queue, ONE)
    is_enqueue, sent = calls("enqueue"), itertools.count()
    cut = proxy.cut(
        lambda command: is_enqueue(command) and next(sent) > 0, "after", times=10_000
    )  # not the first, which goes alone
    _, *errors = await asyncio.gather(*(one.add(queue, ONE * n) for n in (1, 1, 3)), return_exceptions=True)
    cut.times = 0
    assert all(isinstance(error, EnqueueUnknown) for error in errors)
    found = [await error.repeat() for error in errors if isinstance(error, EnqueueUnknown)]
    assert [len(answers) for answers in found] == [1, 3]
    assert len({job.id for answers in found for job in answers}) == 4
    assert (await store.counts(queue)).enqueued == 6
    await one.close()


# --- waiting for an end ----------------------------------------------------------------------------------------------


@pytest.fixture
async def results(store: RedisStore) -> AsyncIterator[Results]:
    made = Results(store, Clock())
    yield made
    await made.close()


async def flagged(store: RedisStore, queue: str, n: int = 1) -> None:
    """Return once so many wait for an end."""
    await until(lambda: store.link.call("HLEN", f"engine:{{{queue}}}:flags"), lambda found: found >= n)


async def test_who_waits_hears_of_the_end_and_gets_the_result(store: RedisStore, queue: str, results: Results) -> None:
    ids = await enqueue(store, queue, 3)
    hand = Hand(store, queue)
    waits = [asyncio.ensure_future(results.wait(queue, job_id, 5)) for job_id in [*ids, ids[0]]]
    await flagged(store, queue, 3)
    first, second, third = await hand.claim(3)
    hand.settles.complete_with(first, b"\x2a")
    hand.settles.complete(second)
    await hand.step()
    await hand.bury(third)
    answers = await asyncio.gather(*waits, return_exceptions=True)
    assert answers[:2] == [b"\x2a", b""]
    assert isinstance(answers[2], JobDead)
    assert answers[3] == b"\x2a"


async def test_an_end_that_came_before_the_question_is_answered_at_once(store: RedisStore, queue: str, results: Results) -> None:
    ids = await enqueue(store, queue, 4)
    hand = Hand(store, queue)
    first, second, third, fourth = await hand.claim(4)
    hand.settles.complete_with(first, b"\x2a")
    hand.settles.complete(second)
    await hand.step()
    await hand.bury(third)
    await hand.cancel(fourth)
    assert [await results.wait(queue, job_id, 5) for job_id in ids[:2]] == [b"\x2a", b""]
    with pytest.raises(JobDead):
        await results.wait(queue, ids[2], 5)
    with pytest.raises(JobCancelled):
        await results.wait(queue, ids[3], 5)
    with pytest.raises(JobNotFound):
        await results.wait(queue, "1-1", 5)


async def test_a_wait_that_is_over_leaves_the_job_alone(store: RedisStore, queue: str, results: Results) -> None:
    (job_id,) = await enqueue(store, queue)
    with pytest.raises(ResultTimeout, match="it goes on"):
        await results.wait(queue, job_id, 0.02)
    assert (await store.counts(queue)).waiting == 1


async def test_a_reader_whose_connection_breaks_reads_on(proxy: Proxy, far: RedisStore, store: RedisStore, queue: str) -> None:
    results = Results(far, Clock())
    ids = await enqueue(store, queue, 2)
    waits = [asyncio.ensure_future(results.wait(queue, job_id, 10)) for job_id in ids]
    await flagged(store, queue, 2)
    await proxy.cut_all()
    hand = Hand(store, queue)
    await hand.complete(*await hand.claim(2))
    assert await asyncio.gather(*waits) == [b"", b""]
    await results.close()
