"""Campaigns: one template to many people, each of them once.

`send-campaign` plans: it cleans the list of recipients and enqueues a `send-campaign-message` for each. The dedup key of a child
is campaign and number, so a plan that was cut off half-way is simply made again, and a campaign enqueued twice sends once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from engine import Job

from . import campaigns_queue
from .delivery import MARKETING, deliver_template
from .opt_outs import OptOuts
from .payloads import Campaign, CampaignMessage
from .whatsapp.brazil import BadNumber, canonical
from .whatsapp.provider import Provider, Sent

REMEMBERED = 8 * 86_400.0
"""Seconds; longer than a dead job is kept, so that a campaign requeued on its last day still sends nothing twice."""
CHUNK = 100
"""Children between two notes of progress: what one call to the server takes."""


class Planned(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a campaign's list."""

    enqueued: int
    already_enqueued: int
    """By an earlier attempt, or an earlier job of the same campaign."""
    repeated: int
    opted_out: int
    unusable: int


@campaigns_queue.handler("send-campaign", dedup_key="campaign_id", dedup_window=REMEMBERED)
async def send_campaign(campaign: Campaign, job: Job, opt_outs: OptOuts) -> Planned:
    """Enqueue one `send-campaign-message` a person."""
    numbers, unusable = clean(campaign.recipients)
    out = await opt_outs.among(campaign.organization_id, numbers)
    wanted = [number for number in numbers if number not in out]
    if unusable:
        job.log(f"{unusable} of {len(campaign.recipients)} recipients have no usable number")
    done = already = 0
    for chunk in _chunks(wanted):
        handles = await send_campaign_message.enqueue_many([_child(campaign, number) for number in chunk])
        done += len(handles)
        already += sum(handle.duplicate for handle in handles)
        await job.progress(done, len(wanted))
    return Planned(
        enqueued=done - already,
        already_enqueued=already,
        repeated=len(campaign.recipients) - unusable - len(numbers),
        opted_out=len(out),
        unusable=unusable,
    )


@campaigns_queue.handler(
    "send-campaign-message",
    dedup_key=lambda child: f"{child.campaign_id}:{child.recipient_number}",
    dedup_window=REMEMBERED,
    timeout=30.0,
    policy=MARKETING,
)
async def send_campaign_message(message: CampaignMessage, job: Job, provider: Provider, opt_outs: OptOuts) -> Sent | None:
    """Send the template to one person, unless they have opted out since the campaign was planned."""
    if await opt_outs.has_opted_out(message.organization_id, message.recipient_number):
        job.log("opted out since the campaign was planned: nothing was sent")
        return None
    return await deliver_template(job, "send", provider, message.recipient_number, message.template, message.organization_id)


def clean(recipients: list[str]) -> tuple[list[str], int]:
    """Canonical numbers, each once and in the order of the list; and how many entries were no numbers.

    >>> clean(["+55 11 90000-0001", "11 90000 0001", "(11) 3000-0000", "Ana"])
    (['+5511900000001', '+551130000000'], 1)
    """
    numbers: dict[str, None] = {}
    unusable = 0
    for recipient in recipients:
        try:
            numbers[canonical(recipient)] = None
        except BadNumber:
            unusable += 1
    return list(numbers), unusable


def _child(campaign: Campaign, number: str) -> CampaignMessage:
    return CampaignMessage(
        campaign_id=campaign.campaign_id,
        organization_id=campaign.organization_id,
        recipient_number=number,
        template=campaign.template,
    )


def _chunks(numbers: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(numbers), CHUNK):
        yield numbers[start : start + CHUNK]
