"""send-campaign: everybody once, whatever cuts it off."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine import events
from handlers import campaigns
from handlers.campaigns import Planned, send_campaign, send_campaign_message
from handlers.payloads import Campaign, CampaignMessage
from handlers.whatsapp.local import NEVER_ACCEPTED, Rule
from tests.handlers.conftest import ANA, BRUNO, ORGANIZATION, App
from tests.support.running import running, until


def people(count: int) -> list[str]:
    return [f"+5511900001{number:03}" for number in range(count)]


def campaign(*recipients: str, id: str = "spring") -> Campaign:
    return Campaign(campaign_id=id, organization_id=ORGANIZATION, recipients=list(recipients), template="promo")


def receipts(app: App) -> Counter[str]:
    return Counter(line.to for line in app.lines())


async def test_everybody_gets_it_once_however_often_they_are_listed(app: App) -> None:
    await app.opt_outs.opt_out(ORGANIZATION, BRUNO)
    listed = campaign(ANA, "11 90000-0001", "5511990000009", "551190000009", BRUNO, "sem número")
    async with running(app.engine):
        planned = await (await send_campaign.enqueue(listed)).result(timeout=10)
        await app.settled("campaigns", completed=3)
    assert planned == Planned(enqueued=2, already_enqueued=0, repeated=2, opted_out=1, unusable=1)
    assert receipts(app) == {ANA: 1, "+5511990000009": 1}
    assert {line.template for line in app.lines()} == {"promo"}


async def test_a_plan_that_fails_half_way_resumes_and_sends_nothing_twice(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "CHUNK", 10)
    enqueue_many, calls = send_campaign_message.enqueue_many, 0

    async def flaky(payloads: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise ConnectionError("cut off")
        return await enqueue_many(payloads, **options)

    monkeypatch.setattr(send_campaign_message, "enqueue_many", flaky)
    async with running(app.engine):
        handle = await send_campaign.enqueue(campaign(*people(50)))
        await until(lambda: app.engine.client.counts("campaigns"), lambda c: c.completed == 30)  # sent before the second attempt
        await app.again(handle)
        planned = await handle.result(timeout=10)
        await app.settled("campaigns", completed=51)
    assert planned == Planned(enqueued=20, already_enqueued=30, repeated=0, opted_out=0, unusable=0)
    assert receipts(app) == dict.fromkeys(people(50), 1)
    progress = (await app.engine.client.job(handle.id)).progress
    assert progress
    assert (progress.done, progress.total) == (50, 50)


_KILLED_AFTER_TWO_CHUNKS = """
import asyncio, os, signal, sys
from engine import Job, Settings
from engine.worker import Worker
from handlers import campaigns, engine

campaigns.CHUNK = 10
note = Job.progress

async def progress(job, done, total):
    await note(job, done, total)
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)

Job.progress = progress
engine.configure(Settings(redis_url=sys.argv[1], data_dir=sys.argv[2], lease=1.0))
asyncio.run(Worker(engine, queues=["campaigns"]).run())
"""


@pytest.mark.slow
async def test_a_worker_killed_half_way_through_a_campaign_sends_nothing_twice(app: App) -> None:
    settings = app.engine.settings
    handle = await send_campaign.enqueue(campaign(*people(50)))
    command = (sys.executable, "-c", _KILLED_AFTER_TWO_CHUNKS, str(settings.redis_url), settings.data_dir)
    killed = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    assert await asyncio.wait_for(killed.wait(), 20) == -signal.SIGKILL
    async with running(app.engine):
        await until(lambda: app.engine.client.counts("campaigns"), lambda c: c.completed == 51, timeout=30)
    assert receipts(app) == dict.fromkeys(people(50), 1)
    assert (await app.engine.client.job(handle.id)).attempt == 1  # an innocent stall uses no attempt


async def test_a_campaign_enqueued_twice_is_one_campaign(app: App) -> None:
    first = await send_campaign.enqueue(campaign(ANA))
    second = await send_campaign.enqueue(campaign(ANA, BRUNO))
    assert (second.id, second.duplicate) == (first.id, True)
    other = await send_campaign.enqueue(campaign(ANA, id="summer"))
    assert not other.duplicate


async def test_who_opts_out_between_plan_and_sending_gets_nothing(app: App) -> None:
    message = CampaignMessage(campaign_id="c", organization_id=ORGANIZATION, recipient_number=ANA, template="promo")
    handle = await send_campaign_message.enqueue(message)
    await app.opt_outs.opt_out(ORGANIZATION, ANA)
    async with running(app.engine):
        assert await handle.result(timeout=10) is None
    assert app.lines() == []


async def test_one_refused_recipient_is_dead_and_the_others_are_served(app: App) -> None:
    async with running(app.engine):
        await send_campaign.enqueue(campaign(ANA, NEVER_ACCEPTED, BRUNO))
        await app.settled("campaigns", completed=3, dead=1)
    assert receipts(app) == {ANA: 1, BRUNO: 1}


async def test_marketing_of_unknown_outcome_is_never_repeated(app: App) -> None:
    await app.provider.misbehave(Rule(fault="unknown"))
    async with running(app.engine):
        await send_campaign.enqueue(campaign(ANA))
        await app.settled("campaigns", completed=1, dead=1)
    assert receipts(app) == {ANA: 1}


async def test_a_campaign_job_fails_and_is_tried_again_after_about_five_seconds(app: App) -> None:
    await app.provider.misbehave(Rule(fault="temporary", first=1))
    async with running(app.engine):
        await send_campaign.enqueue(campaign(ANA))
        retried = await app.recorder.next(events.JobRetried, name="send-campaign-message")
        await app.engine.client.promote(retried.id)
        await app.settled("campaigns", completed=2)
    assert 2500 <= retried.delay_ms <= 5000
