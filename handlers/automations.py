"""Automations: reminders and follow-ups about bookings. Delayed jobs, so each looks at the booking again when it fires.

Between the enqueue and the moment it fires the booking may have been cancelled (nothing is sent), moved to a later time (the job
waits for it) or to one that is over (nothing is sent). Two jobs for one notice of one booking send one message.
"""

from __future__ import annotations

import msgspec

from engine import Discard, Job, Snooze

from . import automations_queue, engine
from .bookings import Booking, Bookings
from .delivery import TRANSACTIONAL, deliver_template
from .opt_outs import OptOuts
from .payloads import FollowUp, Reminder
from .whatsapp.brazil import BadNumber, canonical
from .whatsapp.provider import Provider

HOUR_MS = 3_600_000
SLACK_MS = 600_000
"""A job that fires up to so much before its moment is on time: people enqueue with round figures."""
LONGEST_SNOOZE = 7 * 86_400.0
"""Seconds. A booking further away is looked at again in between."""


class Notice(msgspec.Struct, frozen=True):
    """A kind of message about a booking: its template, and from when on it makes sense, counted from the booking's start."""

    template: str
    earliest_ms: int


REMINDERS = {
    "appointment-reminder": Notice("appointment_reminder", -24 * HOUR_MS),
    "appointment-soon": Notice("appointment_soon", -2 * HOUR_MS),
}
FOLLOW_UPS = {
    "appointment-follow-up": Notice("appointment_follow_up", HOUR_MS),
    "appointment-review": Notice("appointment_review", 24 * HOUR_MS),
}


class Fired(msgspec.Struct, frozen=True, rename="camel"):
    """What a reminder or follow-up came to; `skipped` says why nothing was sent."""

    message_id: str | None = None
    skipped: str | None = None


@automations_queue.handler("send-reminder", policy=TRANSACTIONAL)
async def send_reminder(reminder: Reminder, job: Job, provider: Provider, opt_outs: OptOuts, bookings: Bookings) -> Fired:
    """Remind somebody of a booking that is still to come."""
    notice = _known(REMINDERS, reminder.type, "reminder")
    booking = await _current(reminder, notice, bookings)
    if booking is not None and booking.starts_at_ms <= engine.clock.now_ms():
        return Fired(skipped="the booking has begun")
    return await _send(reminder, notice, booking, job, provider, opt_outs, bookings)


@automations_queue.handler("follow-up", policy=TRANSACTIONAL)
async def follow_up(asked: FollowUp, job: Job, provider: Provider, opt_outs: OptOuts, bookings: Bookings) -> Fired:
    """Ask somebody how it was, after their booking."""
    notice = _known(FOLLOW_UPS, asked.type, "follow-up")
    booking = await _current(asked, notice, bookings)
    return await _send(asked, notice, booking, job, provider, opt_outs, bookings)


async def _current(about: Reminder | FollowUp, notice: Notice, bookings: Bookings) -> Booking | None:
    """The booking as it is now, None when it is gone or cancelled. Raises Snooze when it is too early for the notice."""
    booking = await bookings.get(about.booking_id)
    if booking is None or booking.status == "cancelled":
        return None
    early_ms = booking.starts_at_ms + notice.earliest_ms - engine.clock.now_ms()
    if early_ms > SLACK_MS:
        raise Snooze(after=min(early_ms / 1000, LONGEST_SNOOZE), reason="the booking was moved to a later time")
    return booking


async def _send(
    about: Reminder | FollowUp,
    notice: Notice,
    booking: Booking | None,
    job: Job,
    provider: Provider,
    opt_outs: OptOuts,
    bookings: Bookings,
) -> Fired:
    if booking is None:
        return Fired(skipped="the booking is cancelled")
    try:
        number = canonical(about.recipient_number)
    except BadNumber as error:
        raise Discard(f"recipientNumber can't be used: {error}") from error
    if await opt_outs.has_opted_out(about.organization_id, number):
        return Fired(skipped="the recipient has opted out")
    name = f"{about.type}@{booking.starts_at.isoformat()}"  # a booking that was moved is worth another reminder
    if not await bookings.claim_notice(booking.booking_id, name, job.id):
        return Fired(skipped="another job sent this notice")
    parameters = (booking.customer_name, booking.when)
    sent = await deliver_template(job, "send", provider, number, notice.template, about.organization_id, parameters)
    return Fired(message_id=sent.message_id)


def _known(notices: dict[str, Notice], kind: str, what: str) -> Notice:
    found = notices.get(kind)
    if found is None:
        raise Discard(
            f"{what} type {kind!r} is not known (known: {', '.join(sorted(notices))}): correct it and enqueue a new job"
        )
    return found
