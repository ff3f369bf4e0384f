"""Payloads: the wire names and limits that other services rely on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine import BadPayload
from handlers import automations_queue, campaigns_queue, messages_queue
from handlers.payloads import Campaign, CampaignMessage, FollowUp, InboundMessage, Reminder
from tests.handlers.conftest import App

WIRE: list[tuple[type[Any], str]] = [
    (
        InboundMessage,
        '{"conversationId":"c1","messageId":"m1","organizationId":"o1","senderNumber":"+5511900000001","content":"Oi"}',
    ),
    (InboundMessage, '{"conversationId":"c1","messageId":"m1","organizationId":"o1","senderNumber":null,"content":""}'),
    (Campaign, '{"campaignId":"k1","organizationId":"o1","recipients":["+5511900000001"],"template":"promo"}'),
    (CampaignMessage, '{"campaignId":"k1","organizationId":"o1","recipientNumber":"+5511900000001","template":"promo"}'),
    (Reminder, '{"bookingId":"b1","organizationId":"o1","recipientNumber":"+5511900000001","type":"appointment-reminder"}'),
    (FollowUp, '{"bookingId":"b1","organizationId":"o1","recipientNumber":"+5511900000001","type":"appointment-follow-up"}'),
]


@pytest.mark.parametrize(("kind", "wire"), WIRE)
def test_the_json_on_the_wire_is_exactly_the_contract(kind: type[Any], wire: str) -> None:
    payload = msgspec.json.decode(wire, type=kind)
    assert msgspec.json.encode(payload).decode() == wire


@pytest.mark.parametrize(
    ("queue", "name", "wire", "field"),
    [
        (messages_queue, "process-message", WIRE[0][1].replace('"c1"', '""'), "conversationId"),
        (messages_queue, "process-message", WIRE[0][1].replace('"messageId":"m1",', ""), "messageId"),
        (messages_queue, "process-message", WIRE[0][1].replace('"Oi"', "7"), "content"),
        (campaigns_queue, "send-campaign", WIRE[2][1].replace('["+5511900000001"]', "[]"), "recipients"),
        (automations_queue, "send-reminder", WIRE[4][1].replace('"b1"', f'"{"b" * 300}"'), "bookingId"),
    ],
)
async def test_a_bad_payload_by_name_is_refused_in_one_sentence_that_names_the_field(
    app: App, queue: Any, name: str, wire: str, field: str
) -> None:
    with pytest.raises(BadPayload) as raised:
        await queue.enqueue(name, msgspec.json.decode(wire))
    sentence = str(raised.value)
    assert name in sentence
    assert field in sentence
    assert "\n" not in sentence
    assert "900000001" not in sentence
    assert (await app.engine.client.counts(queue.name)).enqueued == 0


async def test_a_struct_that_breaks_a_limit_is_refused_too(app: App) -> None:
    with pytest.raises(BadPayload, match="messageId"):
        await messages_queue.enqueue(
            "process-message",
            InboundMessage(conversation_id="c", message_id="", organization_id="o", sender_number=None, content="Oi"),
        )
