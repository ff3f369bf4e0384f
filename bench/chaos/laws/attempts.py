"""Attempts: an attempt is used up by a failure and by nothing else, and what is recorded is what the handler said."""

from __future__ import annotations

from ..kept import Kept, Tried
from ..story import JobStory, Story
from .found import Found

TIMED_OUT = "AttemptTimeout"
"""How the history names an attempt that ran into its timeout: its handler was told to stop, and said nothing of failing."""
SAID: dict[str, tuple[str, ...]] = {
    "completed": ("ok",),
    "retry": ("failed",),
    "dead": ("failed",),
    "snooze": ("snoozed", "failed"),
    "released": ("cancelled", "ok", "failed", "snoozed"),
    "cancelled": ("cancelled", "failed", "snoozed"),
}
"""Recorded outcome -> what its handler may have said. A snooze may be one's own trouble with the server, which the handler
took for a failure. A worker that stops tells its handlers, and takes whatever they then raise for their way of stopping."""


def attempts_honest(story: Story, found: Found) -> None:
    """The first attempt is 1; the next is one more after a recorded failure, the same after anything else; never over
    `attempts`."""
    for job in story.jobs.values():
        if not job.runs:
            continue
        found.look(len(job.runs))
        queue = story.settings.queues.get(job.queue)
        most = queue.attempts if queue else 1 << 30
        expected, failures = 1, 0
        for run in job.runs:
            attempt = run.start.attempt
            if attempt > most:
                found.against(job.job, f"{run!r}: attempt {attempt} of {most}")
            if run.fate == "recorded" and run.record is not None:
                if attempt != expected:
                    found.against(job.job, f"{run!r}: after {failures} recorded failures its attempt is {expected}")
                if run.record.outcome == "retry":
                    failures += 1
                    expected = attempt + 1
                else:
                    expected = attempt
            elif attempt > expected:
                found.against(job.job, f"{run!r}: only {failures} failures were recorded before")
        _as_told(job, failures, most, found)


def outcomes_true(story: Story, found: Found) -> None:
    """The recorded outcome of an attempt is what its handler said: completed only when it returned, failed only when it
    failed."""
    for job, run in story.runs():
        if run.record is None:
            continue
        found.look()
        said = run.end.how if run.end else "nothing"
        if said in SAID.get(run.record.outcome, ()):
            continue
        if run.record.outcome in ("retry", "dead") and _timed_out(run.record):
            continue
        if run.record.outcome == "cancelled" and said == "nothing" and run.told:
            continue  # it would not stop, and was settled without it
        found.against(job.job, f"{run!r}: its handler said {said}, recorded is {_words(run.record)}")


def _as_told(job: JobStory, failures: int, most: int, found: Found) -> None:
    """The handler was told how often to fail: so many failures are recorded, neither more nor fewer."""
    ended = job.ended
    if ended is None or job.ask is None:
        return
    if ended.state == "completed" and job.ask.want == "completed" and failures != job.ask.fails:
        found.against(job.job, f"it was told to fail {job.ask.fails} times, {failures} failures are recorded")
    if ended.state == "dead" and ended.reason == "attempts used up":
        used = failures + _ended_dead(ended)
        if used != most:
            found.against(job.job, f"it is dead with its attempts used up after {used} failures of {most}")


def _ended_dead(ended: Kept) -> int:
    return sum(tried.outcome == "dead" for tried in ended.history)


def _timed_out(tried: Tried) -> bool:
    return tried.error.startswith(TIMED_OUT)


def _words(tried: Tried) -> str:
    return f"{tried.outcome} ({tried.error})" if tried.error else tried.outcome
