"""Settling: what `decide()` said -> one settle for the store, and the event to emit once the store has accepted it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..declared import HandlerSpec, QueueSpec
from ..errors import BadPayload, JobError
from ..events import Event, Events, JobCancelled, JobCompleted, JobDied, JobReleased, JobRetried, JobSnoozed
from ..job import AttemptRecord, Body, Job, encode_payload
from ..masking import mask_text
from ..outcome import MOST_REASON, Bury, Cancel, Complete, Next, Release, TryAgain, Wait
from ..store.claim import Claim
from ..store.settles import Settles
from .meter import Meter
from .report import dead_info, error_line

KEPT_HISTORY = 50
"""Attempts remembered in an envelope; a job that snoozes for weeks must not grow."""


class Settler:
    """Writes endings down for one queue. Every method adds exactly one settle for its claim."""

    def __init__(self, spec: QueueSpec, worker: str, events: Events, server_now_ms: Callable[[], int]) -> None:
        self._spec = spec
        self._worker = worker
        self._events = events
        self._now_ms = server_now_ms
        self._meters: dict[str, Meter] = {}

    def meter(self, name: str) -> Meter:
        """The meter of a handler."""
        found = self._meters.get(name)
        if found is None:
            found = self._meters[name] = Meter(name)
        return found

    def slowest_average(self) -> float | None:
        """Seconds a run takes on average, of the slowest handler; None before the first run."""
        known = [m.average_run for m in self._meters.values() if m.average_run is not None]
        return max(known, default=None)

    def pour(self, settles: Settles) -> None:
        """Move all counts into settles that are about to leave."""
        for meter in self._meters.values():
            meter.pour(settles)

    def settle(
        self, settles: Settles, claim: Claim, handler: HandlerSpec, job: Job, next_: Next, run_seconds: float
    ) -> Event | None:
        """Add the settle for an attempt that ran. Returns the event that is true once the settle was accepted."""
        now = self._now_ms()
        run_ms = int(run_seconds * 1000)
        wait_ms = max(now - run_ms - int(claim.entry.partition("-")[0]), 0)
        outcome = _OUTCOMES[type(next_)]
        if isinstance(next_, Complete):
            data = b""
            if next_.value is not None:
                try:
                    data = self._result(handler, next_.value)
                except BadPayload as error:  # it can't be kept, and trying again would do the work again
                    next_, outcome = Bury(error, "result can't be kept"), "dead"
        self.meter(job.name).observe(outcome, wait_ms, run_seconds)
        if isinstance(next_, Complete):
            settles.done.append((claim.id, job.name, job.attempt, now - run_ms, run_ms, *_past(claim)))
            if data or job.noted or claim.body.has_notes or claim.envelope.stalls:
                settles.complete_with(claim, data)
            else:
                settles.complete(claim)
            if self._events.wants(JobCompleted):
                return JobCompleted(**self._about(claim, job.name), attempt=job.attempt, wait_ms=wait_ms, run_ms=run_ms)
            return None
        return self._unfinished(settles, claim, job, next_, now - run_ms, now)

    def _unfinished(self, settles: Settles, claim: Claim, job: Job, next_: Next, started: int, now: int) -> Event:
        about = self._about(claim, job.name)
        match next_:
            case TryAgain(delay_ms, error):
                body = self._with_record(claim, job, started, now, "retry", error_line(error))
                settles.retry(claim, delay_ms, error_line(error), claim.repacked(attempt=job.attempt + 1, body=body))
                return JobRetried(**about, attempt=job.attempt, delay_ms=delay_ms, error=error_line(error))
            case Wait(delay_ms, reason):
                reason = mask_text(reason)[:MOST_REASON]
                body = self._with_record(claim, job, started, now, "snooze", reason)
                settles.snooze(claim, delay_ms, claim.repacked(body=body))
                return JobSnoozed(**about, attempt=job.attempt, delay_ms=delay_ms, reason=reason)
            case Release(pause):
                body = self._with_record(claim, job, started, now, "released", mask_text(pause or "worker stopped")[:MOST_REASON])
                settles.release(claim, claim.repacked(body=body))
                return JobReleased(**about, attempt=job.attempt)
            case Cancel(reason):
                settles.cancel(claim, reason, claim.repacked())
                return JobCancelled(**about, reason=reason)
            case Bury(error, reason):
                body = self._with_record(claim, job, started, now, "dead", error_line(error))
                self._bury(settles, claim, error, reason, body, job.organization_id)
                return JobDied(**about, attempt=job.attempt, reason=reason, error=error_line(error))
            case Complete():
                raise AssertionError("a completion is no unfinished attempt")

    def bury_unread(self, settles: Settles, claim: Claim, error: JobError | BadPayload, name: str) -> Event:
        """Add the settle of a job that can't be run as it is (its payload doesn't fit): dead, no attempt used."""
        self._bury(settles, claim, error, "undecodable", None, None)
        return JobDied(**self._about(claim, name), attempt=claim.envelope.attempt, reason="undecodable", error=error_line(error))

    def drop(self, settles: Settles, claim: Claim, reason: str) -> Event:
        """Add the settle of a job that ends before it started: cancelled in time, or too late to start."""
        settles.cancel(claim, reason, claim.repacked())
        return JobCancelled(**self._about(claim, claim.name), reason=reason)

    def postpone(self, settles: Settles, claim: Claim, delay_ms: int) -> None:
        """Add a snooze for a job this process can't run (nobody here knows its name)."""
        settles.snooze(claim, delay_ms, claim.repacked())

    def release(self, settles: Settles, claim: Claim) -> Event:
        """Add the settle of a job that was never started here."""
        settles.release(claim, claim.repacked())
        return JobReleased(**self._about(claim, claim.name), attempt=claim.envelope.attempt)

    def _bury(
        self, settles: Settles, claim: Claim, error: BaseException, reason: str, body: Body | None, organization_id: str | None
    ) -> None:
        info, print_ = dead_info(
            error,
            reason=reason,
            history=body.history if body else (),
            worker=self._worker,
            organization_id=organization_id,
            now_ms=self._now_ms(),
        )
        settles.bury(claim, info, print_, reason, claim.repacked(body=body))

    def _about(self, claim: Claim, name: str) -> dict[str, Any]:
        return {"queue": self._spec.name, "id": claim.full_id, "name": name, "at_ms": self._now_ms()}

    def _with_record(self, claim: Claim, job: Job, started: int, ended: int, outcome: str, error: str) -> Body:
        old = claim.body
        record = AttemptRecord(job.attempt, started, ended, outcome, error, self._worker)
        history = (*old.history, record)[-KEPT_HISTORY:]
        noted = old.has_notes or job.noted
        return Body(old.name, old.payload, old.attempts, old.timeout, old.expires_after_ms, noted, history)

    def _result(self, handler: HandlerSpec, value: object) -> bytes:
        data = encode_payload(value)
        if len(data) > self._spec.max_payload:
            raise BadPayload(f"result of {handler.name!r} is {len(data)} bytes, at most {self._spec.max_payload} are kept")
        return data


def _past(claim: Claim) -> tuple[Any, ...]:
    """What a done record has besides, of a job that was re-added: its entry, and what happened before this attempt."""
    if not claim.moved_id:
        return ()
    stalls = [AttemptRecord(claim.envelope.attempt, 0, loss.at_ms, "stalled", "", loss.worker) for loss in claim.envelope.lost]
    return (claim.entry, (*claim.body.history, *stalls)) if claim.body.history or stalls else (claim.entry,)


_OUTCOMES: dict[type, str] = {
    Complete: "completed",
    TryAgain: "retried",
    Wait: "snoozed",
    Release: "released",
    Cancel: "cancelled",
    Bury: "dead",
}
