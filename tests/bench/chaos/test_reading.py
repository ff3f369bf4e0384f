"""Reading: a real server filled through the engine, every state of a job, and what the checker's own eyes make of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from bench.chaos import reading
from bench.chaos.journal import RunSettings
from bench.chaos.kept import Kept, QueueData, Stream, pid_of, read_envelope, read_line, read_short
from bench.chaos.laws.found import Found
from bench.chaos.laws.keeping import conserved, settled_once
from bench.chaos.laws.structures import structures_agree
from bench.chaos.reading import Door, StillMoving, read, read_queue
from bench.chaos.story import Evidence, Story
from engine.job import AttemptRecord, Body, encode_payload, pack_body
from engine.keys import GROUP, prefix
from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, body, enqueue, enqueue_foreign, raw, reclaim, whereabouts


def judged(data: QueueData) -> list[str]:
    """What the laws that need no journal hold against a queue."""
    settings = RunSettings(
        seed=1, command="", versions={}, server=[], workers=0, queues={}, producers=0, enqueue_timeout_ms=0
    )  # fmt: skip
    story, found = Story(Evidence(settings=settings, records=[], faults=[], queues={data.name: data})), Found()
    for law in (conserved, settled_once, structures_agree):
        law(story, found)
    return [f"{violation.job}: {violation.what}" for violation in found.violations]


async def look(url: str, queue: str) -> QueueData:
    """The checker reads, in a thread: it blocks."""
    return (await asyncio.to_thread(read, url, [queue])).queues[queue]


async def in_every_state(store: RedisStore, queue: str) -> dict[str, str]:
    """What became of some jobs, by their ids."""
    hand, other = Hand(store, queue, "host:11:aa"), Hand(store, queue, "host:22:bb")
    ids: dict[str, str] = {}

    async def one(what: str, **entry: Any) -> Any:
        (ids[what],) = await enqueue(store, queue, **entry)
        return (await hand.claim())[0] if what not in ("scheduled", "cancelled", "waiting") else None

    await hand.complete(await one("completed"))
    await hand.retry(await one("retrying", data=body(payload={"n": 77})))
    await hand.snooze(await one("snoozed", ordering_key="slow"))
    await hand.bury(await one("dead"))
    await one("scheduled", delay_ms=HOUR, ordering_key="later")
    await one("cancelled")
    await store.cancel(queue, ids["cancelled"], "no more")
    await other.lapse(await one("stalled twice, then completed"))
    await reclaim(store, queue)
    (again,) = await other.claim()
    await other.lapse(again)
    await reclaim(store, queue)
    await hand.complete(*await hand.claim())
    await other.lapse(await one("dead for its stalls"))
    await reclaim(store, queue, stall_limit=0)
    await hand.release(await one("released"))
    ids["undecodable"] = await enqueue_foreign(store, queue, b"\xff not ours")
    await store.cancel(queue, (await enqueue(store, queue))[0], "only there to be taken away")
    ids["holder"], *waiting = await enqueue(store, queue, 14, ordering_key="k")
    ids |= {f"blocked {i}": job for i, job in enumerate(waiting)}
    await one("waiting", priority=9)
    return ids


@pytest.mark.parametrize("page", [2, 1000])
async def test_every_job_is_found_where_it_is(
    store: RedisStore, queue: str, server_url: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE", page)
    ids = await in_every_state(store, queue)
    data = await look(server_url, queue)
    found: dict[str, list[str]] = {}
    for kept in data.jobs:
        found.setdefault(kept.id, []).append(kept.state)
    assert found == await whereabouts(store, queue)
    assert judged(data) == []
    assert data.strays == []
    by_id = {kept.id: kept for kept in data.jobs}
    assert by_id[ids["retrying"]].n == 77
    assert by_id[ids["dead for its stalls"]].reason == "stall limit"
    assert [pid_of(loss.worker) for loss in by_id[ids["dead for its stalls"]].losses] == [22]
    assert by_id[ids["cancelled"]].reason == "no more"
    line = data.keys["k"]
    assert (line.holder, len(line.waiting), line.is_listed, line.listed) == (ids["holder"], 13, True, 5)
    assert data.where[ids["snoozed"]] == "z"


async def test_what_a_worker_wrote_down_of_an_attempt_is_read(store: RedisStore, queue: str, server_url: str) -> None:
    history = (AttemptRecord(1, 1000, 1010, "retry", "OSError: no", "host:7:ab"), AttemptRecord(2, 2000, 2020, "snooze"))
    data = pack_body(Body("do", msgspec.Raw(encode_payload({"n": 5})), history=history))
    (job,) = await enqueue(store, queue, data=data)
    (kept,) = (await look(server_url, queue)).jobs
    assert (kept.id, kept.n, kept.state) == (job, 5, "waiting")
    assert [(tried.attempt, tried.started_ms, tried.ended_ms, tried.outcome) for tried in kept.history] == [
        (1, 1000, 1010, "retry"),
        (2, 2000, 2020, "snooze"),
    ]
    assert (kept.history[0].error, pid_of(kept.history[0].worker)) == ("OSError: no", 7)


@pytest.fixture
async def spoiled(store: RedisStore) -> AsyncIterator[str]:
    """A queue that a test breaks by hand: a job waits (3), runs (2), is delayed (1), retrying (1), and ten are behind a key."""
    name = f"q-{uuid.uuid4().hex[:10]}"
    hand = Hand(store, name, "host:11:aa")
    await enqueue(store, name, 3)
    first, _, third = await hand.claim(3)
    await enqueue(store, name, delay_ms=HOUR)
    await hand.retry(first)
    await enqueue(store, name, 12, ordering_key="k")
    await hand.claim()
    await hand.complete(third)
    await enqueue(store, name, 2)
    yield name
    while not (await store.obliterate(name, force=True)).is_done:
        continue


async def xack(store: RedisStore, queue: str) -> None:
    """An acknowledgement without a deletion: the entry is there, and nobody will ever be given it."""
    entry = (await raw(store, queue, "XPENDING", "ready:5", GROUP, "-", "+", 1))[0][0]
    await raw(store, queue, "XACK", "ready:5", GROUP, entry)


async def xdel(store: RedisStore, queue: str) -> None:
    """A deletion without an acknowledgement."""
    entry = (await raw(store, queue, "XPENDING", "ready:5", GROUP, "-", "+", 1))[0][0]
    await raw(store, queue, "XDEL", "ready:5", entry)


async def forget_the_envelope(store: RedisStore, queue: str) -> None:
    """A delayed job without its envelope."""
    await raw(store, queue, "HDEL", "jobs", *await raw(store, queue, "ZRANGE", "scheduled", 0, -1))


async def forget_the_time(store: RedisStore, queue: str) -> None:
    """An envelope that waits for no time: promoted by half."""
    await raw(store, queue, "ZREMRANGEBYRANK", "retrying", 0, -1)


async def forget_the_place(store: RedisStore, queue: str) -> None:
    """A job that has moved, and nobody knows where."""
    await raw(store, queue, "HDEL", "where", *await raw(store, queue, "ZRANGE", "retrying", 0, -1))


async def wrong_holder(store: RedisStore, queue: str) -> None:
    """A key that is held by somebody else's job."""
    row = await raw(store, queue, "HGET", "keys", "k")
    await raw(store, queue, "HSET", "keys", "k", bytes(13) + row[13:])


