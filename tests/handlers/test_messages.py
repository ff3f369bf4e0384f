"""process-message: one answer a message, in order, whatever the provider does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import Handle, events
from handlers.bookings import Booking
from handlers.messages import Answered, process_message
from handlers.whatsapp.local import NEVER_ACCEPTED, Fault, Rule
from tests.handlers.conftest import ANA, BRUNO, ORGANIZATION, App, message
from tests.support.running import running, until


async def test_a_message_is_marked_read_and_answered(app: App) -> None:
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi, quanto custa?", id="wamid.1"))
        answered = await handle.result(timeout=10)
    [line] = app.lines()
    assert answered == Answered("prices", line.message_id)
    assert (line.to, line.key) == (ANA, f"{handle.id}:reply")
    assert [read.message_id for read in app.lines("read")] == ["wamid.1"]


async def test_a_message_delivered_twice_is_answered_once(app: App) -> None:
    first = await process_message.enqueue(message("Oi", id="wamid.same"))
    async with running(app.engine):
        second = await process_message.enqueue(message("Oi", id="wamid.same"))
        await app.settled("messages", completed=1)
        third = await process_message.enqueue(message("Oi", id="wamid.same"))  # redelivered after it was answered
    assert (second.id, second.duplicate, third.id, third.duplicate) == (first.id, True, first.id, True)
    assert len(app.lines()) == 1


async def test_conversations_keep_their_order_under_five_slots(app: App) -> None:
    await app.provider.misbehave(Rule(fault="slow", seconds=0.03))
    handles: dict[str, list[Handle[Any]]] = {}
    for turn in range(8):
        for conversation in ("a", "b", "c", "d"):
            handle = await process_message.enqueue(message(f"Oi {turn}", conversation=conversation, id=f"{conversation}-{turn}"))
            handles.setdefault(conversation, []).append(handle)
    async with running(app.engine):
        await app.settled("messages", completed=32)
    for conversation, mine in handles.items():
        # each read only after the one before it was answered
        story = [key for turn, handle in enumerate(mine) for key in (f"read:{conversation}-{turn}", f"{handle.id}:reply")]
        assert [line.key for line in app.lines("read", "sent") if line.key in story] == story


async def test_five_run_at_once(app: App) -> None:
    await app.provider.misbehave(Rule(fault="slow", seconds=0.2))
    for person in range(10):
        await process_message.enqueue(message("Oi", conversation=f"with-{person}"))
    async with running(app.engine):
        counts = await until(lambda: app.engine.client.counts("messages"), lambda c: c.completed < 10 and c.active >= 5)
        await app.settled("messages", completed=10)
    assert counts.active == 5


async def test_opting_out_and_in_again_by_message(app: App) -> None:
    async with running(app.engine):
        out = await process_message.enqueue(
            message("SAIR", sender="551190000001")
        )  # as WhatsApp reports it, without the ninth digit
        await out.result(timeout=10)
        assert await app.opt_outs.has_opted_out(ORGANIZATION, "+5511990000001")
        assert not await app.opt_outs.has_opted_out("org-2", "+5511990000001")
        back = await process_message.enqueue(message("voltar", sender="+55 11 99000-0001"))
        await back.result(timeout=10)
    assert not await app.opt_outs.has_opted_out(ORGANIZATION, "+5511990000001")
    assert len(app.lines()) == 2


async def test_yes_confirms_the_next_booking_and_a_second_attempt_answers_the_same(app: App) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    for day, id in enumerate(("first", "second")):
        made = Booking(
            booking_id=id,
            organization_id=ORGANIZATION,
            recipient_number=ANA,
            customer_name="Ana",
            starts_at=soon + timedelta(days=day),
        )
        await app.bookings.put(made)
    await app.provider.misbehave(Rule(fault="temporary", first=1))
    async with running(app.engine):
        handle = await process_message.enqueue(message("cancelar"))
        await app.again(handle)
        answered = await handle.result(timeout=10)
    statuses = [booking.status for id in ("first", "second") if (booking := await app.bookings.get(id))]
    assert statuses == ["cancelled", "pending"]  # the second attempt must not go on to the next one
    assert answered is not None
    assert answered.kind == "booking-cancelled"
    assert len(app.lines()) == 1


@pytest.mark.parametrize("sender", [None, "not-a-number-at-all"])
async def test_a_sender_who_cannot_be_reached_is_read_and_not_answered(app: App, sender: str | None) -> None:
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi", sender=sender))
        assert await handle.result(timeout=10) == Answered("unreachable")
    assert len(app.lines("read")) == 1
    assert app.lines() == []


# --- the provider misbehaves -----------------------------------------------------------------------------------------


async def test_a_temporary_fault_is_tried_again_after_about_two_seconds(app: App) -> None:
    await app.provider.misbehave(Rule(fault="temporary", first=1))
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi"))
        retried = await app.recorder.next(events.JobRetried, id=handle.id)
        await app.again(handle)
        await app.settled("messages", completed=1)
    assert 1000 <= retried.delay_ms <= 2000
    assert len(app.lines()) == 1


async def test_a_fault_that_stays_ends_dead_after_three_attempts(app: App) -> None:
    await app.provider.misbehave(Rule(fault="temporary"))
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi"))
        await app.again(handle)
        await app.again(handle)
        await app.settled("messages", dead=1)
    job = await app.engine.client.job(handle.id)
    assert (job.attempt, job.attempts) == (3, 3)


async def test_a_rejected_message_is_dead_at_once_and_says_why_without_the_number(app: App) -> None:
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi", sender=NEVER_ACCEPTED))
        await app.settled("messages", dead=1)
    job = await app.engine.client.job(handle.id)
    assert (job.attempt, job.organization_id) == (1, ORGANIZATION)
    assert job.error is not None
    assert job.error.type == "Rejected"
    assert NEVER_ACCEPTED[3:] not in repr(job)


@pytest.mark.parametrize("fault", ["throttled", "throttled-number"])
async def test_a_throttled_message_waits_and_keeps_its_attempt(app: App, fault: Fault) -> None:
    await app.provider.misbehave(Rule(fault=fault, first=4, seconds=0.05))
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi"))
        await app.settled("messages", completed=1)
    job = await app.engine.client.job(handle.id)
    assert job.attempt == 1
    assert len(app.recorder.all(events.JobSnoozed)) == 4
    assert len(app.lines()) == 1


async def test_a_limit_of_the_whole_number_holds_its_queue(app: App) -> None:
    await app.provider.misbehave(Rule(fault="throttled-number", seconds=600))
    async with running(app.engine):
        await process_message.enqueue(message("Oi"))
        await app.recorder.next(events.JobSnoozed)
        stats = await app.engine.client.stats()
    assert stats.queues["messages"].rate_limited_until is not None


async def test_a_revoked_token_pauses_the_queue_and_after_resume_everything_is_sent(app: App) -> None:
    await app.provider.misbehave(Rule(fault="revoked"))
    handles = [await process_message.enqueue(message("Oi", conversation=f"with-{person}")) for person in range(8)]
    client = app.engine.client
    async with running(app.engine):
        counts = await until(lambda: client.counts("messages"), lambda c: c.paused is not None and c.waiting == 8)
        assert counts.paused is not None
        assert "token" in counts.paused.reason
        assert app.lines() == []
        await app.provider.misbehave()
        await client.resume("messages")
        await app.settled("messages", completed=8)
    assert sorted(line.key for line in app.lines()) == sorted(f"{handle.id}:reply" for handle in handles)
    assert {(await client.job(handle.id)).attempt for handle in handles} == {1}


async def test_a_send_of_unknown_outcome_is_repeated_a_minute_later_and_arrives_once(app: App) -> None:
    await app.provider.misbehave(Rule(fault="unknown", first=1))
    async with running(app.engine):
        handle = await process_message.enqueue(message("Oi"))
        retried = await app.recorder.next(events.JobRetried, id=handle.id)
        await app.again(handle)
        await app.settled("messages", completed=1)
    assert retried.delay_ms == 60_000
    assert len(app.lines()) == 1


async def test_other_conversations_go_on_while_one_is_tried_again(app: App) -> None:
    await app.provider.misbehave(Rule(fault="temporary", to=ANA))
    async with running(app.engine):
        stuck = await process_message.enqueue(message("Oi", sender=ANA))
        behind = await process_message.enqueue(message("Oi?", sender=ANA))
        fine = await process_message.enqueue(message("Oi", sender=BRUNO))
        await fine.result(timeout=10)
        blocked = await app.engine.client.job(behind.id)
        assert blocked.state.value == "blocked"
        await app.provider.misbehave()
        await app.again(stuck)
        await app.settled("messages", completed=3)
    assert [line.key.removesuffix(":reply") for line in app.lines() if line.to == ANA] == [stuck.id, behind.id]
