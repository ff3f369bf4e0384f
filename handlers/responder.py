"""Responder: what to answer to a message. Decides only; the handler acts on the decision and sends the text.

`RulesResponder` is a small one made of words: opting out and in, a booking's confirmation, common questions, a greeting, a menu.
One that asks a language model fits the same interface.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, Protocol, runtime_checkable

import msgspec

from .bookings import Booking

Act = Literal["opt-out", "opt-in", "confirm-booking", "cancel-booking"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A text to send, and what has to be done before it is true."""

    kind: str
    text: str
    act: Act | None = None
    booking_id: str | None = None


@runtime_checkable
class Responder(Protocol):
    """Finds the answer to a message."""

    async def answer(self, content: str, booking: Booking | None) -> Answer | None:
        """The answer to `content` from somebody whose next booking is `booking`; None when it needs none."""


class Business(msgspec.Struct, frozen=True):
    """What a business tells its customers."""

    name: str = "Studio Exemplo"
    hours: str = "de segunda a sábado, das 9h às 19h"
    address: str = "Rua Exemplo, 100, São Paulo"
    prices: str = "corte R$ 60, barba R$ 40, corte e barba R$ 90"


OPT_OUT = {"sair", "parar", "pare", "stop", "descadastrar"}
OPT_IN = {"voltar", "start", "entrar", "assinar"}
YES = {"1", "sim", "confirmo", "confirmar", "confirmado", "confirmada", "ok"}
NO = {"2", "nao", "cancelar", "cancela", "desmarcar", "desmarca"}
GREETINGS = {"oi", "ola", "opa", "bom", "boa", "dia", "tarde", "noite", "hey", "alo"}
THANKS = {"obrigado", "obrigada", "valeu", "brigado", "brigada", "agradeco"}
_FILLERS = {
    "a", "as", "avisos", "bem", "da", "das", "de", "do", "eu", "favor", "gentileza", "horario", "lista", "mais", "me", "mensagem",
    "mensagens", "meu", "minha", "o", "para", "pfv", "pode", "podem", "por", "pra", "quero", "receber", "reserva", "tudo",
    "voces",
}  # fmt: skip
"""Words that may stand around a command without changing it: "quero sair da lista" opts out, "vou sair agora" does not."""

_TOPICS: tuple[tuple[str, set[str]], ...] = (
    ("prices", {"preco", "precos", "valor", "valores", "quanto", "custa", "custam", "tabela"}),
    ("address", {"endereco", "onde", "fica", "ficam", "local", "localizacao", "chegar", "mapa"}),
    ("hours", {"horario", "horarios", "hora", "horas", "abre", "abrem", "aberto", "aberta", "fecha", "fecham", "funciona"}),
    ("booking", {"agendar", "agenda", "agendamento", "marcar", "remarcar", "vaga", "vagas", "reservar"}),
    ("person", {"atendente", "humano", "pessoa", "gerente", "reclamar", "reclamacao", "problema"}),
)


class RulesResponder:
    """Answers by the words of the message, in Portuguese. Case and accents don't matter."""

    def __init__(self, business: Business | None = None) -> None:
        self._business = business or Business()

    def __repr__(self) -> str:
        return f"<RulesResponder {self._business.name}>"

    async def answer(self, content: str, booking: Booking | None) -> Answer | None:
        """See `Responder.answer`."""
        words = words_of(content)
        if not words:
            return None  # a sticker, an emoji: nothing was asked
        return self._command(words) or self._about_booking(words, booking) or self._question(words)

    def _command(self, words: list[str]) -> Answer | None:
        name = self._business.name
        if _commands(words, OPT_OUT):
            text = f"Pronto: você não receberá mais avisos nem promoções de {name}. Para voltar a receber, responda VOLTAR."
            return Answer(kind="opt-out", text=text, act="opt-out")
        if _commands(words, OPT_IN):
            text = f"Que bom ter você de volta! Você voltará a receber os avisos de {name}. Para sair, responda SAIR."
            return Answer(kind="opt-in", text=text, act="opt-in")
        return None

    def _about_booking(self, words: list[str], booking: Booking | None) -> Answer | None:
        if booking is None:
            return None
        if _commands(words, NO):
            text = f"Seu horário de {booking.when} foi cancelado. Para marcar outro, responda AGENDAR."
            return Answer(kind="booking-cancelled", text=text, act="cancel-booking", booking_id=booking.booking_id)
        if _commands(words, YES):
            text = f"Confirmado, {booking.customer_name}! Esperamos você em {booking.when}, em {self._business.address}."
            return Answer(kind="booking-confirmed", text=text, act="confirm-booking", booking_id=booking.booking_id)
        return None

    def _question(self, words: list[str]) -> Answer:
        business, found = self._business, set(words)
        texts = {
            "prices": f"Nossos preços: {business.prices}. Para marcar um horário, responda AGENDAR.",
            "address": f"Ficamos em {business.address}. Atendemos {business.hours}.",
            "hours": f"Atendemos {business.hours}. Para marcar um horário, responda AGENDAR.",
            "booking": f"Vamos marcar! Diga o dia e a hora de sua preferência; atendemos {business.hours}.",
            "person": "Certo, vou chamar alguém da equipe. Em breve uma pessoa responde por aqui.",
        }
        scores = [(len(found & topic), kind) for kind, topic in _TOPICS]
        best, kind = max(scores, key=lambda score: score[0])  # the first of equals: the order of _TOPICS
        if best:
            return Answer(kind=kind, text=texts[kind])
        if found & THANKS:
            return Answer(kind="thanks", text=f"Por nada! {business.name} agradece o contato.")
        menu = "Posso ajudar com PREÇOS, HORÁRIOS, ENDEREÇO ou para AGENDAR. Para falar com uma pessoa, responda ATENDENTE."
        if found & GREETINGS:
            return Answer(kind="greeting", text=f"Olá! Aqui é {business.name}. {menu}")
        return Answer(kind="menu", text=f"Não entendi bem. {menu}")


def words_of(content: str) -> list[str]:
    """The words of a text, without case and accents.

    >>> words_of("Não quero mais, OBRIGADA!")
    ['nao', 'quero', 'mais', 'obrigada']
    """
    plain = unicodedata.normalize("NFKD", content.casefold())
    return re.findall(r"[a-z0-9]+", "".join(char for char in plain if not unicodedata.combining(char)))


def _commands(words: list[str], command: set[str]) -> bool:
    """True when the words are that command and nothing else of meaning."""
    return not command.isdisjoint(words) and command.union(_FILLERS, GREETINGS, THANKS).issuperset(words)
