"""Sample traffic: the play is repeatable, has its whole cast, and the application plays along."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from engine import StoreUnreachable
from engine.enqueuing import Enqueuing
from handlers.sample import PEOPLE, Item, sample_traffic, script
from handlers.whatsapp.local import FAILS_TWICE, NEVER_ACCEPTED
from tests.handlers.conftest import App
from tests.support.running import running, until


def play(seed: int, count: int = 200, run: str = "r", now_ms: int = 1_790_000_000_000) -> list[Item]:
    return list(itertools.islice(script(seed, run=run, now_ms=lambda: now_ms), count))


def test_one_seed_is_one_play() -> None:
    assert play(1) == play(1)
    assert play(1) != play(2)


def test_the_whole_cast_appears() -> None:
    items = play(7)
    names = Counter(item.name for item in items)
    assert set(names) == {"process-message", "send-reminder", "follow-up", "send-campaign"}
    assert names["process-message"] > 100
    messages = [item.payload for item in items if item.name == "process-message"]
    repeated = [id for id, count in Counter(message.message_id for message in messages).items() if count == 2]
    assert len(repeated) > 5
    assert {FAILS_TWICE, NEVER_ACCEPTED} <= {message.sender_number for message in messages}
    bookings = [item.booking for item in items if item.booking]
    assert {booking.status for booking in bookings} == {"pending", "confirmed", "cancelled"}
    assert max(Counter(message.conversation_id for message in messages).values()) > 3


def test_every_number_is_made_up_and_ids_are_new_in_every_run() -> None:
    assert all(number.startswith("+55119000") for number in (*PEOPLE, FAILS_TWICE, NEVER_ACCEPTED))
    first, second = ({item.payload.message_id for item in play(7, run=run) if item.queue == "messages"} for run in "ab")
    assert not first & second


@pytest.mark.parametrize("hour", range(24))
def test_bookings_fit_their_notice_at_any_hour_of_the_day(hour: int) -> None:
    now_ms = 1_790_000_000_000 + hour * 3_600_000
    for item in play(7, 300, now_ms=now_ms):
        if item.booking:
            hours = (item.booking.starts_at_ms - now_ms) / 3_600_000
            assert hours <= -1 if item.name == "follow-up" else 0 < hours <= 24.2


async def test_the_application_plays_along_until_it_is_stopped(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    client = app.engine.client
    async with running(app.engine):
        playing = asyncio.create_task(sample_traffic(app.engine, stop, rate=400.0))
        await until(lambda: client.counts("messages"), lambda c: c.dead >= 1 and c.completed > 30)
        await until(lambda: client.counts("campaigns"), lambda c: c.completed >= 9)
        await until(lambda: client.counts("automations"), lambda c: c.enqueued >= 1)
        stop.set()
        assert await playing > 40
        await until(lambda: client.counts("messages"), lambda c: c.waiting + c.active == 0)
    assert "900000" not in "".join(capfd.readouterr())


async def test_a_rate_of_nothing_is_refused(app: App) -> None:
    with pytest.raises(ValueError, match="rate=0: jobs a second, more than 0"):
        await sample_traffic(app.engine, asyncio.Event(), rate=0)


async def test_an_outage_is_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.sample.AGAIN", 0.01)
    enqueue, calls = Enqueuing.enqueue, 0

    async def flaky(self: Enqueuing, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise StoreUnreachable("away")
        return await enqueue(self, *args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Enqueuing, "enqueue", flaky)
    stop = asyncio.Event()
    playing = asyncio.create_task(sample_traffic(app.engine, stop, rate=1000.0, seed=3))
    await until(lambda: app.engine.client.counts("messages"), lambda c: c.enqueued >= 3)
    stop.set()
    done = await playing
    assert calls == done + 2
