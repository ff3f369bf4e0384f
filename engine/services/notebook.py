"""Notebook: what one running job keeps in the store. Every write is fenced by the entry that the attempt holds."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import LeaseLost, StoreError
from ..masking import mask_text
from ..store.claim import Claim
from ..store.redis_store import RedisStore

MAX_LINE = 2_000
"""Characters of a log line."""
MAX_LINES = 100
"""Log lines that are kept of a job, its last; so no more than these need wait here, however fast a handler writes them."""


class Notebook:
    """Progress, steps and log lines of one attempt (`engine.job.Notes`)."""

    def __init__(self, store: RedisStore, worker: str, claim: Claim) -> None:
        self._store = store
        self._worker = worker
        self._claim = claim
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._writer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Notebook {self._claim.full_id} lines={len(self._lines)}>"

    async def write(self, field: str, value: bytes) -> None:
        """Keep a value; waits through outages, because the attempt can't go on without knowing.

        Raises:
            LeaseLost: the entry is no longer ours.
            BadPayload: the job keeps as many steps as it may.
        """
        claim = self._claim
        kept = await self._store.link.patient(
            lambda: self._store.note(claim.queue, self._worker, claim.tag, claim.entry, claim.id, field, value), timeout=None
        )
        if not kept:
            raise LeaseLost(f"{claim.full_id} belongs to another attempt now; {field!r} was not kept")

    async def read(self, field: str) -> bytes | None:
        """What an earlier attempt kept; LeaseLost when another owns the job now, BadPayload when no step more can be kept."""
        claim = self._claim
        ours, value = await self._store.link.patient(
            lambda: self._store.recall(claim.queue, self._worker, claim.tag, claim.entry, claim.id, field), timeout=None
        )
        if not ours:
            raise LeaseLost(f"{claim.full_id} belongs to another attempt now")
        return value

    def log(self, line: str) -> None:
        """Keep a line soon. Called on the loop, or from a handler's thread."""
        self._lines.append(line[: 2 * MAX_LINE])
        if self._writer is None or self._writer.done():
            try:
                self._writer = asyncio.get_running_loop().create_task(self._write_lines())
            except RuntimeError:
                pass  # a thread: `flush` writes them when the attempt ends

    async def flush(self) -> None:
        """Write what is left; called when the attempt has ended. Lines are not worth an attempt: errors are dropped."""
        if self._writer is not None:
            await self._writer
        if self._lines:
            await self._write_lines()

    @property
    def has_lines(self) -> bool:
        """True when `flush` has something to do."""
        return bool(self._lines) or self._writer is not None

    async def _write_lines(self) -> None:
        claim = self._claim
        while self._lines:
            line = mask_text(self._lines.popleft())[:MAX_LINE].encode("utf-8", "replace")  # not those that newer ones pushed out
            try:
                await self._store.note(claim.queue, self._worker, claim.tag, claim.entry, claim.id, "log", line, MAX_LINES)
            except StoreError:
                return
