"""The rules responder: words in, decision out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handlers.bookings import Booking
from handlers.responder import Business, Responder, RulesResponder

BOOKING = Booking(
    booking_id="b1",
    organization_id="org-1",
    recipient_number="+5511900000001",
    customer_name="Ana",
    starts_at=datetime(2026, 11, 25, 14, 0, tzinfo=UTC),
)


async def kind(content: str, booking: Booking | None = None) -> str | None:
    answer = await RulesResponder().answer(content, booking)
    return answer.kind if answer else None


@pytest.mark.parametrize(
    "content", ["SAIR", "sair.", "PARAR", "Stop!", "Quero sair da lista, por favor", "oi, pode parar de me mandar"]
)
async def test_opt_out_words_opt_out(content: str) -> None:
    expected = "opt-out" if "mandar" not in content else "greeting"  # one word too many: a person should read that
    assert await kind(content) == expected


@pytest.mark.parametrize(
    "content", ["Vou sair agora de casa", "não quero parar de receber", "a loja fica onde se eu sair do metrô?"]
)
async def test_opt_out_words_inside_other_sentences_do_not(content: str) -> None:
    assert await kind(content) != "opt-out"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Voltar", "opt-in"),
        ("oi", "greeting"),
        ("BOM DIA!!", "greeting"),
        ("Oi, bom dia. Quanto custa o corte?", "prices"),
        ("até que horas vocês abrem", "hours"),
        ("qual o endereço", "address"),
        ("quero agendar", "booking"),
        ("falar com um atendente", "person"),
        ("Obrigada!", "thanks"),
        ("xyz", "menu"),
        ("👍", None),
        ("", None),
    ],
)
async def test_common_messages_get_their_answer(content: str, expected: str | None) -> None:
    assert await kind(content) == expected


@pytest.mark.parametrize("content", ["Sim", "1", "confirmo, obrigada", "OK"])
async def test_yes_confirms_a_booking(content: str) -> None:
    answer = await RulesResponder().answer(content, BOOKING)
    assert answer is not None
    assert (answer.act, answer.booking_id) == ("confirm-booking", "b1")
    assert "25/11 às 14:00" in answer.text


@pytest.mark.parametrize("content", ["não", "2", "quero cancelar meu horário", "desmarcar por favor"])
async def test_no_cancels_a_booking(content: str) -> None:
    answer = await RulesResponder().answer(content, BOOKING)
    assert answer is not None
    assert (answer.act, answer.booking_id) == ("cancel-booking", "b1")


async def test_yes_without_a_booking_confirms_nothing() -> None:
    answer = await RulesResponder().answer("sim", None)
    assert answer is not None
    assert answer.act is None


async def test_an_opt_out_wins_over_a_booking() -> None:
    assert await kind("SAIR", BOOKING) == "opt-out"


async def test_texts_are_the_businesss_own() -> None:
    responder: Responder = RulesResponder(Business(name="Barbearia do Zé", prices="corte R$ 45"))
    answer = await responder.answer("preço?", None)
    assert answer is not None
    assert "corte R$ 45" in answer.text
