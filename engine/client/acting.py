"""Acting: what an operator does to one job or one queue. Repeating an act is harmless and answers the same."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..backoff import in_ms
from ..errors import BadInput, JobError, JobNotFound, WrongState
from ..job import State
from ..keys import split_id
from ..masking import mask_text
from ..store.acts import Removal
from ..store.rows import Place
from .looking import Looking
from .views import instant

REASON_LIMIT = 500
"""Characters kept of a reason that somebody typed."""

Outcome = Literal["cancelled", "requested", "promoted", "deleted", "requeued"]


class ActView(msgspec.Struct, frozen=True):
    """What an act did. `requested`: the job is active, its worker is told and ends it as cancelled."""

    id: str
    outcome: Outcome


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """A queue after a pause or a resume; `changed` false when it was so before."""

    queue: str
    paused: bool
    changed: bool
    reason: str | None = None
    until: str | None = None


class Acting(Looking):
    """The acts. Errors of all, besides their own: BadName (no job id), StoreUnreachable, StoreUnanswered, StoreRefused."""

    async def cancel(self, full_id: str, reason: str = "") -> ActView:
        """End a job without running it, or ask its worker to stop it.

        Raises:
            JobNotFound: no job of that id is kept.
            WrongState: it is dead or completed.
        """
        queue, job_id = split_id(full_id)
        why = clean_reason(reason) or "cancelled by an operator"
        removal, maybe_done = await self._act(self.store.cancel, queue, job_id, why)
        if removal is Removal.DONE:
            return ActView(full_id, "cancelled")
        if removal is Removal.REQUESTED:
            return ActView(full_id, "requested")
        if removal is Removal.DEAD:
            raise WrongState(f"{full_id} is dead and will not run: delete it, or leave it to its retention", job_id=full_id)
        # unknown: an earlier sending has cancelled it, or the job has ended by itself before one arrived
        ended = await self._ask(self.store.find_ended, queue, job_id)
        if maybe_done if ended is None else ended.state is State.CANCELLED:
            return ActView(full_id, "cancelled")
        raise await self._no_such_act(full_id, "it can't be cancelled any more")

    async def delete(self, full_id: str, reason: str = "") -> ActView:
        """Take a job away without a trace; counted as removed.

        Raises:
            JobNotFound: no job of that id is kept.
            WrongState: it is active (cancel it) or ended (its record goes with its retention, or by a clean).
        """
        queue, job_id = split_id(full_id)
        why = clean_reason(reason) or "deleted by an operator"
        removal, maybe_done = await self._act(self.store.delete, queue, job_id, why)
        if removal is Removal.DONE:
            return ActView(full_id, "deleted")
        if removal is Removal.ACTIVE:
            raise WrongState(f"{full_id} is active: cancel it instead, its worker then ends it", job_id=full_id)
        if maybe_done and await self._ask(self.store.find_ended, queue, job_id) is None:
            return ActView(full_id, "deleted")  # by an earlier sending: had the job ended by itself, there would be a record
        raise await self._no_such_act(full_id, "its record goes with its retention, or by a clean")

    async def promote(self, full_id: str) -> ActView:
        """Make a scheduled or retrying job runnable now.

        Raises:
            JobNotFound: no job of that id is kept.
            WrongState: it waits for no time.
        """
        queue, job_id = split_id(full_id)
        done, maybe_done = await self._act(self.store.hasten, queue, job_id)
        if done or maybe_done:
            return ActView(full_id, "promoted")
        raise await self._no_such_act(full_id, "only a scheduled or retrying job can be promoted")

    async def requeue(self, full_id: str) -> ActView:
        """Give a dead job a fresh set of attempts, at the end of the line.

        Raises:
            JobNotFound: no job of that id is kept.
            WrongState: it is not dead, or can't be read and so never run.
        """
        queue, job_id = split_id(full_id)
        moved, maybe_done = await self._act(self.store.requeue, queue, [job_id])
        if moved or maybe_done:
            return ActView(full_id, "requeued")
        found = await self._ask(self.store.inspect, queue, job_id)
        if found.place is Place.DEAD:
            unreadable = f"{full_id} can't be read, so there is nothing to run: look at its bytes, then delete it"
            raise WrongState(unreadable, job_id=full_id)
        raise await self._no_such_act(full_id, "only a dead job can be requeued")

    async def pause(self, queue: str | None, reason: str = "", for_seconds: float | None = None) -> list[PauseView]:
        """Stop the claims of a queue (None: of all), until resumed or for a while. Active jobs go on.

        Of a queue that is paused already, a reason replaces the reason and the end that stand; without one the reason stands,
        and without a time the end does too. The answer says what holds now.

        Raises:
            UnknownQueue: no such queue.
            BadInput: a time of 0 or less.
        """
        if for_seconds is not None and for_seconds <= 0:
            raise BadInput(f"for={for_seconds:g} s is no time to pause for: more than 0, or leave it out to pause until resumed")
        for_ms = 0 if for_seconds is None else max(in_ms(for_seconds), 1)
        why = clean_reason(reason)
        views = []
        for name in await self._chosen(queue):
            changed, maybe_done = await self._act(self.store.pause, name, why, for_ms)
            pause = (await self.counts(name)).paused
            views.append(
                PauseView(
                    queue=name,
                    paused=True,
                    changed=changed or maybe_done,
                    reason=mask_text(pause.reason if pause else why) or None,
                    until=instant(pause.until_ms) if pause else None,
                )
            )
        return views

    async def resume(self, queue: str | None) -> list[PauseView]:
        """Let a queue (None: all) give out jobs again: its pause ends, a rate limit's gate opens. Raises UnknownQueue."""
        views = []
        for name in await self._chosen(queue):
            changed, maybe_done = await self._act(self.store.resume, name)
            views.append(PauseView(queue=name, paused=False, changed=changed or maybe_done))
        return views

    async def _no_such_act(self, full_id: str, way_out: str) -> JobError:
        """JobNotFound, or WrongState with the state it is in."""
        try:
            view = await self.job(full_id)
        except JobNotFound as error:
            return error
        return WrongState(f"{full_id} is {view.state.value}: {way_out}", job_id=full_id)


def clean_reason(reason: str) -> str:
    """A reason as it is kept: one line of readable text, cut."""
    text = reason.encode("utf-8", "replace").decode()
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:REASON_LIMIT]
