"""Reads: what the store says of jobs agrees with where they are, page by page, and nothing it says changes anything."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from engine import BadInput, Clock
from engine.job import State
from engine.keys import prefix
from engine.store import pages
from engine.store.redis_store import RedisStore
from engine.store.rows import JobRow, Place, entry_ms

from .seed import Hand, dead, enqueue, foreign, ids_ahead

HOUR = 3_600_000


async def everything(store: RedisStore, queue: str, state: State, limit: int) -> list[JobRow]:
    """All pages of a state."""
    rows: list[JobRow] = []
    cursor = ""
    for _ in range(200):
        page = await store.page(queue, state, cursor=cursor, limit=limit)
        rows += page.rows
        cursor = page.cursor
        if not cursor:
            return rows
    raise AssertionError(f"the pages of {state} do not end")


async def test_an_unknown_queue_has_zeros_and_no_pages(store: RedisStore, queue: str) -> None:
    counts = await store.counts(queue)
    assert (counts.enqueued, counts.pending, counts.difference, counts.oldest_waiting_seconds) == (0, 0, 0, 0.0)
    assert counts.paused is None
    for state in State:
        assert (await store.page(queue, state)).rows == []
    assert await store.workers(queue, counts.now_ms) == []
    assert await store.consumers(queue) == []


async def test_counts_hold_the_conservation_law_with_a_job_in_every_state(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    await dead(store, queue)
    ids = await enqueue(store, queue, 4)
    done, failed, held, gone = await hand.step(want=4)
    await hand.complete(done)
    await hand.retry(failed, HOUR)
    await store.cancel(queue, held.id, "no longer needed")
    hand.settles.retry(held, 5, "late", held.repacked())  # the cancel that was asked wins
    await hand.step()
    assert gone.id == ids[3]
    await enqueue(store, queue, 2, ordering_key="c1")
    await enqueue(store, queue, 3, delay_ms=HOUR)
    await store.delete(queue, (await enqueue(store, queue))[0], "typo")
    counts = await store.counts(queue)
    assert (counts.waiting, counts.active, counts.scheduled, counts.retrying, counts.blocked) == (1, 1, 3, 1, 1)
    assert (counts.completed, counts.dead, counts.cancelled, counts.removed, counts.enqueued) == (1, 1, 1, 1, 11)
    assert counts.difference == 0
    assert 0 <= counts.oldest_waiting_seconds < 60


async def test_a_lost_job_shows_as_a_difference(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    await store.link.call("XDEL", f"{prefix(queue)}ready:5", job_id)
    assert (await store.counts(queue)).difference == 1
    await store.link.call("HINCRBY", f"{prefix(queue)}meta", "removed", 1)  # the fixture holds the queue to the law


async def test_waiting_jobs_are_listed_in_the_order_of_their_claim(store: RedisStore, queue: str) -> None:
    low = await enqueue(store, queue, 3, priority=9)
    high = await enqueue(store, queue, 3, priority=1)
    hand = Hand(store, queue)
    claims = await hand.step(want=2)
    hand.settles.release(claims[0], claims[0].repacked())
    await hand.step()
    rows = await everything(store, queue, State.WAITING, limit=2)
    assert [row.id for row in rows] == [high[0], high[2], *low]  # released first; the claimed one is no longer waiting
    assert [row.tag for row in rows] == ["A", "1", "9", "9", "9"]
    assert {row.name for row in rows} == {"greet"}


async def test_active_jobs_name_their_worker(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 5)
    await Hand(store, queue, "w1").step(want=2)
    await Hand(store, queue, "w2").step(want=2)
    rows = await everything(store, queue, State.ACTIVE, limit=3)
    assert [(row.id, row.worker) for row in rows] == [(ids[0], "w1"), (ids[1], "w1"), (ids[2], "w2"), (ids[3], "w2")]
    assert all(0 <= row.idle_ms < 60_000 for row in rows)


async def test_thousands_due_at_one_instant_are_each_listed_once(store: RedisStore, queue: str) -> None:
    at_ms = (await store.now_ms()) + HOUR
    ids = await enqueue(store, queue, 100, at_ms=at_ms)
    rows = await everything(store, queue, State.SCHEDULED, limit=7)
    assert sorted(row.id for row in rows) == sorted(ids)
    assert {row.due_ms for row in rows} == {at_ms}


async def test_a_page_goes_on_though_its_last_job_was_promoted_meanwhile(store: RedisStore, queue: str) -> None:
    at_ms = (await store.now_ms()) + HOUR
    await enqueue(store, queue, 20, at_ms=at_ms)
    whole = [row.id for row in await everything(store, queue, State.SCHEDULED, limit=100)]
    first = await store.page(queue, State.SCHEDULED, limit=8)
    for row in first.rows:
        await store.hasten(queue, row.id)
    rest = await store.page(queue, State.SCHEDULED, cursor=first.cursor, limit=100)
    assert [row.id for row in rest.rows] == whole[8:]


async def test_blocked_jobs_are_all_listed(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 300, ordering_key="c1")
    rows = await everything(store, queue, State.BLOCKED, limit=50)
    assert [row.id for row in rows] == ids[1:]
    assert {row.envelope.key for row in rows if row.envelope} == {"c1"}


async def test_a_page_of_blocked_jobs_goes_on_though_its_last_one_left_meanwhile(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 8, ordering_key="c1")
    first = await store.page(queue, State.BLOCKED, limit=3)
    await store.cancel(queue, first.rows[-1].id, "why")
    second = await store.page(queue, State.BLOCKED, limit=3, cursor=first.cursor)
    last = await store.page(queue, State.BLOCKED, limit=3, cursor=second.cursor)
    assert [len(page.rows) for page in (first, second, last)] == [3, 3, 1]
    assert [row.id for page in (first, second, last) for row in page.rows] == ids[1:]
    assert last.cursor == ""
    with pytest.raises(BadInput, match="begin without a cursor"):
        await store.page(queue, State.BLOCKED, cursor="0+x")


async def test_dead_jobs_are_listed_newest_first_with_what_is_known(store: RedisStore, queue: str) -> None:
    ids = await dead(store, queue, 5)
    rows = await everything(store, queue, State.DEAD, limit=2)
    assert [row.id for row in rows] == ids[::-1]
    death = rows[0].death
    assert death is not None
    assert (death.type, death.message, death.fingerprint, death.reason) == ("OSError", "no way", "abc123", "attempts used up")
    assert [record.outcome for record in death.history] == ["dead"]
    assert rows[0].ended_ms > 1_600_000_000_000


async def test_a_job_that_killed_its_workers_names_the_last_one(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    for worker in ("w1", "w2"):
        await Hand(store, queue, worker).step(want=1)
        await store.reclaim(queue, "rescuer", 0, 1, {}, grace=False)
    (row,) = (await store.page(queue, State.DEAD)).rows
    assert row.death is not None
    assert (row.id, row.death.type, row.death.reason, row.death.worker) == (job_id, "WorkerLost", "stall limit", "w2")
    assert row.envelope is not None
    assert [loss.worker for loss in row.envelope.lost] == ["w1", "w2"]


async def test_an_undecodable_entry_is_listed_and_found_by_its_id(store: RedisStore, queue: str) -> None:
    entry = await foreign(store, queue, b"\xff\x00 no envelope")
    (_, waiting) = (await store.page(queue, State.WAITING)).rows
    assert (waiting.id, waiting.name, waiting.raw) == (entry, "", b"\xff\x00 no envelope")
    await Hand(store, queue).claim_only(2)
    await store.reclaim(queue, "rescuer", 0, 3, {}, grace=False)
    (row,) = (await store.page(queue, State.DEAD)).rows
    assert (row.id, row.reason, row.raw) == (entry, "undecodable", b"\xff\x00 no envelope")
    found = await store.inspect(queue, entry)
    assert found.place is Place.DEAD
    assert found.row is not None
    assert (found.row.id, found.row.death.type if found.row.death else "") == (entry, "Undecodable")


async def test_completed_and_cancelled_jobs_are_listed_newest_first_each_with_its_own(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    ids = await enqueue(store, queue, 6)
    await hand.complete(*await hand.step(want=3))
    await store.cancel(queue, ids[3], "no longer needed")
    await hand.complete(*await hand.step(want=2))
    completed = await everything(store, queue, State.COMPLETED, limit=2)
    assert [row.id for row in completed] == [ids[5], ids[4], ids[2], ids[1], ids[0]]
    assert {(row.name, row.worker, row.run_ms) for row in completed} == {("greet", "hand", 5)}
    (cancelled,) = await everything(store, queue, State.CANCELLED, limit=2)
    assert (cancelled.id, cancelled.reason, cancelled.name) == (ids[3], "no longer needed", "greet")


async def test_a_settle_that_was_refused_is_not_listed_as_completed(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    (job_id,) = await enqueue(store, queue)
    (late,) = await hand.step(want=1)
    await store.reclaim(queue, "rescuer", 0, 3, {}, grace=False)
    await hand.complete(late)
    assert (await store.page(queue, State.COMPLETED)).rows == []
    assert await store.find_ended(queue, job_id) is None
    (again,) = await hand.step(want=1)
    await hand.complete(late, again)  # both attempts of one job in one call: one is refused, one counts
    assert [row.id for row in (await store.page(queue, State.COMPLETED)).rows] == [job_id]


async def test_an_ended_job_is_found_by_its_id(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    ids = await enqueue(store, queue, 3)
    await hand.complete(*await hand.step(want=2))
    await store.cancel(queue, ids[2], "no longer needed")
    states = [row.state if (row := await store.find_ended(queue, job_id)) else None for job_id in ids]
    assert states == [State.COMPLETED, State.COMPLETED, State.CANCELLED]
    assert await store.find_ended(queue, "1-1") is None


@pytest.mark.parametrize("meanwhile", [0, 3, 8])
async def test_an_end_is_found_though_the_servers_clock_was_set_back_and_the_id_is_of_a_later_moment(
    store: RedisStore, queue: str, meanwhile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`meanwhile` jobs end before the clock is where it was, and as many after."""
    monkeypatch.setattr(pages, "RECORDS_A_CALL", 2)
    hand = Hand(store, queue)
    await ids_ahead(store, queue, HOUR)
    ids = await enqueue(store, queue, 2 * meanwhile + 3)
    assert entry_ms(ids[0]) > await store.now_ms() + HOUR // 2
    for claim in await hand.step(want=meanwhile + 2):
        await hand.complete(claim)
    await store.cancel(queue, ids[-1], "no longer needed")
    await catch_up(store, queue, entry_ms(ids[0]))
    for claim in await hand.step(want=meanwhile + 1):
        await hand.complete(claim)
    states = [row.state if (row := await store.find_ended(queue, job_id)) else None for job_id in ids]
    assert states == [State.COMPLETED] * (2 * meanwhile + 2) + [State.CANCELLED]
    assert await store.find_ended(queue, f"{entry_ms(ids[0])}-1") is None