async def free_key(store: RedisStore, queue: str) -> None:
    """A key that nobody has, with many who wait for it."""
    await raw(store, queue, "HDEL", "keys", "k")


async def short_list(store: RedisStore, queue: str) -> None:
    """A line that has lost its end."""
    await raw(store, queue, "DEL", "line:k")


async def half_an_id(store: RedisStore, queue: str) -> None:
    """A row that is no row."""
    await raw(store, queue, "HSET", "keys", "k", b"12345")


async def hidden_stream(store: RedisStore, queue: str) -> None:
    """A stream that no worker looks at."""
    await raw(store, queue, "HSET", "meta", "tags", "9")


async def no_group(store: RedisStore, queue: str) -> None:
    """A stream whose group is gone, and with it who has what."""
    await store.link.call("XGROUP", "DESTROY", f"{prefix(queue)}ready:5", GROUP)


async def old_flag(store: RedisStore, queue: str) -> None:
    """A wish to cancel what has long ended."""
    await raw(store, queue, "HSET", "flags", "c1-1", "1")


async def wrong_place(store: RedisStore, queue: str) -> None:
    """A job is looked for where it is not."""
    await raw(store, queue, "HSET", "where", *await raw(store, queue, "ZRANGE", "retrying", 0, -1), "5:1-1")


