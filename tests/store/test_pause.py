"""Pause and gate: nothing is claimed, and nothing else is held up."""

from __future__ import annotations

import pytest

from engine.store.redis_store import RedisStore
from tests.support.factory import HOUR, Hand, Now, at_time, enqueue, raw, states


async def test_a_timed_pause_ends_by_itself_to_the_millisecond(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue)
    await timed.pause(queue, "lunch", for_ms=1000)
    end = now.ms + 1000
    reply = await hand.step(want=1)
    assert (reply.rows, reply.paused_until_ms) == ([], end)
    now.forward(999)
    assert await hand.claim() == []
    now.forward(1)
    reply = await hand.step(want=1)
    assert (len(reply.rows), reply.paused_until_ms) == (1, -1)
    assert (await store.counts(queue)).paused is None


async def test_who_resumes_after_the_end_of_a_timed_pause_hears_that_it_was_not_paused(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    await timed.pause(queue, "lunch", for_ms=1000)
    now.forward(1000)
    assert not await timed.resume(queue, "back early")
    told = [fields[7] for _, fields in await raw(store, queue, "XRANGE", "events", "-", "+")]
    assert told == [b"lunch", b"timed pause ended"]


async def test_a_resume_opens_the_gate_of_a_rate_limit(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue)
    await timed.gate(queue, HOUR)
    now.forward(-HOUR)  # the server's clock is set back: the limit would last an hour longer
    reply = await hand.step(want=1)
    assert (reply.rows, reply.paused_until_ms) == ([], now.ms + 2 * HOUR)
    rings = await raw(store, queue, "XREVRANGE", "bell", "+", "-")
    assert await timed.resume(queue)
    assert await raw(store, queue, "XREVRANGE", "bell", "+", "-") != rings, "who sleeps is woken"
    reply = await hand.step(want=1)
    assert (len(reply.rows), reply.paused_until_ms) == (1, -1)
    assert not await timed.resume(queue)


async def test_a_pause_without_end_says_so_and_why(store: RedisStore, queue: str) -> None:
    hand = Hand(store, queue)
    assert (await hand.step(want=1)).pause == ""
    await store.pause(queue, "token; revoked")
    for reply in (await hand.step(want=1), await hand.again()):
        assert reply.paused_until_ms == 0
        assert reply.pause.startswith("0;")
        assert reply.pause.endswith(";token; revoked")
    await store.resume(queue)
    assert (await hand.step(want=1)).pause == ""


async def standing(store: RedisStore, queue: str) -> tuple[str, int, int]:
    """Reason, begin and end of the pause that stands."""
    pause = (await store.counts(queue)).paused
    assert pause is not None
    return pause.reason, pause.since_ms, pause.until_ms


async def test_a_pause_without_a_reason_leaves_what_stands(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    for for_ms in (0, 10_000):
        await timed.pause(queue, f"token; revoked {for_ms}", for_ms=for_ms)
        before = await standing(timed, queue)
        now.forward(1000)
        assert not await timed.pause(queue, ""), "nothing changed"
        assert await standing(timed, queue) == before


async def test_a_time_alone_moves_the_end_of_a_pause_and_leaves_its_reason(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await timed.pause(queue, "token revoked")
    began = now.ms
    now.forward(1000)
    assert await timed.pause(queue, "", for_ms=5000)
    assert await standing(timed, queue) == ("token revoked", began, now.ms + 5000)


async def test_a_reason_replaces_the_reason_and_the_end_that_stood(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await timed.pause(queue, "lunch", for_ms=10_000)
    began = now.ms
    now.forward(1000)
    assert await timed.pause(queue, "lunch"), "until resumed is another end"
    assert await standing(timed, queue) == ("lunch", began, 0)
    assert await timed.pause(queue, "token revoked")
    assert await standing(timed, queue) == ("token revoked", now.ms, 0)


async def test_a_pause_that_is_over_leaves_nothing_to_the_next(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await timed.pause(queue, "lunch", for_ms=1000)
    now.forward(1000)
    assert await timed.pause(queue, "")
    assert await standing(timed, queue) == ("", now.ms, 0)


async def test_settles_promotions_and_enqueues_go_on_while_a_queue_is_paused(store: RedisStore, queue: str) -> None:
    first, second = await enqueue(store, queue, 2, ordering_key="k")
    (later,) = await enqueue(store, queue)
    hand = Hand(store, queue)
    one, two = await hand.claim(2)
    await store.pause(queue, "why")
    await hand.complete(one)
    await hand.retry(two, 0)
    assert (await store.promote(queue)).moved == 1
    (new,) = await enqueue(store, queue)
    assert await hand.claim(9) == []
    assert await states(store, queue, [first, second, later, new]) == ["completed", "waiting", "waiting", "waiting"]


async def test_a_lost_reply_is_still_answered_on_a_paused_queue(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    first = await hand.step(want=1)
    await store.pause(queue, "why")
    assert (await hand.again()).rows == first.rows


async def test_a_suspect_waits_out_a_pause_too(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    hand = Hand(store, queue)
    await hand.lapse(*await hand.claim())
    await store.reclaim(queue, "r", 10_000, 3, {}, grace=False)
    await store.pause(queue, "why")
    reply = await hand.step(want=1)
    assert (reply.rows, reply.drain) == ([], False)


async def test_resume_rings_the_bell(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await store.pause(queue, "why")
    before = await store.last_ids(queue)
    await store.resume(queue)
    assert await store.last_ids(queue) != before


async def test_a_gate_holds_until_its_instant_and_never_gets_shorter(store: RedisStore, queue: str) -> None:
    now = Now()
    timed = at_time(store, now)
    await enqueue(timed, queue)
    hand = Hand(timed, queue)
    assert await timed.gate(queue, 5000)
    assert not await timed.gate(queue, 4000)
    assert await timed.gate(queue, 6000)
    end = now.ms + 6000
    reply = await hand.step(want=1)
    assert (reply.rows, reply.paused_until_ms) == ([], end)
    now.forward(5999)
    assert await hand.claim() == []
    now.forward(1)
    assert len(await hand.claim()) == 1


async def test_a_gate_does_not_shorten_a_pause(store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await store.pause(queue, "why")
    await store.gate(queue, HOUR)
    assert (await Hand(store, queue).step(want=1)).paused_until_ms == 0


async def test_pausing_and_resuming_is_told_to_whoever_listens(store: RedisStore, queue: str) -> None:
    await store.pause(queue, "revoked")
    await store.pause(queue, "")
    await store.resume(queue, "renewed")
    told = [(f[1], f[7]) for _, f in await raw(store, queue, "XRANGE", "events", "-", "+")]
    assert told == [(b"paused", b"revoked"), (b"paused", b"revoked"), (b"resumed", b"renewed")]


@pytest.mark.parametrize("act", ["pause", "gate"])
async def test_what_closes_a_queue_for_a_while_counts_from_the_instant_of_the_call_and_not_from_its_millisecond(
    store: RedisStore, queue: str, act: str
) -> None:
    async def now_us() -> int:
        seconds, us = await store.link.call("TIME")
        return int(seconds) * 1_000_000 + int(us)

    for _ in range(20):  # one call may happen at a whole millisecond
        before_us = await now_us()
        await (store.pause(queue, "lunch", HOUR) if act == "pause" else store.gate(queue, HOUR))
        after_us = await now_us()
        row = await raw(store, queue, "HGET", "meta", "paused" if act == "pause" else act)
        end_us = 1000 * int(row.partition(b";")[0])
        assert before_us + 1000 * HOUR <= end_us < after_us + 1000 * (HOUR + 1)
        await store.resume(queue)
