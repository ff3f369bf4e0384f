"""Provider: what the handlers need from WhatsApp, and the ways in which it can fail.

The errors answer one question, "was it sent, and what now?", so that handlers decide by class and never by a provider's codes.
`local.py` is the provider for development; one for the Cloud API fits the same interface.
Why so: docs/decisions/0010-provider-seam.md
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import msgspec


class Sent(msgspec.Struct, frozen=True):
    """The provider accepted a message. Accepted is not delivered: a later status may still say that it failed."""

    message_id: str


class ProviderError(Exception):
    """Base of what a provider raises. Messages hold no phone number, token or message text; `code` is the provider's own."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Temporary(ProviderError):
    """Not sent, and the fault is the provider's or the network's. Try again after a while."""


class Throttled(ProviderError):
    """Not sent: too fast. Wait `retry_after` seconds; `scope` says who waits: one recipient's messages, or all of the number."""

    def __init__(
        self, message: str, *, retry_after: float, scope: Literal["recipient", "number"] = "recipient", code: int | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.scope = scope


class Rejected(ProviderError):
    """Not sent, and the same message never will be: no such recipient, window closed, bad template. Don't try again."""


class TokenRevoked(ProviderError):
    """Not sent: the access token is invalid or the account is locked. Nothing can be sent until a person mends that."""


class OutcomeUnknown(ProviderError):
    """Sent or not, nobody knows: the connection broke after the request had left. Repeat only with the same idempotency key."""


@runtime_checkable
class Provider(Protocol):
    """Sends and acknowledges messages. All methods raise `ProviderError`s, and nothing else for what the outside did."""

    async def send_text(self, to: str, text: str, *, organization_id: str, idempotency_key: str) -> Sent:
        """Send free text to a canonical number; allowed within 24 hours of the recipient's last message.

        `idempotency_key` is equal on every attempt at one message: a message that was accepted under it is not sent again, its
        first result is returned.
        """

    async def send_template(
        self, to: str, template: str, *, organization_id: str, idempotency_key: str, parameters: tuple[str, ...] = ()
    ) -> Sent:
        """Send an approved template, at any time. `idempotency_key` as for `send_text`."""

    async def mark_read(self, message_id: str, *, organization_id: str) -> None:
        """Show the sender of that message that it was read. Repeating is harmless."""
