"""Opt-outs: who does not want to hear from a business. Asked when a message is sent, not when it is planned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol, runtime_checkable

from .files import JsonFile


@runtime_checkable
class OptOuts(Protocol):
    """Numbers are canonical. All methods may be repeated."""

    async def opt_out(self, organization_id: str, number: str) -> None:
        """Send nothing unasked to this number any more: no campaign, no reminder, no follow-up."""

    async def opt_in(self, organization_id: str, number: str) -> None:
        """Forget the opt-out."""

    async def has_opted_out(self, organization_id: str, number: str) -> bool:
        """True when nothing may be sent unasked."""

    async def among(self, organization_id: str, numbers: list[str]) -> set[str]:
        """Those of `numbers` that have opted out."""


class JsonOptOuts:
    """Kept in one local file, a list of numbers an organisation."""

    def __init__(self, path: Path) -> None:
        self._file: JsonFile[dict[str, set[str]]] = JsonFile(path, dict[str, set[str]], dict)

    def __repr__(self) -> str:
        return f"<JsonOptOuts {self._file!r}>"

    async def opt_out(self, organization_id: str, number: str) -> None:
        """See `OptOuts.opt_out`."""
        await asyncio.to_thread(self._file.update, lambda out: out.setdefault(organization_id, set()).add(number))

    async def opt_in(self, organization_id: str, number: str) -> None:
        """See `OptOuts.opt_in`."""
        await asyncio.to_thread(self._file.update, lambda out: out.get(organization_id, set()).discard(number))

    async def has_opted_out(self, organization_id: str, number: str) -> bool:
        """See `OptOuts.has_opted_out`."""
        return bool(await self.among(organization_id, [number]))

    async def among(self, organization_id: str, numbers: list[str]) -> set[str]:
        """See `OptOuts.among`."""
        out = await asyncio.to_thread(self._file.read)
        return out.get(organization_id, set()).intersection(numbers)
