"""Local provider: writes what it would send, a line of JSON each, to a file, and misbehaves on request.

It keeps the promise that matters: one idempotency key is sent once, however many processes of this machine try, because the file
itself is the record. What it refused stands there too, so the file tells the whole story: `tail -f .engine/outbox.ndjson`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine import Clock

from ..files import JsonFile, locked
from .provider import OutcomeUnknown, ProviderError, Rejected, Sent, Temporary, Throttled, TokenRevoked

Fault = Literal["temporary", "throttled", "throttled-number", "rejected", "revoked", "unknown", "slow"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When to misbehave and how. The first rule that fits a send counts.

    `revoked` refuses everything it fits until the rule is gone; `unknown` sends and then says that nobody knows; `slow` takes up
    to `seconds`, drawn at random, and sends.
    """

    fault: Fault
    to: str | None = None
    """Only sends to this canonical number."""
    every: Annotated[int, Meta(ge=1)] = 1
    """Only every so many-th send that this process tries."""
    first: Annotated[int, Meta(ge=1)] | None = None
    """Only the first so many tries of each message; None: every try."""
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """How long to wait when throttled; at most how long when slow."""


FAILS_TWICE = "+5511900005501"
NEVER_ACCEPTED = "+5511900005502"
TEST_NUMBERS = (Rule(fault="temporary", to=FAILS_TWICE, first=2), Rule(fault="rejected", to=NEVER_ACCEPTED))
"""Numbers that always behave alike, for demonstrations. No such subscriber exists."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the outbox."""

    event: Literal["sent", "refused", "read"]
    at_ms: int
    key: str
    organization_id: str
    to: str = ""
    text: str = ""
    template: str = ""
    parameters: tuple[str, ...] = ()
    message_id: str = ""
    fault: str = ""


class LocalProvider:
    """A provider that reaches nobody. `rules` is a file (a JSON list of rules) that may change while workers run."""

    def __init__(self, outbox: Path, *, rules: Path, clock: Clock) -> None:
        self.outbox = outbox
        self._clock = clock
        self._rules = JsonFile(rules, list[Rule], list)
        self._tries = 0
        self._offset = 0
        self._sent: dict[str, str] = {}
        self._refusals: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<LocalProvider {self.outbox} {len(self._sent)} keys seen>"

    async def misbehave(self, *rules: Rule) -> None:
        """From now on, in every process that shares the file, follow these rules; none means behave."""

        def change(kept: list[Rule]) -> None:
            kept[:] = rules

        await asyncio.to_thread(self._rules.update, change)

    async def send_text(self, to: str, text: str, *, organization_id: str, idempotency_key: str) -> Sent:
        """See `Provider.send_text`."""
        line = Line(
            event="sent", at_ms=self._clock.now_ms(), key=idempotency_key, organization_id=organization_id, to=to, text=text
        )
        return await self._send(line)

    async def send_template(
        self, to: str, template: str, *, organization_id: str, idempotency_key: str, parameters: tuple[str, ...] = ()
    ) -> Sent:
        """See `Provider.send_template`."""
        line = Line(
            event="sent",
            at_ms=self._clock.now_ms(),
            key=idempotency_key,
            organization_id=organization_id,
            to=to,
            template=template,
            parameters=parameters,
        )
        return await self._send(line)

    async def mark_read(self, message_id: str, *, organization_id: str) -> None:
        """See `Provider.mark_read`."""
        line = Line(
            event="read",
            at_ms=self._clock.now_ms(),
            key=f"read:{message_id}",
            organization_id=organization_id,
            message_id=message_id,
        )
        await asyncio.to_thread(self._record, line)

    async def _send(self, line: Line) -> Sent:
        rule = await asyncio.to_thread(self._misfortune, line)
        if rule is None:
            return Sent(await asyncio.to_thread(self._record, line))
        if rule.fault == "slow":
            await self._clock.sleep(self._clock.random() * rule.seconds)
            return Sent(await asyncio.to_thread(self._record, line))
        if rule.fault == "unknown":
            await asyncio.to_thread(self._record, line)
        refused = msgspec.structs.replace(line, event="refused", text="", parameters=(), fault=rule.fault)
        await asyncio.to_thread(self._record, refused)
        raise _error(rule)

    # --- in threads --------------------------------------------------------------------------------------------------

    def _misfortune(self, line: Line) -> Rule | None:
        """The rule that this try falls under; None when it is sent, or was sent before."""
        with locked(self.outbox):
            self._catch_up()
            if line.key in self._sent:
                return None
            refused = self._refusals.get(line.key, 0)
            self._tries += 1
            number = self._tries  # inside the lock: several threads try at once
        for rule in (*self._rules.read(), *TEST_NUMBERS):
            fits = rule.to in (None, line.to) and number % rule.every == 0 and (rule.first is None or refused < rule.first)
            if fits:
                return rule
        return None

    def _record(self, line: Line) -> str:
        """Append the line, unless its key was sent already; returns the message id of the one that counts."""
        with locked(self.outbox):
            self._catch_up()
            if line.event != "refused" and line.key in self._sent:
                return self._sent[line.key]
            if line.event == "sent":
                line = msgspec.structs.replace(line, message_id=f"wamid.local-{len(self._sent) + 1}")
            file = os.open(self.outbox, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, msgspec.json.encode(line) + b"\n")  # one write: readers see whole lines
            finally:
                os.close(file)
            self._catch_up()
            return line.message_id

    def _catch_up(self) -> None:
        """Read what was added since the last look, by whichever process."""
        if not self.outbox.exists():
            self._offset, self._sent, self._refusals = 0, {}, {}  # somebody emptied it: begin anew
            return
        with self.outbox.open("rb") as file:
            file.seek(self._offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    os.truncate(self.outbox, self._offset)  # its writer was cut off, so nobody was told that it was sent
                    return
                self._offset += len(raw)
                line = msgspec.json.decode(raw, type=Line)
                if line.event == "refused":
                    self._refusals[line.key] = self._refusals.get(line.key, 0) + 1
                else:
                    self._sent[line.key] = line.message_id


def _error(rule: Rule) -> ProviderError:
    match rule.fault:
        case "throttled":
            return Throttled("too many messages to one recipient", retry_after=rule.seconds, code=131056)
        case "throttled-number":
            return Throttled("too many messages from this number", retry_after=rule.seconds, scope="number", code=130429)
        case "rejected":
            return Rejected("the recipient can't be reached on WhatsApp", code=131026)
        case "revoked":
            return TokenRevoked("the access token is not valid any more", code=190)
        case "unknown":
            return OutcomeUnknown("the connection broke after the request had left")
        case _:
            return Temporary("the service is unavailable", code=131016)
