"""Messages: answers what customers write. One conversation at a time, in order; a message delivered twice is answered once."""

from __future__ import annotations

import msgspec

from engine import Job

from . import engine, messages_queue
from .bookings import Booking, Bookings
from .delivery import TRANSACTIONAL, deliver_text
from .opt_outs import OptOuts
from .payloads import InboundMessage
from .responder import Answer, Responder
from .whatsapp.brazil import BadNumber, address
from .whatsapp.provider import OutcomeUnknown, Provider, Rejected, Temporary, Throttled

DAY = 86_400.0


class Answered(msgspec.Struct, frozen=True, rename="camel"):
    """How a message was answered: the answer's kind, and its message's id when one was sent."""

    kind: str
    message_id: str | None = None


@messages_queue.handler(
    "process-message", ordering_key="conversation_id", dedup_key="message_id", dedup_window=DAY, policy=TRANSACTIONAL
)
async def process_message(
    message: InboundMessage, job: Job, provider: Provider, responder: Responder, opt_outs: OptOuts, bookings: Bookings
) -> Answered:
    """Mark the message read, decide on an answer, do what it promises, send it."""
    await _mark_read(message, job, provider)
    if message.sender_number is None:
        job.log("the sender's number was withheld: no answer can be sent")
        return Answered("unreachable")
    try:
        sender = address(message.sender_number)
    except BadNumber as error:
        job.log(f"no answer can be sent: {error}")
        return Answered("unreachable")
    booking = await bookings.next_of(message.organization_id, sender, engine.clock.now_ms())
    # a step of its own, and before it is acted on: a second attempt must not decide anew on what the first one changed
    answer: Answer | None = await job.step("answer", _decide, responder, message.content, booking)
    if answer is None:
        return Answered("none")
    await _act(answer, message.organization_id, sender, opt_outs, bookings)
    sent = await deliver_text(job, "reply", provider, sender, answer.text, message.organization_id)
    return Answered(answer.kind, sent.message_id)


async def _mark_read(message: InboundMessage, job: Job, provider: Provider) -> None:
    try:
        await provider.mark_read(message.message_id, organization_id=message.organization_id)
    except (Temporary, Throttled, Rejected, OutcomeUnknown) as error:
        job.log(f"not marked read: {error}")  # a courtesy; the answer matters more


async def _decide(responder: Responder, content: str, booking: Booking | None) -> Answer | None:
    return await responder.answer(content, booking)


async def _act(answer: Answer, organization_id: str, sender: str, opt_outs: OptOuts, bookings: Bookings) -> None:
    """Make the answer true. Every branch may be repeated."""
    match answer.act:
        case "opt-out":
            await opt_outs.opt_out(organization_id, sender)
        case "opt-in":
            await opt_outs.opt_in(organization_id, sender)
        case "confirm-booking" if answer.booking_id:
            await bookings.set_status(answer.booking_id, "confirmed")
        case "cancel-booking" if answer.booking_id:
            await bookings.set_status(answer.booking_id, "cancelled")