async def catch_up(store: RedisStore, queue: str, at_ms: int) -> None:
    """From now on ends are recorded as if the clock had got there."""
    await store.link.call("XSETID", f"{prefix(queue)}done", f"{at_ms}-0")


async def test_the_newest_ends_are_found_however_many_follow_the_id(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RECORDS_A_CALL", 2)
    hand = Hand(store, queue)
    ids = await enqueue(store, queue, 9)
    for claim in await hand.step(want=9):
        await hand.complete(claim)
    found = [await store.find_ended(queue, job_id, most_records=2) is not None for job_id in ids]
    assert found == [True] * 2 + [False] * 5 + [True] * 2


async def test_inspect_says_where_a_job_is_and_what_it_waits_for(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 3)
    blocked = await enqueue(store, queue, 3, ordering_key="c1")
    (later,) = await enqueue(store, queue, delay_ms=HOUR)
    third = await store.inspect(queue, ids[2])
    assert (third.place, third.row.state if third.row else None, third.front) == (Place.READY, State.WAITING, 2)
    last = await store.inspect(queue, blocked[2])
    assert (last.place, last.holder, last.line) == (Place.BLOCKED, blocked[0], 2)
    scheduled = await store.inspect(queue, later)
    assert scheduled.row is not None
    assert HOUR - 60_000 < scheduled.row.due_ms - scheduled.now_ms <= HOUR
    await Hand(store, queue, "w1").step(want=1)
    await store.cancel(queue, ids[0], "stop it")
    active = await store.inspect(queue, ids[0])
    assert active.row is not None
    assert (active.row.state, active.row.worker, active.is_cancel_asked) == (State.ACTIVE, "w1", True)
    assert (await store.inspect(queue, "1-1")).row is None


async def test_inspect_shows_what_an_active_job_noted(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue, "w1").step(want=1)
    assert await store.note(queue, "w1", claim.tag, claim.entry, claim.id, "progress", b"3;10")
    assert await store.note(queue, "w1", claim.tag, claim.entry, claim.id, "log", b"hello")
    notes = (await store.inspect(queue, claim.id)).notes
    assert notes["progress"] == b"3;10"
    assert notes["log:1"].endswith(b";hello")


async def test_workers_are_alive_while_their_heartbeat_is_young(store: RedisStore, queue: str) -> None:
    beat = msgspec.msgpack.encode(
        {
            "host": "h1",
            "pid": 7,
            "started_at_ms": 1,
            "concurrency": 5,
            "names": ["greet"],
            "held": 2,
            "version": "0.1.0",
            "new": 1,
        }
    )
    now_ms = await store.heartbeat(queue, "w1", beat)
    await store.heartbeat(queue, "w2", b"\xc1 of another version")
    young = await store.workers(queue, now_ms)
    assert [(row.worker, row.is_alive, row.pid, row.names) for row in young] == [("w1", True, 7, ("greet",)), ("w2", True, 0, ())]
    assert [row.is_alive for row in await store.workers(queue, now_ms + 16_000)] == [False, False]


async def test_a_worker_that_died_while_the_servers_clock_was_ahead_is_not_alive_until_that_hour(
    store: RedisStore, queue: str
) -> None:
    now_ms = await store.now_ms()
    await RedisStore(store.link, Clock(), test_now_ms=lambda: now_ms + HOUR).heartbeat(queue, "w1", b"\x80")
    await store.heartbeat(queue, "w2", b"\x80")
    assert [(row.worker, row.is_alive) for row in await store.workers(queue, now_ms)] == [("w1", False), ("w2", True)]
    assert (await store.counts(queue)).workers == 1


@pytest.mark.parametrize("how", ["enqueued", "with a key", "delayed", "released", "unblocked"])
async def test_the_oldest_that_waits_has_its_age_also_while_ids_are_ahead_of_the_servers_clock(
    store: RedisStore, queue: str, how: str
) -> None:
    now_ms = await store.now_ms()
    ahead = RedisStore(store.link, Clock(), test_now_ms=lambda: now_ms + HOUR)
    await enqueue(ahead, queue)  # of before: how long it waits, nobody can tell
    right = RedisStore(store.link, Clock(), test_now_ms=lambda: now_ms)
    if how == "released":
        hand = Hand(right, queue)
        (claim,) = await hand.step(want=1)
        hand.settles.release(claim, claim.repacked())
        await hand.step()
    elif how == "delayed":
        (job_id,) = await enqueue(right, queue, delay_ms=HOUR)
        await right.hasten(queue, job_id)
    elif how == "unblocked":
        first, _ = await enqueue(right, queue, 2, ordering_key="k")
        await right.delete(queue, first, "typo")
    else:
        await enqueue(right, queue, 3, **({"ordering_key": "k"} if how == "with a key" else {}))
    later = RedisStore(store.link, Clock(), test_now_ms=lambda: now_ms + 7_000)
    counts = await later.counts(queue)
    assert (counts.oldest_waiting_ms, counts.oldest_waiting_seconds) == (now_ms, 7.0)


async def test_events_tell_completions_and_acts_once_and_in_order(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    before = await store.events_now(queue)
    hand = Hand(store, queue)
    (claim,) = await hand.step(want=1)
    await hand.complete(claim)
    await dead(store, queue)
    await store.pause(queue, "maintenance")
    feed = await store.events(queue, before)
    assert sorted(event.kind for event in feed.events) == ["completed", "died", "paused"]
    assert {event.id for event in feed.events if event.kind == "completed"} == {claim.id}
    assert (await store.events(queue, feed.cursor)).events == []
    await store.resume(queue)
    waited = await store.events(queue, feed.cursor, block_ms=2000)
    assert [event.kind for event in waited.events] == ["resumed"]


async def test_the_server_describes_itself(store: RedisStore) -> None:
    info = await store.server_info()
    assert info.flavour in ("redis", "valkey")
    assert info.version_numbers >= (7, 0)
    assert (info.role, info.mode) == ("master", "standalone")
    assert info.ping_ms > 0
    assert abs(info.clock_ahead_ms) < 5_000


@pytest.mark.parametrize(
    ("aof", "fsync", "replicas", "least", "durability"),
    [
        (False, "always", 0, 0, "memory"),
        (True, "no", 0, 0, "memory"),
        (True, "everysec", 0, 0, "process"),
        (True, None, 0, None, "process"),
        (True, "always", 0, 1, "disk"),
        (True, "always", 1, 0, "disk"),
        (True, "everysec", 1, 1, "replicated"),
        (False, "everysec", 1, 1, "memory"),
    ],
)
async def test_the_durability_class_follows_the_settings(
    store: RedisStore, aof: bool, fsync: str | None, replicas: int, least: int | None, durability: str
) -> None:
    info = await store.server_info()
    set_so = replace(info, is_aof_on=aof, appendfsync=fsync, connected_replicas=replicas, min_replicas_to_write=least)
    assert set_so.durability == durability


async def test_queues_are_found_by_their_registration(store: RedisStore, queue: str) -> None:
    await store.register_queue(queue, 1)
    assert queue in await store.queue_names()
    await store.unregister_queue(queue)
    assert queue not in await store.queue_names()
