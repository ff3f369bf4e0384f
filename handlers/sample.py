"""Sample traffic: what a small business's WhatsApp looks like, for `engine dev` and demonstrations. Nobody is reached.

`script` writes the play, pure and repeatable by its seed; `sample_traffic` performs it. In it: conversations of several messages,
messages delivered twice, a booking with its reminder, a cancelled one, small campaigns, a job that fails twice and then
succeeds, and one that ends dead. All numbers are made up (+55 11 90000-....).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from engine import Engine, Queue, StoreError

from .bookings import Booking
from .payloads import Campaign, FollowUp, InboundMessage, Reminder
from .resources import local_bookings
from .whatsapp.local import FAILS_TWICE, NEVER_ACCEPTED

ORGANIZATION = "studio-exemplo"
PEOPLE = tuple(f"+55119000000{number:02}" for number in range(1, 41))
SAO_PAULO = timezone(timedelta(hours=-3))
"""Brazil has had no summer time since 2019."""
AGAIN = 1.0
"""Seconds before the same item is tried again while the server is away."""

_TALKS = (
    ("Oi, bom dia!", "Quanto custa o corte?", "E até que horas vocês abrem?", "Obrigado!"),
    ("Boa tarde", "Onde fica o salão?", "Quero agendar para sábado"),
    ("Olá", "Posso falar com um atendente?", "É sobre a minha reserva"),
    ("Qual o horário de vocês?", "Vocês abrem domingo?", "Valeu"),
    ("Oi", "Quero sair da lista", "Oi de novo", "VOLTAR"),
)
_NAMES = ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fábio", "Gabi", "Hugo")


class Item(msgspec.Struct, frozen=True):
    """One thing that happens: a job to enqueue, after `booking` was written into the calendar."""

    queue: str
    name: str
    payload: Any
    delay: float = 0.0
    booking: Booking | None = None


async def sample_traffic(engine: Engine, stop: asyncio.Event, rate: float = 5.0, *, seed: int = 7) -> int:
    """Enqueue about `rate` jobs a second until `stop` is set; returns how many. The engine must be open.

    An outage of the server is waited for. `seed` chooses the play; ids are new in every run, so a second run is not a duplicate
    of the first.

    Raises:
        ValueError: a rate of 0 or less.
    """
    if rate <= 0:
        raise ValueError(f"rate={rate:g}: jobs a second, more than 0")
    calendar = local_bookings(engine.settings.data_dir)
    queues = {name: Queue(engine, engine.spec(name)) for name in ("messages", "campaigns", "automations")}
    done = 0
    for item in script(seed, run=f"{engine.clock.now_ms():x}", now_ms=engine.clock.now_ms):
        if item.booking is not None:
            await calendar.put(item.booking)
        pause = 0.0
        while not await _told(stop, pause):
            try:
                await queues[item.queue].enqueue(item.name, item.payload, delay=item.delay)
            except StoreError:
                pause = AGAIN  # it may have happened: dedup keys and the calendar's notices make repeating harmless
                continue
            done += 1
            break
        if await _told(stop, 1 / rate):
            break
    return done


async def _told(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long for `stop`; True when it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
    return stop.is_set()


def script(seed: int, *, run: str, now_ms: Callable[[], int]) -> Iterator[Item]:
    """The play, without end: equal arguments, equal items. `run` goes into every id; bookings are set around `now_ms()`."""
    dice = random.Random(seed)
    open_talks: list[tuple[int, list[str]]] = []
    redelivered: list[Item] = []
    number = 0
    while True:
        number += 1
        if number % 60 == 6:
            yield _message(run, number, FAILS_TWICE, "Oi, qual o preço?")
        elif number % 60 == 12:
            yield _message(run, number, NEVER_ACCEPTED, "Oi, tudo bem?")
        elif number % 15 == 4:
            yield from _booked(dice, run, number, now_ms())
        elif number % 45 == 20:
            yield _campaign(dice, run, number)
        elif redelivered and dice.random() < 0.3:
            yield redelivered.pop(0)
        else:
            if len(open_talks) < 6:
                person = dice.choice([p for p in range(len(PEOPLE)) if p not in {p for p, _ in open_talks}])
                open_talks.append((person, list(dice.choice(_TALKS))))
            person, lines = dice.choice(open_talks)
            item = _message(run, number, PEOPLE[person], lines.pop(0))
            open_talks = [talk for talk in open_talks if talk[1]]
            if dice.random() < 0.2:
                redelivered.append(item)
            yield item


def _message(run: str, number: int, sender: str, content: str) -> Item:
    message = InboundMessage(
        conversation_id=f"sample-{sender[-4:]}",
        message_id=f"wamid.sample-{run}-{number}",
        organization_id=ORGANIZATION,
        sender_number=sender,
        content=content,
    )
    return Item("messages", "process-message", message)


def _booked(dice: random.Random, run: str, number: int, now_ms: int) -> Iterator[Item]:
    """A booking with a reminder that fires within seconds. Every other one is over and asked about, every third was cancelled."""
    person = dice.choice(PEOPLE)
    turn = number // 15
    is_over = turn % 2 == 1
    now = datetime.fromtimestamp(now_ms / 1000, SAO_PAULO)
    starts_at = now.replace(hour=dice.randint(9, 18), minute=0, second=0, microsecond=0)
    if is_over:
        starts_at -= timedelta(days=1)  # so it has been over for an hour at least
    elif starts_at <= now + timedelta(minutes=5):
        starts_at += timedelta(days=1)  # within the day for which a reminder makes sense
    booking = Booking(
        booking_id=f"sample-{run}-{number}",
        organization_id=ORGANIZATION,
        recipient_number=person,
        customer_name=dice.choice(_NAMES),
        starts_at=starts_at,
        status="cancelled" if turn % 3 == 2 else "confirmed" if is_over else "pending",
    )
    kind = FollowUp if is_over else Reminder
    about = kind(
        booking_id=booking.booking_id,
        organization_id=ORGANIZATION,
        recipient_number=person,
        type="appointment-follow-up" if is_over else "appointment-reminder",
    )
    yield Item(
        "automations", "follow-up" if is_over else "send-reminder", about, delay=round(dice.uniform(2, 8), 1), booking=booking
    )


def _campaign(dice: random.Random, run: str, number: int) -> Item:
    people = dice.sample(PEOPLE, 8)
    odd = (people[0].replace("+55", ""), "sem número")  # as exported lists are: one person twice, and a hole
    campaign = Campaign(
        campaign_id=f"sample-{run}-{number}",
        organization_id=ORGANIZATION,
        recipients=[*people, *odd],
        template="promo_da_semana",
    )
    return Item("campaigns", "send-campaign", campaign)
