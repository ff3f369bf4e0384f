"""Junk: fields and rows that somebody wrote over. A script takes them for what is not there, and does no half of a change."""

from __future__ import annotations

import pytest

from engine.errors import StoreRefused
from engine.store.audit import Kind, Row, Verdict
from engine.store.base import text
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from tests.support.damage import FUTURE, forget, meta
from tests.support.factory import HOUR, Hand, Now, at_time, body, enqueue, raw, states, usurp
from tests.support.laws import lines

NO_NUMBERS = ("abc", "", "-5", "1.5", "inf", "nan", "0x10", "9" * 20)


def numbers(job_id: str) -> tuple[int, int]:
    """What ids are ordered by."""
    ms, seq = job_id.split("-")
    return int(ms), int(seq)


@pytest.mark.parametrize("junk", NO_NUMBERS)
@pytest.mark.parametrize("field", ["ms", "seq"])
@pytest.mark.parametrize("set_back", [False, True], ids=["", "the clock was set back"])
async def test_ids_rise_although_the_counter_holds_no_number(
    store: RedisStore, queue: str, field: str, junk: str, set_back: bool
) -> None:
    now = Now()
    timed = at_time(store, now)
    ids = await enqueue(timed, queue, 2)
    hand = Hand(timed, queue)
    (claim,) = await hand.claim()
    now.ms -= HOUR if set_back else -1
    await raw(store, queue, "HSET", "meta", field, junk)
    await hand.release(claim)  # numbers its new entry
    entry = (await raw(store, queue, "HGET", "where", ids[0])).decode().partition(":")[2]
    await raw(store, queue, "HSET", "meta", field, junk)
    plain = await enqueue(timed, queue, 2)
    await raw(store, queue, "HSET", "meta", field, junk)
    keyed = await enqueue(timed, queue, 2, ordering_key="k")
    all_ids = [*ids, entry, *plain, *keyed]
    assert [numbers(one) for one in all_ids] == sorted(numbers(one) for one in all_ids)
    assert await states(store, queue, [*ids, *plain, *keyed]) == ["waiting"] * 5 + ["blocked"]
    assert len(await hand.claim(9)) == 5


@pytest.mark.parametrize("junk", NO_NUMBERS)
@pytest.mark.parametrize("field", ["ms", "seq"])
async def test_the_auditor_finds_a_counter_that_holds_no_number_and_makes_it_again(
    store: RedisStore, queue: str, field: str, junk: str
) -> None:
    (before,) = await enqueue(store, queue)
    await raw(store, queue, "HSET", "meta", field, junk)
    rows = [Row(Kind.META, field)]
    assert await store.examine(queue, rows) == [Verdict.WRONG]
    assert await store.examine(queue, rows, mend=True) == [Verdict.MENDED]
    assert await store.examine(queue, rows) == [Verdict.SOUND]
    assert (await meta(store, queue, field)).isdigit()
    (after,) = await enqueue(store, queue)
    assert numbers(after) > numbers(before)


@pytest.mark.parametrize("delay_ms", [0, HOUR])
@pytest.mark.parametrize("junk", NO_NUMBERS)
async def test_a_counter_that_holds_no_number_adds_no_job_twice(store: RedisStore, queue: str, junk: str, delay_ms: int) -> None:
    await enqueue(store, queue, producer="first")
    await raw(store, queue, "HSET", "meta", "enqueued", junk)
    entries = [Entry(body(), delay_ms=delay_ms)]
    first = await store.enqueue(queue, "p", 1, entries)
    assert await store.enqueue(queue, "p", 1, entries) == first
    assert await meta(store, queue, "enqueued") == "1"
    await raw(store, queue, "HSET", "meta", "enqueued", 2)


async def test_settles_whose_counters_hold_no_numbers_are_written_whole(store: RedisStore, queue: str) -> None:
    ids = await enqueue(store, queue, 4)
    hand = Hand(store, queue)
    one, two, three, four = await hand.claim(4)
    for field in ("completed", "retried", "released", "died", "done_kept"):
        await raw(store, queue, "HSET", "meta", field, "abc")
    await hand.retry(one)
    await hand.release(two)
    await hand.bury(three)
    assert await hand.complete(four) == []
    assert await states(store, queue, ids) == ["retrying", "waiting", "dead", "completed"]
    assert (await store.counts(queue)).completed == 1
    assert (await store.sweep_done(queue, await store.now_ms() + HOUR)).dropped == 1


