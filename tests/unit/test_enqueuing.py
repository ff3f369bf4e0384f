"""Enqueuing: from a call to entries, checked before anything is sent, and from answers to handles."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from engine import (
    BadInput,
    BadName,
    BadPayload,
    BadTime,
    Clock,
    EnqueueUnknown,
    PayloadTooLarge,
    QueueFull,
    StoreRefused,
)
from engine.declared import Limit, QueueSpec
from engine.enqueuing import Enqueuing
from engine.events import Events, JobEnqueued, JobsDropped
from engine.job import Body, unpack_body
from engine.options import NOTHING_SAID, EnqueueOptions
from engine.producer import Producer
from engine.results import Results
from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, handler, lone_store, spec, states
from tests.support.faults import Proxy, calls
from tests.support.recorder import Recorder


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    conversation_id: str
    message_id: str = "m"


async def typed(message: Message) -> int:
    return 1


class Bench:
    """Enqueuing on a real store, for one declared queue."""

    def __init__(self, store: RedisStore, declared: QueueSpec, timeout: float = 5.0) -> None:
        self.store, self.queue = store, declared.name
        self.events = Events(Clock())
        self.recorder = Recorder(self.events)
        self.producer = Producer(store, name="p", clock=Clock(), timeout=timeout)
        self.enqueuing = Enqueuing(
            self.producer,
            Results(store, Clock()),
            {declared.name: declared},
            clock=Clock(),
            events=self.events,
            max_payload=1000,
        )

    async def add(self, payload: Any, *, name: str = "greet", queue: str = "", **options: Any) -> str:
        handle = await self.enqueuing.enqueue(queue or self.queue, name, payload, EnqueueOptions(**options))
        return handle.id.partition("/")[2]

    async def add_many(self, payloads: Iterable[Any]) -> list[str]:
        handles = await self.enqueuing.enqueue_many(self.queue, "greet", payloads, EnqueueOptions())
        return [handle.id.partition("/")[2] for handle in handles]

    async def claim(self, n: int = 9) -> list[Claim]:
        return await Hand(self.store, self.queue).claim(n)


@pytest.fixture
async def bench(store: RedisStore, queue: str) -> AsyncIterator[Bench]:
    declared = spec(
        queue, handler(typed, ordering_key="conversation_id", dedup_key="message_id", priority=2), priority=7, max_payload=500
    )
    made = Bench(store, declared)
    yield made
    await made.producer.close()


async def test_what_is_declared_counts_unless_the_call_says_otherwise(bench: Bench) -> None:
    first = await bench.add(Message(conversation_id="c1", message_id="m1"))
    second = await bench.add(Message(conversation_id="c1", message_id="m2"), ordering_key="other", priority=1)
    claims = {c.id: c for c in await bench.claim()}
    assert (claims[first].envelope.key, claims[first].tag) == ("c1", "2")
    assert (claims[second].envelope.key, claims[second].tag) == ("other", "1")
    assert unpack_body(claims[first].envelope.body) == Body("greet", claims[first].body.payload)


@pytest.mark.parametrize("name", ["greet", "other"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_who_says_nothing_gets_the_job_of_who_says_the_defaults(bench: Bench, name: str, is_declared: bool) -> None:
    """Such calls take a shorter way; their jobs are the same to the byte."""
    queue = bench.queue if is_declared else "elsewhere"
    known = bench.enqueuing._known(queue, name)
    message = Message(conversation_id="c1", message_id="m1")
    said, unsaid = [bench.enqueuing._entry(known[0], queue, known[1], name, message, o) for o in (EnqueueOptions(), NOTHING_SAID)]
    assert said == unsaid


async def test_a_handle_has_the_full_id_and_a_duplicates_has_the_firsts(bench: Bench) -> None:
    message = Message(conversation_id="c1", message_id="m1")
    first = await bench.enqueuing.enqueue(bench.queue, "greet", message, EnqueueOptions())
    again = await bench.enqueuing.enqueue(bench.queue, "greet", message, EnqueueOptions())
    other = await bench.enqueuing.enqueue(bench.queue, "greet", message, EnqueueOptions(dedup_key="mine"))
    assert first.id.startswith(f"{bench.queue}/")
    assert (again.id, first.duplicate, again.duplicate) == (first.id, False, True)
    assert other.id != first.id
    assert repr(again) == f"<Handle {first.id} duplicate>"
    assert len(bench.recorder.all(JobEnqueued)) == 2


async def test_options_travel_with_the_job(bench: Bench) -> None:
    await bench.add({"conversationId": "c1"}, attempts=7, timeout=2.5, expires_after=60)
    (claim,) = await bench.claim()
    body = claim.body
    assert (body.attempts, body.timeout, body.expires_after_ms) == (7, 2.5, 60_000)


@pytest.mark.parametrize(("seconds", "kept_ms"), [(1.001, 1001), (0.0001, 1)])
async def test_the_time_to_expire_is_kept_to_the_millisecond_and_never_none(bench: Bench, seconds: float, kept_ms: int) -> None:
    await bench.add({"conversationId": "c1"}, expires_after=seconds)
    (claim,) = await bench.claim()
    assert claim.body.expires_after_ms == kept_ms


async def test_a_delay_and_an_instant_are_kept_to_the_millisecond_and_never_early(bench: Bench) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    ids = [await bench.add({"conversationId": "a"}, delay=0.0004, dedup_key="1")]
    ids += [await bench.add({"conversationId": "b"}, delay=3600.25, dedup_key="2")]
    ids += [await bench.add({"conversationId": "c"}, at=later, dedup_key="3")]
    assert await states(bench.store, bench.queue, ids) == ["scheduled"] * 3
    rows = await bench.store.link.call("ZRANGE", f"engine:{{{bench.queue}}}:scheduled", 0, -1, "WITHSCORES")
    due = {job_id.decode(): int(score) for job_id, score in rows}
    assert due[ids[2]] == math.ceil(later.timestamp() * 1000)
    # an id is of the millisecond that had begun; a delay counts from the instant itself
    assert [due[i] - int(i.partition("-")[0]) for i in ids[:2]] in (
        [2, 3_600_251],
        [2, 3_600_250],
        [1, 3_600_251],
        [1, 3_600_250],
    )
    assert [told.delay_ms for told in bench.recorder.all(JobEnqueued)[:2]] == [1, 3_600_250]


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ({"conversationId": 5}, BadPayload, "conversationId"),
        ({}, BadPayload, "conversationId"),
        ({"conversationId": object()}, BadPayload, "can't be encoded"),
        ({"conversationId": "x" * 500}, PayloadTooLarge, "at most 500 are allowed"),
    ],
)
async def test_a_bad_payload_is_refused_before_anything_is_sent(
    bench: Bench, payload: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await bench.add(payload)
    assert (await bench.store.counts(bench.queue)).enqueued == 0


async def test_an_empty_key_in_the_payload_is_none(bench: Bench) -> None:
    ids = [await bench.add({"conversationId": "", "messageId": ""}) for _ in range(2)]
    assert await states(bench.store, bench.queue, ids) == ["waiting", "waiting"]


async def test_names_times_and_keys_are_refused_before_anything_is_sent(bench: Bench) -> None:
    for wrong in ({"queue": "no good"}, {"name": "no good"}):
        with pytest.raises(BadName):
            await bench.add({"conversationId": "c"}, **wrong)
    with pytest.raises(BadTime, match="past"):
        await bench.add({"conversationId": "c"}, at=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(BadName, match="ordering key"):
        await Bench(bench.store, spec(bench.queue, handler(typed, ordering_key="conversation_id"))).add(
            {"conversationId": "k" * 513}
        )
    assert (await bench.store.counts(bench.queue)).enqueued == 0


async def test_a_queue_or_name_nobody_declared_here_takes_anything_within_the_common_limit(bench: Bench) -> None:
    await bench.add({"any": [1, None, "x"]}, name="elsewhere")
    with pytest.raises(PayloadTooLarge, match="at most 1,000"):
        await bench.add("x" * 1001, queue=f"{bench.queue}-unknown")
    (claim,) = await bench.claim()
    assert (claim.name, claim.tag) == ("elsewhere", "7")


async def test_many_are_sent_in_calls_of_a_hundred_in_their_order(bench: Bench) -> None:
    progress: list[int] = []
    payloads = [{"conversationId": f"c{n}", "messageId": f"m{n % 240}"} for n in range(250)]
    handles = await bench.enqueuing.enqueue_many(bench.queue, "greet", payloads, EnqueueOptions(), progress.append)
    assert progress == [100, 200, 250]
    assert [h.duplicate for h in handles] == [False] * 240 + [True] * 10
    assert [h.id for h in handles[240:]] == [h.id for h in handles[:10]]
    assert (await bench.store.counts(bench.queue)).enqueued == 240


async def test_many_may_come_from_an_asynchronous_source(bench: Bench) -> None:
    async def source() -> AsyncIterator[dict[str, str]]:
        for n in range(3):
            yield {"conversationId": f"c{n}", "messageId": f"m{n}"}

    assert len(await bench.enqueuing.enqueue_many(bench.queue, "greet", source(), EnqueueOptions())) == 3
    assert await bench.enqueuing.enqueue_many(bench.queue, "greet", [], EnqueueOptions()) == []


async def test_a_bad_one_among_many_stops_before_its_chunk_and_says_how_many_are_in(bench: Bench) -> None:
    payloads: list[Any] = [{"conversationId": f"c{n}", "messageId": f"m{n}"} for n in range(150)]
    payloads[120] = {"conversationId": 5}
    with pytest.raises(BadPayload) as caught:
        await bench.enqueuing.enqueue_many(bench.queue, "greet", payloads, EnqueueOptions())
    assert caught.value.done == 100  # type: ignore[attr-defined]  # a field that only this error carries
    assert (await bench.store.counts(bench.queue)).enqueued == 100


async def test_the_next_chunk_is_packed_while_the_last_one_is_under_way(bench: Bench) -> None:
    seen: list[str] = []

    def source() -> Iterator[dict[str, str]]:
        for n in range(250):
            if n % 100 == 0:
                seen.append(f"asked for {n}")
            yield {"conversationId": f"c{n}", "messageId": f"m{n}"}

    await bench.enqueuing.enqueue_many(bench.queue, "greet", source(), EnqueueOptions(), lambda n: seen.append(f"{n} are in"))
    assert seen == ["asked for 0", "asked for 100", "100 are in", "asked for 200", "200 are in", "250 are in"]


async def test_what_was_sent_before_its_source_raised_is_in(bench: Bench) -> None:
    def source() -> Iterator[dict[str, str]]:
        for n in range(100):
            yield {"conversationId": f"c{n}", "messageId": f"m{n}"}
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        await bench.enqueuing.enqueue_many(bench.queue, "greet", source(), EnqueueOptions())
    assert (await bench.store.counts(bench.queue)).enqueued == 100


async def test_a_bulk_enqueue_that_is_cancelled_leaves_nothing_running(bench: Bench) -> None:
    under_way = asyncio.Event()

    async def source() -> AsyncIterator[dict[str, str]]:
        for n in range(101):
            if n == 100:
                under_way.set()
                await asyncio.Event().wait()
            yield {"conversationId": f"c{n}", "messageId": f"m{n}"}

    before = asyncio.all_tasks()
    call = asyncio.ensure_future(bench.enqueuing.enqueue_many(bench.queue, "greet", source(), EnqueueOptions()))
    await under_way.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("one", ["text", b"bytes", {"conversationId": "c"}, Message(conversation_id="c"), 5, None])
async def test_one_payload_is_not_taken_for_many(bench: Bench, one: Any) -> None:
    with pytest.raises(BadPayload, match="takes many payloads, not one"):
        await bench.enqueuing.enqueue_many(bench.queue, "greet", one, EnqueueOptions())


async def test_progress_that_cannot_be_told_is_refused_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(BadInput, match="on_progress=5 can't be called"):
        await bench.enqueuing.enqueue_many(bench.queue, "greet", [{"conversationId": "c"}], EnqueueOptions(), 5)  # type: ignore[arg-type]  # a mistake
    assert (await bench.store.counts(bench.queue)).enqueued == 0


# --- full ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def small(store: RedisStore, queue: str) -> AsyncIterator[Bench]:
    """Three jobs may wait."""
    made = Bench(store, spec(queue, handler(typed, dedup_key="message_id"), limit=Limit(3)))
    yield made
    await made.producer.close()


def messages(*ids: str) -> list[Message]:
    return [Message(conversation_id="c", message_id=one) for one in ids]


async def test_a_job_that_a_full_queue_has_no_room_for_is_refused_by_name_and_number(small: Bench) -> None:
    for message in messages("a", "b", "c"):
        await small.add(message)
    with pytest.raises(
        QueueFull, match=rf"^queue '{small.queue}' is full: 3 jobs wait, at most 3 may: this one was refused\. "
    ) as e:
        await small.add(messages("d")[0])
    assert (e.value.queue, e.value.limit, e.value.waiting, e.value.code, e.value.done) == (small.queue, 3, 3, "FULL", 0)
    assert isinstance(e.value, StoreRefused)
    assert await small.add(messages("b")[0])  # a duplicate needs no room


async def test_of_many_each_has_its_own_result_and_no_more_are_sent_once_one_was_refused(small: Bench) -> None:
    await small.add(messages("a")[0])
    taken = 0

    def source() -> Iterator[Message]:
        nonlocal taken
        for message in messages("b", "a", "c", "d", "b", *(str(n) for n in range(500))):
            taken += 1
            yield message

    with pytest.raises(QueueFull, match="3 jobs wait, at most 3 may: 96 were refused, 4 are in") as caught:
        await small.add_many(source())
    results = caught.value.results
    assert [one and one.duplicate for one in results[:6]] == [False, True, False, None, True, None]
    assert (len(results), caught.value.done) == (100, 4)
    assert taken <= 200  # one call, and the next that was packed meanwhile
    assert (await small.store.counts(small.queue)).kept == 3


async def test_jobs_that_made_room_are_told_once_a_call(store: RedisStore, queue: str) -> None:
    bench = Bench(store, spec(queue, handler(typed), limit=Limit(3, "drop-oldest")))
    ids = [await bench.add(message) for message in messages("a", "b", "c", "d")]
    ids += await bench.add_many(messages("e", "f"))
    assert [(event.queue, event.count) for event in bench.recorder.all(JobsDropped)] == [(queue, 1), (queue, 2)]
    assert await states(store, queue, ids) == ["-"] * 3 + ["waiting"] * 3
    await bench.producer.close()


@pytest.mark.parametrize("many", [False, True])
async def test_asking_again_for_a_lost_answer_gives_what_the_enqueue_would_have(server_url: str, queue: str, many: bool) -> None:
    async with Proxy(server_url) as proxy, lone_store(proxy.url) as far:
        bench = Bench(far, spec(queue, handler(typed), limit=Limit(2)), timeout=0.5)
        await bench.add(messages("a")[0])
        for waiting in (1, 2):
            cut = proxy.cut(calls("enqueue"), "after", times=10_000)
            with pytest.raises(EnqueueUnknown) as caught:
                await (bench.add_many(messages(str(waiting))) if many else bench.add(messages(str(waiting))[0]))
            cut.times = 0
            if waiting == 1:
                found = [await caught.value.repeat() for _ in range(2)]
                ids = {handle.id for one in found for handle in (one if many else [one])}
                assert len(ids) == 1
            else:
                with pytest.raises(QueueFull):
                    await caught.value.repeat()
        assert (await far.counts(queue)).enqueued == 2
        await bench.producer.close()
