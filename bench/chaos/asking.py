"""Asking: enqueue calls of a producer, of one job and of many, and what is written down of each: asked, and told what."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine import Clock, EnqueueUnknown, Handle, Queue, StoreError

from .journal import Journal, What
from .kinds import Plan, Script

REFUSED_PAUSE = 0.1
"""Seconds a lane waits when the server refused."""
IN_A_CALL = 100
"""So many of a bulk go to the server at a time, each with a deadline of its own."""


class Asker:
    """What all lanes of a producer ask through."""

    def __init__(self, journal: Journal, clock: Clock, queues: Mapping[str, Queue], name: str) -> None:
        self._journal = journal
        self._clock = clock
        self._queues = queues
        self._name = name

    async def one(self, plan: Plan, n: int) -> str:
        """Enqueue one job as number `n`; its full id, '' when it was refused, or not told in time."""
        dedup = f"{self._name}.{plan.script.n}" if plan.copies > 1 else ""
        script = msgspec.structs.replace(plan.script, n=n)
        self._ask(plan, script, dedup)
        payload = script if plan.readable else {"n": "unreadable", "number": n}
        began = self._clock.mono()

        def told(what: What, **facts: object) -> None:
            took = int((self._clock.mono() - began) * 1000)
            self._told(what, plan, script, dedup=dedup, took_ms=took, **facts)

        try:
            handle = await self._queues[plan.queue].enqueue(
                plan.name, payload, delay=plan.delay, priority=plan.priority, timeout=plan.timeout,
                ordering_key=script.key or None, dedup_key=dedup or None,
            )  # fmt: skip
        except EnqueueUnknown as unknown:
            told("unknown", how=type(unknown).__name__)
            handle = await self._found_out(unknown)
            assert isinstance(handle, Handle), "repeat answers what enqueue would have"
            self._told("acked", plan, script, dedup=dedup, job=handle.id, how="repeated")
            return handle.id
        except StoreError as error:
            told("refused", how=type(error).__name__)
            await self._clock.sleep(REFUSED_PAUSE)
            return ""
        told("acked", job=handle.id, how="duplicate" if handle.duplicate else "new")
        return handle.id

    async def many(self, plan: Plan, scripts: Sequence[Script]) -> None:
        """Enqueue these of the plan in one call, in the order of their numbers. What was not sent, since nobody knew what
        became of a part before it, is asked for in another call."""
        for script in scripts:
            self._ask(plan, script)
        left = scripts
        while left:
            left = await self._some(plan, left)

    async def _some(self, plan: Plan, scripts: Sequence[Script]) -> Sequence[Script]:
        """One call; those that were not sent."""
        began = self._clock.mono()

        def told(what: What, these: Sequence[Script], sent: int, handles: Sequence[Handle[Any]] = (), how: str = "new") -> None:
            took = int((self._clock.mono() - began) * 1000) // max(-(-sent // IN_A_CALL), 1)  # of each part, about
            for i, script in enumerate(these):
                self._told(what, plan, script, took_ms=took, how=how, job=handles[i].id if handles else "")

        try:
            handles = await self._queues[plan.queue].enqueue_many(
                plan.name, scripts, priority=plan.priority, ordering_key=plan.script.key or None
            )
        except EnqueueUnknown as unknown:
            done = _done(unknown)
            sent = min(done + IN_A_CALL, len(scripts))
            told("acked", scripts[:done], sent, how="counted")
            told("unknown", scripts[done:sent], sent, how=type(unknown).__name__)
            handles = await self._found_out(unknown)
            for script, handle in zip(scripts, handles, strict=False):
                self._told("acked", plan, script, job=handle.id, how="repeated")
            return scripts[len(handles) :]
        except StoreError as error:
            done = _done(error)
            told("acked", scripts[:done], done + 1, how="counted")
            told("refused", scripts[done:], done + 1, how=type(error).__name__)
            await self._clock.sleep(REFUSED_PAUSE)
            return []
        told("acked", scripts, len(scripts), handles)
        return []

    async def _found_out(self, unknown: EnqueueUnknown) -> Any:
        """Repeated until it is told: a handle, or of a bulk a list of those of all that were sent."""
        while True:
            try:
                return await unknown.repeat()
            except StoreError:
                await self._clock.sleep(REFUSED_PAUSE)

    def _ask(self, plan: Plan, script: Script, dedup: str = "") -> None:
        self._journal.note(
            "ask", n=script.n, kind=script.kind, queue=plan.queue, key=script.key, dedup=dedup, want=plan.wanted(script),
            fails=script.fails, snoozes=script.snoozes, crashes=script.crashes,
            due_ms=time.time_ns() // 1_000_000 + int(plan.delay * 1000) if plan.delay else 0,
        )  # fmt: skip

    def _told(self, what: What, plan: Plan, script: Script, **facts: object) -> None:
        self._journal.note(what, n=script.n, kind=script.kind, queue=plan.queue, key=script.key, **facts)


def _done(error: StoreError) -> int:
    """How many are in for certain, as `enqueue_many` says."""
    count: int = error.done  # type: ignore[attr-defined]  # a field that `enqueue_many` adds
    return count