@pytest.mark.parametrize("field", ["w:w1", "gate", "solo", "rung", "dedups", "tags"])
async def test_a_field_that_a_step_reads_and_that_holds_junk_stops_no_step(store: RedisStore, queue: str, field: str) -> None:
    (first,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    await raw(store, queue, "HSET", "meta", field, "5zjunk")
    assert await store.last_call(queue, "w1") == (0 if field == "w:w1" else 1)
    (second,) = await enqueue(store, queue)
    assert await hand.complete(claim) == []
    await raw(store, queue, "HSET", "meta", field, "5zjunk")
    (later,) = await hand.claim()
    await hand.complete(later)
    assert await states(store, queue, [first, second]) == ["completed", "completed"]
    assert await store.last_call(queue, "w1") == hand.number
    await store.examine(queue, [Row(Kind.META, "tags")], mend=True)
    assert await raw(store, queue, "EXISTS", "ready:z") == 0


async def test_a_producers_last_call_that_is_junk_is_none(store: RedisStore, queue: str) -> None:
    await store.enqueue(queue, "p", 1, [Entry(body())])
    for junk in ("junk", "2", "2|", "|||"):
        await raw(store, queue, "HSET", "meta", "p:p", junk)
        assert await store.last_enqueue(queue, "p") == (2 if junk.startswith("2") else 0)
        assert len(await store.enqueue(queue, "p", 2, [Entry(body())])) == 1


async def test_a_dedup_row_that_is_junk_holds_nobody_back(store: RedisStore, queue: str) -> None:
    entries = [Entry(body()), Entry(body(), dedup_key="d", dedup_window_ms=HOUR)]
    await store.enqueue(queue, "p", 1, entries)
    (home,) = await store.link.call("KEYS", f"engine:{{{queue}}}:dedup:*")
    await store.link.call("HSET", home, "d", "junk")
    assert [one.duplicate for one in await store.enqueue(queue, "p", 2, entries)] == [False, False]
    assert [one.duplicate for one in await store.enqueue(queue, "p", 3, entries)] == [False, True]


async def test_a_pause_that_nobody_can_read_stands_until_somebody_resumes(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    for junk in ("junk", "12", ";;", "9" * 20 + ";1;x"):
        await raw(store, queue, "HSET", "meta", "paused", junk)
        reply = await hand.step(want=1)
        assert (reply.rows, reply.paused_until_ms, reply.pause) == ([], 0, f"0;0;{junk}")
        pause = (await store.counts(queue)).paused
        assert pause is not None
        assert (pause.until_ms, pause.reason) == (0, junk)
        assert await store.examine(queue, [Row(Kind.META, "paused")], mend=True) == [Verdict.MENDED]
        reply = await hand.step(want=1)
        assert (reply.rows, reply.paused_until_ms) == ([], 0)
        assert reply.pause.endswith(f";{junk}")
    await raw(store, queue, "HSET", "meta", "paused", "junk")
    assert await store.resume(queue)
    assert len(await hand.claim()) == 1


async def test_beats_and_graces_that_are_no_numbers_keep_nothing_from_being_taken_back(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.lapse(*await hand.claim())
    await raw(store, queue, "HSET", "meta", "beat", "junk", "grace", "junk")
    done = await store.reclaim(queue, "r", 10_000, 3, {})
    assert (done.moved, done.in_grace) == (1, False)
    assert await states(store, queue, [job_id]) == ["waiting"]


@pytest.mark.parametrize("size", [*range(1, 13), 14, 25])
async def test_a_row_of_a_key_with_bytes_too_many_or_too_few_loses_nobody_in_its_line(
    store: RedisStore, queue: str, size: int
) -> None:
    await raw(store, queue, "HSET", "keys", "k", "x" * size)
    if size < 13:  # more hold an id of nobody's, whose turn ends when the auditor looks
        ids = await enqueue(store, queue, 12, ordering_key="k")
    assert await store.examine(queue, [Row(Kind.KEY, "k")]) == [Verdict.SOUND if size < 13 else Verdict.WRONG]
    if size >= 13:
        assert await store.examine(queue, [Row(Kind.KEY, "k")], mend=True) == [Verdict.MENDED]
        ids = await enqueue(store, queue, 12, ordering_key="k")
    assert (await lines(store, queue))["k"] == ids
    hand, ran = Hand(store, queue), list[str]()
    while claims := await hand.claim(9):
        ran += [claim.id for claim in claims]
        await hand.complete(*claims)
    assert ran == ids
    assert await raw(store, queue, "EXISTS", "keys") == 0


@pytest.mark.parametrize("row", [b"", b"x", b"x" * 12, b"x" * 14])
async def test_the_auditor_finds_a_row_of_a_key_that_is_none(store: RedisStore, queue: str, row: bytes) -> None:
    await enqueue(store, queue)
    for key in ("k", ""):
        await raw(store, queue, "HSET", "keys", key, row)
        assert await store.examine(queue, [Row(Kind.KEY, key)]) == [Verdict.WRONG]
        assert await store.examine(queue, [Row(Kind.KEY, key)], mend=True) == [Verdict.MENDED]
    assert await raw(store, queue, "EXISTS", "keys") == 0


async def test_bytes_behind_a_row_of_a_key_cost_nobody_his_place(store: RedisStore, queue: str) -> None:
    for n in (3, 12):  # the second with a tail
        ids = await enqueue(store, queue, n, ordering_key=f"k{n}")
        row = await raw(store, queue, "HGET", "keys", f"k{n}")
        await raw(store, queue, "HSET", "keys", f"k{n}", row + b"abc")
        assert await store.examine(queue, [Row(Kind.KEY, f"k{n}")]) == [Verdict.WRONG]
        assert await store.examine(queue, [Row(Kind.KEY, f"k{n}")], mend=True) == [Verdict.MENDED]
        assert (await lines(store, queue))[f"k{n}"] == ids


@pytest.mark.parametrize("act", ["release", "bury", "hand over", "requeue", "reclaim"])
async def test_an_id_that_somebody_put_above_ours_costs_no_job(store: RedisStore, queue: str, act: str) -> None:
    """What a script takes out of one stream it must be able to put into the other."""
    first, second = await enqueue(store, queue, 2, ordering_key="k")
    (third,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    one, other = await hand.claim(2)
    if act == "requeue":
        await hand.bury(other)
    for stream in ("ready:5", "ready:E", "ready:s", "dead", "blocked"):
        await raw(store, queue, "XADD", stream, FUTURE, "j", "rubbish")
        await raw(store, queue, "XDEL", stream, FUTURE)
    match act:
        case "release":
            await hand.release(other)
        case "bury":
            await hand.bury(other)
        case "hand over":
            await hand.complete(one)
        case "requeue":
            assert await store.requeue(queue, [third]) == 1
        case "reclaim":
            await hand.lapse(one, other)
            await store.reclaim(queue, "r", 10_000, 3, {}, grace=False)
    expected = {
        "release": ["active", "blocked", "waiting"],
        "bury": ["active", "blocked", "dead"],
        "hand over": ["completed", "waiting", "active"],
        "requeue": ["active", "blocked", "waiting"],
        "reclaim": ["waiting", "blocked", "waiting"],
    }
    assert await states(store, queue, (first, second, third)) == expected[act]
    (later,) = await enqueue(store, queue)
    assert numbers(later) > numbers(FUTURE)


async def test_an_id_above_ours_is_refused_in_a_sentence_and_mended_by_the_auditor(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await raw(store, queue, "XADD", "ready:5", FUTURE, "j", "rubbish")
    await raw(store, queue, "XDEL", "ready:5", FUTURE)
    with pytest.raises(StoreRefused, match="a script met what it can't work with") as raised:
        await enqueue(store, queue)
    assert raised.value.code == "SCRIPT"
    assert await store.examine(queue, [Row(Kind.META, "ms")]) == [Verdict.WRONG]
    assert await store.examine(queue, [Row(Kind.META, "ms")], mend=True) == [Verdict.MENDED]
    assert numbers((await enqueue(store, queue))[0]) > numbers(FUTURE)
    assert len(await Hand(store, queue).claim(9)) == 2


@pytest.mark.parametrize("score", ["inf", "1e300"])
@pytest.mark.parametrize("zset", ["scheduled", "retrying"])
async def test_a_time_that_never_comes_is_due_never_and_hides_no_other(
    store: RedisStore, queue: str, zset: str, score: str
) -> None:
    await enqueue(store, queue)
    await raw(store, queue, "ZADD", zset, score, "zzz")
    done = await store.promote(queue)
    assert (done.moved, done.next_due_ms) == (0, 0)
    assert (await Hand(store, queue).step(want=1)).next_due_ms == 0
    await enqueue(store, queue, delay_ms=HOUR)
    assert (await store.promote(queue)).next_due_ms > done.now_ms
    await raw(store, queue, "ZREM", zset, "zzz")


async def test_a_scheduled_job_whose_row_says_retrying_runs_once(store: RedisStore, queue: str) -> None:
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await raw(store, queue, "HSET", "where", job_id, "t")
    await raw(store, queue, "ZADD", "scheduled", 1, job_id)
    assert (await store.promote(queue)).moved == 1
    assert (await store.promote(queue)).moved == 0
    assert [claim.id for claim in await Hand(store, queue).claim(9)] == [job_id]


async def test_streams_in_use_that_were_forgotten_are_found_again(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue, priority=3)
    await raw(store, queue, "HDEL", "meta", "tags")
    assert await store.may_have_work(queue)
    assert len(await Hand(store, queue).claim()) == 1


async def test_entries_that_are_none_of_ours_stop_no_sweep(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.bury(*await hand.claim())
    for stream in ("dead", "done"):
        await raw(store, queue, "XADD", stream, "*", "q", "1")
    later = await store.now_ms() + HOUR
    await raw(store, queue, "HSET", "meta", "done_kept", "abc", "removed", "abc")
    assert (await store.sweep_dead(queue, later)).dropped == 2
    assert (await store.sweep_done(queue, later)).dropped == 0
    assert [await raw(store, queue, "XLEN", stream) for stream in ("dead", "done")] == [0, 0]
    await raw(store, queue, "HSET", "meta", "removed", 1)


async def test_notes_whose_counts_are_no_numbers_are_kept_on(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue).claim()
    where = (queue, "w1", claim.tag, claim.entry, claim.id)
    await store.note(*where, "log", b"one")
    await raw(store, queue, "HSET", f"notes:{claim.id}", "lines", "abc", "steps", "abc")
    assert await store.recall(*where, "step:a") == (True, None)
    assert await store.note(*where, "log", b"two")
    assert await store.note(*where, "step:a", b"x")


async def test_a_blocked_entry_that_nobody_can_read_is_looked_at_all_the_same(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    entry = (await raw(store, queue, "XADD", "blocked", "*", "j", "rubbish")).decode()
    await raw(store, queue, "HINCRBY", "meta", "enqueued", 1)
    found = await store.inspect(queue, entry)
    assert (found.place, found.holder, found.line) == ("b", "", 0)
    await store.examine(queue, [Row(Kind.BLOCKED, entry)], mend=True)


@pytest.mark.parametrize("is_mended", [False, True], ids=["in the line", "in no line, and mended"])
async def test_a_blocked_entry_whose_id_is_none_keeps_nobody_from_ending(store: RedisStore, queue: str, is_mended: bool) -> None:
    held, behind = await enqueue(store, queue, 2, ordering_key="k")
    entry = text(await raw(store, queue, "XADD", "blocked", "*", "j", "1;0;5;--;1;0;kX"))
    if is_mended:
        assert await store.examine(queue, [Row(Kind.BLOCKED, entry)], mend=True) == [Verdict.MENDED]
        assert await raw(store, queue, "XLEN", "dead") == 1, "nothing that could run"
    else:
        ms, seq = numbers(entry)
        row = await raw(store, queue, "HGET", "keys", "k")
        first, rest = row[:13], row[13:]
        await raw(store, queue, "HSET", "keys", "k", first + ms.to_bytes(6, "big") + seq.to_bytes(7, "big") + rest)
    hand = Hand(store, queue)
    for job_id in (held, behind):
        (claim,) = await hand.claim()
        assert claim.id == job_id
        await hand.complete(claim)
    assert await states(store, queue, [held, behind]) == ["completed"] * 2
    await forget(store, queue)  # a job was buried, or is left, that was never enqueued


async def test_a_worker_leaves_whatever_its_row_holds(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await Hand(store, queue).claim()  # it leaves a job behind
    await raw(store, queue, "HSET", "workers", "w1", "junk")
    await store.leave(queue, "w1")
    (row,) = await store.workers(queue, await store.now_ms())
    assert not row.is_alive


async def test_leases_are_renewed_although_nobody_can_read_the_marks(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    (claim,) = await hand.claim()
    for suffix in ("flags", "meta"):
        await hand.lapse(claim)
        restore = await usurp(store, queue, suffix)
        await (store.renew_all(queue, "w1") if suffix == "meta" else hand.renew(claim))
        await restore()
        ((_, _, idle_ms, _),) = await raw(store, queue, "XPENDING", "ready:5", "w", "-", "+", 9)
        assert (idle_ms < 10_000) == (suffix == "flags")  # without the names of its streams nothing can be
