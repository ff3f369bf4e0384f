"""The application that is soaked: a queue of each temper, with retentions short enough that an hour shows whether they hold.

`engine --app bench.soak.app:engine run` works it; `bench.soak.feed` enqueues to it.
"""

from __future__ import annotations

import time

import msgspec

from engine import Discard, Engine, Fixed, Job, Retry, Snooze

RETENTION = "30s"

engine = Engine()
messages = engine.queue(
    "soak-messages",
    priority=1,
    backoff=Fixed(0.5),
    keep_completed_for=RETENTION,
    keep_dead_for=RETENTION,
    keep_results_for=RETENTION,
    dedup_window=RETENTION,
)
campaigns = engine.queue(
    "soak-campaigns",
    backoff=Fixed(0.5),
    keep_completed_for=RETENTION,
    keep_dead_for=RETENTION,
    keep_results_for=RETENTION,
    dedup_window=RETENTION,
)


class Work(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job: how it ends, how long it lasts, and some text to carry."""

    number: int
    how: str = "ok"
    seconds: float = 0.0
    person: str = ""
    text: str = "x" * 200


async def act(work: Work, job: Job) -> int | None:
    """End as the job says: at its first attempt badly, at its second well."""
    if work.seconds:
        await engine.clock.sleep(work.seconds)
    if work.how == "noted":
        await job.progress(work.number % 10, 10)
        job.log(f"number {work.number}")
        await job.step("counted", lambda: work.number)
    elif work.how == "failed" and job.attempt == 1:
        raise OSError(f"the first attempt of {work.number} fails")
    elif work.how == "retried" and job.attempt == 1:
        raise Retry(after=0.5)
    elif work.how == "snoozed" and engine.clock.now_ms() - job.enqueued_at_ms < 500:  # by and by it is older than that
        raise Snooze(after=0.5)
    elif work.how == "dead":
        raise Discard("meant to be")
    return work.number if work.how == "result" else None


@messages.handler("message", ordering_key=lambda work: work.person or None)
async def message(work: Work, job: Job) -> int | None:
    """Ordered by person where there is one."""
    return await act(work, job)


@campaigns.handler("campaign")
async def campaign(work: Work, job: Job) -> int | None:
    """No order."""
    return await act(work, job)


@campaigns.handler("plain")
def plain(work: Work, job: Job) -> None:
    """In a thread."""
    time.sleep(work.seconds)  # noqa: TID251  # a thread of its own, no loop stands still