async def deleted_from_its_line(store: RedisStore, queue: str) -> None:
    """One who waits for a key is gone, its place in the line is not."""
    await raw(store, queue, "XTRIM", "blocked", "MAXLEN", 10)


async def notes_for_ever(store: RedisStore, queue: str) -> None:
    """Notes of a job that has ended, which nobody will sweep."""
    await raw(store, queue, "ZADD", "noted", "+inf", "1-1")


async def no_record(store: RedisStore, queue: str) -> None:
    """The record of who was completed is gone."""
    await raw(store, queue, "DEL", "done")


SPOILS = {
    xack: "was given out and is nobody's",
    xdel: "is pending for host:11:aa and not in the stream",
    forget_the_envelope: "its envelope is not in jobs",
    forget_the_time: "waits for no time: it will never run",
    forget_the_place: "`where` has no row of it",
    wrong_holder: "it is held by 0-0 (not there)",
    free_key: "stands 0 times in a line",
    short_list: "its list has 0, its row says that there is one",
    half_an_id: "the row of ordering key b'k': 5 bytes are no id",
    hidden_stream: "where no worker looks",
    no_group: "entries and no group",
    old_flag: "flag c of a job that has ended",
    wrong_place: "`where` has it at 5:1-1, it is at t",
    deleted_from_its_line: "stands in its line and does not wait for it",
    notes_for_ever: "its notes are kept for ever",
    no_record: "0 records of completed jobs",
}


async def test_a_queue_that_nobody_spoiled_breaks_no_law(store: RedisStore, spoiled: str, server_url: str) -> None:
    assert judged(await look(server_url, spoiled)) == []


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
async def test_what_is_broken_in_redis_is_seen(store: RedisStore, spoiled: str, server_url: str, spoil: Any) -> None:
    await spoil(store, spoiled)
    assert SPOILS[spoil] in "\n".join(judged(await look(server_url, spoiled)))


async def test_a_queue_that_moves_while_it_is_read_is_not_judged(store: RedisStore, queue: str, server_url: str) -> None:
    await enqueue(store, queue)

    def hasty() -> None:
        door = Door(server_url)
        ask = door.ask

        def meddling(*command: Any) -> Any:
            if command[0] == "XRANGE" and command[1].endswith("dead"):
                ask("HINCRBY", f"{prefix(queue)}meta", "completed", 1)
            return ask(*command)

        door.ask = meddling  # type: ignore[method-assign]  # somebody works there while we read
        try:
            read_queue(door, queue)
        finally:
            ask("HDEL", f"{prefix(queue)}meta", "completed")
            door.close()

    with pytest.raises(StillMoving, match="completed"):
        await asyncio.to_thread(hasty)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_ids_of_thirteen_bytes_are_taken_apart() -> None:
    packed = (1_763_791_234_567).to_bytes(6, "big") + (9_876_543_210).to_bytes(7, "big")
    assert read_short(packed, 0) == "1763791234567-9876543210"
    line = read_line(packed * 2 + b"+", [packed])
    assert (line.holder, len(line.waiting), line.is_listed, line.listed) == ("1763791234567-9876543210", 2, True, 1)
    assert read_line(b"+", []).holder == ""


@pytest.mark.parametrize("value", [b"", b"no job", b"1;0;5;;9;9;short", b"1;0;55;;0;0;"])
def test_bytes_that_are_no_envelope_are_none(value: bytes) -> None:
    assert read_envelope(value, "1-1") is None


def test_a_worker_is_told_by_its_name() -> None:
    assert pid_of("w1.3:4711:0fa2b3") == 4711
    assert pid_of("host:with:colons:12:ab") == 12
    assert pid_of("w1") == 0


def test_a_job_knows_its_full_id() -> None:
    assert Kept(queue="alpha", id="1-2", state="waiting").job == "alpha/1-2"
    assert Stream(tag="5", is_known=True).pending == {}
