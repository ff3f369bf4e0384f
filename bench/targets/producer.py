"""Producer: the process that sends: `python -m bench.targets.producer PLAN`, the plan as JSON. The server is the environment's.

Send times are fixed before the first message leaves (open loop): a slow server gets no relief, and what waits because the one
before was slow counts as slow. Latency is counted from the planned instant, so lateness of this process counts too.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from engine import Clock, Handle
from engine.fleet import run
from handlers import engine
from handlers.automations import send_reminder
from handlers.bookings import Booking
from handlers.campaigns import send_campaign, send_campaign_message
from handlers.messages import process_message
from handlers.payloads import Campaign, CampaignMessage, InboundMessage, Reminder
from handlers.resources import local_bookings

from .notes import ProducerNotes, Sent, write
from .plans import NUMBER, Plan, at_random, evenly
from .seam import ScriptTimes

ORGANIZATION = "studio-exemplo"
CONVERSATIONS = 500
BOOKINGS = 20
LEAD = 0.2
"""Seconds between the plan and its first instant."""
PACED_LEAD = 1.0
"""The same where every job is enqueued ahead, and more for each job: an enqueue takes some 100 us."""
WARM_UP = 20
CONTENTS = (
    *("Oi, bom dia!", "Quanto custa o corte?", "E até que horas vocês abrem?", "Obrigado!", "Onde fica o salão?"),
    *("Quero agendar para sábado", "Posso falar com um atendente?", "Vocês abrem domingo?", "Confirmo", "Qual o endereço?"),
)

Send = Callable[[], Awaitable[Handle[Any]]]


async def send_openly(plan: Plan, clock: Clock) -> list[Sent]:
    """Messages at their planned instants, whatever becomes of those before."""
    await _put_bookings(clock)
    dice = random.Random(plan.seed)
    people = [dice.randrange(CONVERSATIONS) for _ in range(plan.count)]
    for handle in [await process_message.enqueue(_message(plan.run, -n, n, dice)) for n in range(1, WARM_UP + 1)]:
        await handle.result(timeout=30)
    begin = clock.mono() + LEAD
    instants = at_random(plan.count, plan.seconds, plan.seed)
    sent: list[Sent] = []

    async def one(planned: float, number: int, person: int) -> None:
        began = clock.mono()
        handle = await process_message.enqueue(_message(plan.run, number, person, dice))
        sent.append(Sent(handle.id, planned, began, clock.mono()))

    async with asyncio.TaskGroup() as group:
        for number, (instant, person) in enumerate(zip(instants, people, strict=True)):
            while (wait := begin + instant - clock.mono()) > 0:  # a timer may be early by part of a millisecond
                await clock.sleep(wait)
            group.create_task(one(begin + instant, number, person))
    return sent


async def send_paced(plan: Plan, clock: Clock) -> list[Sent]:
    """Campaign messages, all enqueued ahead, each due at its own instant: the pace is in their due times."""
    lead = PACED_LEAD + plan.count * 0.0005
    begin, begin_at = clock.mono() + lead, datetime.now(UTC) + timedelta(seconds=lead)
    sent: list[Sent] = []

    async def one(number: int, instant: float) -> None:
        began = clock.mono()
        child = _child(plan.run, number)
        handle = await send_campaign_message.enqueue(child, at=begin_at + timedelta(seconds=instant))
        sent.append(Sent(handle.id, begin + instant, began, clock.mono()))

    async with asyncio.TaskGroup() as group:
        for number, instant in enumerate(evenly(plan.count, plan.seconds)):
            group.create_task(one(number, instant))
    late = max(one.acked for one in sent) - begin
    if late > 0:
        raise RuntimeError(f"the last job was enqueued {late:.1f} s after the first was due: give the plan a longer lead")
    return sorted(sent, key=lambda one: one.planned)


async def send_campaign_whole(plan: Plan, clock: Clock) -> list[Sent]:
    """One campaign to so many people, as fast as it goes."""
    began = clock.mono()
    recipients = [NUMBER.format(number) for number in range(plan.count)]
    campaign = Campaign(campaign_id=plan.run, organization_id=ORGANIZATION, recipients=recipients, template="promo_da_semana")
    handle = await send_campaign.enqueue(campaign)
    return [Sent(handle.id, began, began, clock.mono())]


async def send_to_all_queues(plan: Plan, clock: Clock) -> list[Sent]:
    """So many jobs of each of the three queues, at once."""
    await _put_bookings(clock)
    dice = random.Random(plan.seed)
    sent: list[Sent] = []
    for number in range(0, plan.count, 100):
        part = range(number, min(number + 100, plan.count))
        began = clock.mono()
        handles: list[Handle[Any]] = [
            *await process_message.enqueue_many([_message(plan.run, n, 1000 + n, dice) for n in part]),
            *await send_campaign_message.enqueue_many([_child(plan.run, n) for n in part]),
            *await send_reminder.enqueue_many([_reminder(n % BOOKINGS) for n in part]),
        ]
        acked = clock.mono()
        sent += [Sent(handle.id, began, began, acked) for handle in handles]
    return sent


SENDERS = {
    "messages": send_openly,
    "paced": send_paced,
    "campaign": send_campaign_whole,
    "all-queues": send_to_all_queues,
}


def _message(run: str, number: int, person: int, dice: random.Random) -> InboundMessage:
    return InboundMessage(
        conversation_id=f"{run}-{person}",
        message_id=f"wamid.{run}-{number}",
        organization_id=ORGANIZATION,
        sender_number=NUMBER.format(person),
        content=dice.choice(CONTENTS),
    )


def _child(run: str, number: int) -> CampaignMessage:
    return CampaignMessage(
        campaign_id=run, organization_id=ORGANIZATION, recipient_number=NUMBER.format(number), template="promo_da_semana"
    )


def _reminder(number: int) -> Reminder:
    return Reminder(
        booking_id=f"b-{number}",
        organization_id=ORGANIZATION,
        recipient_number=NUMBER.format(number),
        type="appointment-reminder",
    )


async def _put_bookings(clock: Clock) -> None:
    """Some of those who write have an appointment, in an hour."""
    calendar = local_bookings(engine.settings.data_dir)
    starts_at = datetime.fromtimestamp(clock.now_ms() // 1000 + 3600, UTC)
    for number in range(BOOKINGS):
        await calendar.put(
            Booking(
                booking_id=f"b-{number}",
                organization_id=ORGANIZATION,
                recipient_number=NUMBER.format(number),
                customer_name="Ana",
                starts_at=starts_at,
            )
        )


async def main(plan: Plan) -> bool:
    """Send all of it and write the notes."""
    async with engine:
        with ScriptTimes(engine.clock) as scripts:
            sent = await SENDERS[plan.kind](plan, engine.clock)
    write(Path(plan.notes), ProducerNotes(sent, scripts.found))
    return True


if __name__ == "__main__":
    run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
