"""Rights: a user with the rights of its role and no others does all its role does, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from engine import Clock
from engine.declared import Limit
from engine.errors import StoreDenied
from engine.job import State
from engine.store.link import Link
from engine.store.needs import called_by
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.rights import ROLES, Role, commands, rules
from tests.support.factory import HOUR, Hand, Now, at_time, body, enqueue, reclaim

As = Callable[[Role], Awaitable[RedisStore]]


@pytest.fixture
async def as_role(store: RedisStore, server_url: str) -> AsyncIterator[As]:
    """A store that is logged in as a user of that role."""
    opened: list[RedisStore] = []

    async def log_in(role: Role) -> RedisStore:
        await store.link.call("ACL", "SETUSER", f"test-{role}", "reset", "on", ">secret", *rules(role).split())
        url = server_url + f"&username=test-{role}&password=secret"
        opened.append(RedisStore(Link(url, clock=Clock()), Clock()))
        return opened[-1]

    yield log_in
    for one in opened:
        await one.close()
    await store.link.call("ACL", "DELUSER", *(f"test-{role}" for role in ROLES))


async def test_a_producer_enqueues_every_kind_of_job_and_waits_for_its_end(as_role: As, store: RedisStore, queue: str) -> None:
    producer = await as_role("producer")
    assert await producer.missing_rights("producer", queue) == []
    await producer.register_queue(queue, 1)
    await enqueue(producer, queue, 3, ordering_key="k")
    await enqueue(producer, queue, dedup_key="d", dedup_window_ms=1_000)
    (job_id,) = await enqueue(producer, queue, delay_ms=HOUR)
    answers = await producer.enqueue(queue, "p", 1, [Entry(body()), Entry(body(), delay_ms=HOUR)], Limit(6))
    assert [bool(one.id) for one in answers] == [True, False]
    assert (await producer.await_end(queue, job_id))[0] == "waiting"
    assert await producer.find_ended(queue, "1-1") is None
    assert (await producer.server_info()).durability == "process"
    await store.link.call("HDEL", "engine:queues", queue)


async def test_a_producer_can_neither_claim_nor_look_nor_remove(as_role: As, queue: str) -> None:
    producer = await as_role("producer")
    (job_id,) = await enqueue(producer, queue)
    with pytest.raises(StoreDenied):
        await Hand(producer, queue).claim()
    with pytest.raises(StoreDenied, match=r"refuses our user DEL, HDEL, .*which `remove` needs: nothing was done"):
        await producer.delete(queue, job_id, "why")
    with pytest.raises(StoreDenied):
        await producer.link.call("XADD", "another-application", "*", "a", "b")


async def test_a_producer_whose_queue_drops_its_oldest_needs_the_rights_to(as_role: As, store: RedisStore, queue: str) -> None:
    producer = await as_role("producer")
    await enqueue(producer, queue, 3, ordering_key="k")
    with pytest.raises(StoreDenied, match=r"user DEL, EXISTS, HDEL, .*which `enqueue drop-oldest` needs: nothing was done"):
        await producer.enqueue(queue, "p", 1, [Entry(body())] * 2, Limit(3, "drop-oldest"))
    assert (await store.counts(queue)).enqueued == 3
    more = [f"+{one.lower()}" for one in called_by("enqueue drop-oldest") - commands("producer")]
    assert more
    await store.link.call("ACL", "SETUSER", "test-producer", *more)
    answers = await producer.enqueue(queue, "p", 1, [Entry(body())] * 4, Limit(3, "drop-oldest"))
    assert [one.made_room for one in answers] == [True] * 4


async def test_a_worker_lives_a_whole_life(as_role: As, queue: str) -> None:
    worker = await as_role("worker")
    assert await worker.missing_rights("worker", queue) == []
    hand = Hand(worker, queue)
    await enqueue(worker, queue, 12, ordering_key="k")
    ids = await enqueue(worker, queue, 8)
    claims = {claim.id: claim for claim in await hand.claim(20)}
    one, two, three, four, five, six, seven, eight = (claims[job_id] for job_id in ids)
    assert await worker.note(queue, hand.name, one.tag, one.entry, one.id, "progress", b"1")
    await hand.renew(*claims.values())
    for settle in (
        hand.retry(one),
        hand.snooze(two),
        hand.release(three),
        hand.bury(four),
        hand.cancel(five),
        hand.complete(six),
    ):
        assert await settle == []
    await worker.heartbeat(queue, hand.name, b"x")
    later = at_time(worker, Now())
    await later.promote(queue)
    await hand.lapse(seven)
    await reclaim(worker, queue)
    await worker.pause(queue, "why")
    await worker.resume(queue)
    await worker.sweep_done(queue, 1)
    await worker.sweep_dead(queue, 1)
    await worker.sweep_rest(queue, 1_000_000, 1_000_000)
    await worker.counts(queue)
    await worker.leave(queue, hand.name)
    assert eight.id


async def test_a_worker_touches_nothing_that_is_not_ours(as_role: As, queue: str) -> None:
    worker = await as_role("worker")
    with pytest.raises(StoreDenied):
        await worker.link.call("FLUSHALL")
    for command in (("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("GET", "engine:x"), ("XLEN", "another-application")):
        with pytest.raises(StoreDenied):
            await worker.link.call(*command)


async def test_the_web_looks_at_everything_and_repairs(as_role: As, store: RedisStore, queue: str) -> None:
    web = await as_role("web")
    assert await web.missing_rights("web", queue) == []
    ids = await enqueue(web, queue, 6)
    hand = Hand(store, queue)
    first, second = await hand.claim(2)
    await hand.bury(first)
    for state in State:
        await web.page(queue, state)
    for job_id in ids:
        await web.inspect(queue, job_id)
    assert await web.requeue(queue, [first.id]) == 1
    await web.cancel(queue, second.id, "why")
    await web.delete(queue, ids[2], "why")
    await web.workers(queue, 1)
    await web.consumers(queue)
    await web.events(queue)
    await web.find_ended(queue, ids[0])
    async for rows in web.rows(queue, most=1_000):
        await web.examine(queue, rows, mend=True)
    with pytest.raises(StoreDenied):
        await Hand(web, queue, "web").claim()
    await web.obliterate(queue, force=True)


async def test_what_is_missing_is_named_as_the_server_judges_it(store: RedisStore, as_role: As, queue: str) -> None:
    worker = await as_role("worker")
    await store.link.call("ACL", "SETUSER", "test-worker", "-xautoclaim", "-xgroup|create")
    assert await worker.missing_rights("worker", queue) == ["XAUTOCLAIM", "XGROUP CREATE"]
    await store.link.call("ACL", "SETUSER", "test-worker", "resetkeys", "~engine:*", "%R~engine:*", "-hset", "-@scripting")
    with pytest.raises(StoreDenied, match="evalsha"):
        await worker.missing_rights("worker", queue)
