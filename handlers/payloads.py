"""Payloads: what each job carries, as it is on the wire (camelCase) and as handlers see it.

Other services enqueue by these wire names, so they are a contract: fields may be added with a default, none renamed. The limits
are checked by `enqueue` and again by the worker; a payload that breaks one is refused in one sentence that names the field.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)]
"""Ids become ordering and dedup keys; those end at 512 bytes."""
Number = Annotated[str, Meta(min_length=8, max_length=32)]
"""A phone number as people and providers write it; `whatsapp.brazil.canonical` reads it."""
MAX_RECIPIENTS = 10_000
"""About 160 KB of numbers, under the 256 KiB a payload may have. Larger campaigns are several with the same template."""


class InboundMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that somebody sent to the business."""

    conversation_id: Id
    message_id: Id
    organization_id: Id
    sender_number: Number | None
    """None when the provider withholds it (users with a username)."""
    content: Annotated[str, Meta(max_length=65_536)]


class Campaign(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One template to many people."""

    campaign_id: Id
    organization_id: Id
    recipients: Annotated[list[str], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    """As typed or exported: odd ones are counted and left out, they don't stop the others."""
    template: Id


class CampaignMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One recipient's part of a campaign; made by `send-campaign`, with its number in canonical form."""

    campaign_id: Id
    organization_id: Id
    recipient_number: Number
    template: Id


class Reminder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Remind somebody of a booking; enqueued when it is made, with a delay or an instant."""

    booking_id: Id
    organization_id: Id
    recipient_number: Number
    type: Id
    """Which reminder: see `automations.REMINDERS`."""


class FollowUp(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Ask somebody how it was."""

    booking_id: Id
    organization_id: Id
    recipient_number: Number
    type: Id
    """Which follow-up: see `automations.FOLLOW_UPS`."""
