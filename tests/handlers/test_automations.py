"""Reminders and follow-ups: they say what is true when they fire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from engine import events
from handlers.automations import Fired, follow_up, send_reminder
from handlers.bookings import Booking, Status
from handlers.payloads import FollowUp, Reminder
from tests.handlers.conftest import ANA, ORGANIZATION, App
from tests.support.running import running, until


async def booked(app: App, *, hours: float, status: Status = "pending") -> Booking:
    """A booking that begins in so many hours."""
    booking = Booking(
        booking_id="b1",
        organization_id=ORGANIZATION,
        recipient_number=ANA,
        customer_name="Ana",
        starts_at=datetime.now(UTC) + timedelta(hours=hours),
        status=status,
    )
    await app.bookings.put(booking)
    return booking


def reminder(type: str = "appointment-reminder", number: str = ANA) -> Reminder:
    return Reminder(booking_id="b1", organization_id=ORGANIZATION, recipient_number=number, type=type)


def asked(type: str = "appointment-follow-up") -> FollowUp:
    return FollowUp(booking_id="b1", organization_id=ORGANIZATION, recipient_number=ANA, type=type)


async def test_a_reminder_fires_after_its_delay_with_name_and_local_time(app: App) -> None:
    booking = await booked(app, hours=20)
    moved = booking.starts_at.astimezone(timezone(timedelta(hours=-3)))
    await app.bookings.put(msgspec.structs.replace(booking, starts_at=moved))
    async with running(app.engine):
        handle = await send_reminder.enqueue(reminder(), delay=0.2)
        fired = await handle.result(timeout=10)
    [line] = app.lines()
    assert fired == Fired(message_id=line.message_id)
    assert line.template == "appointment_reminder"
    assert line.parameters == ("Ana", f"{moved:%d/%m} às {moved:%H:%M}")
    assert line.at_ms - int(handle.id.partition("/")[2].partition("-")[0]) >= 200


async def test_a_booking_cancelled_after_the_enqueue_sends_nothing(app: App) -> None:
    await booked(app, hours=20)
    first = await send_reminder.enqueue(reminder(), delay=0.2)
    second = await follow_up.enqueue(asked(), delay=0.2)
    await app.bookings.set_status("b1", "cancelled")
    async with running(app.engine):
        assert await first.result(timeout=10) == Fired(skipped="the booking is cancelled")
        assert await second.result(timeout=10) == Fired(skipped="the booking is cancelled")
    assert app.lines() == []


async def test_a_booking_that_is_gone_or_has_begun_sends_nothing(app: App) -> None:
    async with running(app.engine):
        gone = await send_reminder.enqueue(reminder())
        assert (await gone.result(timeout=10)).skipped
        await booked(app, hours=-0.1)
        late = await send_reminder.enqueue(reminder())
        assert await late.result(timeout=10) == Fired(skipped="the booking has begun")
    assert app.lines() == []


async def test_a_booking_moved_to_a_later_day_is_waited_for_without_using_an_attempt(app: App) -> None:
    await booked(app, hours=20 + 48)
    async with running(app.engine):
        handle = await send_reminder.enqueue(reminder())
        snoozed = await app.recorder.next(events.JobSnoozed, id=handle.id)
        assert abs(snoozed.delay_ms - 44 * 3_600_000) < 60_000
        await booked(app, hours=20)  # moved back
        await until(lambda: app.engine.client.job(handle.id), lambda job: job.state.value == "scheduled")
        await app.engine.client.promote(handle.id)
        assert (await handle.result(timeout=10)).message_id
    assert (await app.engine.client.job(handle.id)).attempt == 1


async def test_two_jobs_for_one_notice_send_one_message_and_a_moved_booking_is_worth_another(app: App) -> None:
    await booked(app, hours=20)
    async with running(app.engine):
        results = [await (await send_reminder.enqueue(reminder())).result(timeout=10) for _ in range(2)]
        assert results[1] == Fired(skipped="another job sent this notice")
        await booked(app, hours=21)
        moved = await (await send_reminder.enqueue(reminder())).result(timeout=10)
    assert moved.message_id
    assert len(app.lines()) == 2


async def test_a_follow_up_is_asked_after_the_booking_not_before(app: App) -> None:
    await booked(app, hours=5)
    async with running(app.engine):
        handle = await follow_up.enqueue(asked())
        snoozed = await app.recorder.next(events.JobSnoozed, id=handle.id)
        assert abs(snoozed.delay_ms - 6 * 3_600_000) < 60_000
        await booked(app, hours=-2)
        await until(lambda: app.engine.client.job(handle.id), lambda job: job.state.value == "scheduled")
        await app.engine.client.promote(handle.id)
        assert (await handle.result(timeout=10)).message_id
    assert [line.template for line in app.lines()] == ["appointment_follow_up"]


async def test_who_has_opted_out_is_not_reminded(app: App) -> None:
    await booked(app, hours=20)
    await app.opt_outs.opt_out(ORGANIZATION, ANA)
    async with running(app.engine):
        fired = await (await send_reminder.enqueue(reminder(number="(11) 90000-0001"))).result(timeout=10)
    assert fired == Fired(skipped="the recipient has opted out")
    assert app.lines() == []


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (reminder(type="birthday"), "reminder type 'birthday' is not known (known: appointment-reminder, appointment-soon)"),
        (reminder(number="not a number"), "recipientNumber can't be used"),
    ],
)
async def test_what_can_never_be_sent_is_dead_at_once_with_one_sentence(app: App, payload: Reminder, sentence: str) -> None:
    await booked(app, hours=20)
    async with running(app.engine):
        handle = await send_reminder.enqueue(payload)
        await app.settled("automations", dead=1)
    job = await app.engine.client.job(handle.id)
    assert job.attempt == 1
    assert job.error is not None
    assert sentence in job.error.message
