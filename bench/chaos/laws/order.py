"""Order: along an ordering key, recorded attempts follow one another, in the order in which the jobs became runnable.

Two clocks, used for what each is good at. Handlers against handlers: CLOCK_MONOTONIC, to the nanosecond. A handler's start
against the end that Redis recorded: wall clock, whole milliseconds, both rounded down, so that a start after an end never
looks earlier.
"""

from __future__ import annotations

import itertools

from ..story import NEVER, JobStory, Run, Story
from .found import Found

FOREVER = float("inf")
LATE_NS = 20_000_000
"""A worker's idea of the server's clock is this good. It only matters for a handler that outlived the settle of its attempt (it
would not stop when told): then the settle is the attempt's end."""


def in_order(story: Story, found: Found) -> None:
    """Jobs of one key start in the order in which they were acknowledged, each once its predecessor has ended for good;
    whoever is retrying or snoozed keeps the key. (A delayed job takes its place when its delay ends: it has a turn of its
    own, but no place in the order of acknowledgements.)"""
    for (queue, key), jobs in story.by_key().items():
        started = sorted((job for job in jobs if job.runs), key=lambda job: job.runs[0].start_ns)
        found.look(len(started))
        last_ms, last = 0.0, ""
        for job in started:
            start_ms = job.runs[0].start.ms
            if start_ms < last_ms:
                early = f"{last_ms - start_ms:.0f} ms before {last} had ended for good"
                when = early if last_ms < FOREVER else f"and {last} has not ended"
                found.against(job.job, f"key {key!r} of {queue}: it started {when}")
            end_ms = story.wall_ms(job.ended.ended_ms) if job.ended else FOREVER
            if end_ms > last_ms:
                last_ms, last = end_ms, job.job
        placed = [job for job in started if _has_a_place(job)]
        for before, after in itertools.pairwise(placed):
            if _number(after) < _number(before):
                what = f"key {key!r} of {queue}: number {_number(after)} started after number {_number(before)} of {before.job}"
                found.against(after.job, what)


def no_overlap(story: Story, found: Found) -> None:
    """Recorded attempts of one key never run at the same time, nor do those of one job."""
    for (queue, key), jobs in story.by_key().items():
        runs = [(run, job) for job in jobs for run in job.recorded]
        _apart(story, runs, f"key {key!r} of {queue}", found)
    for job in story.jobs.values():
        if not job.key and len(job.runs) > 1:
            _apart(story, [(run, job) for run in job.recorded], "the same job", found)


def never_early(story: Story, found: Found) -> None:
    """A delayed job does not start before its time. (Its producer's clock and its handler's are the machine's: a delay is a
    delay, wherever the server's clock is.)"""
    for job in story.jobs.values():
        due_ms = job.ask.due_ms if job.ask else 0
        if not due_ms:
            continue
        for run in job.runs:
            found.look()
            if run.start.ms < due_ms:
                found.against(job.job, f"it started {due_ms - run.start.ms} ms early")


def _apart(story: Story, runs: list[tuple[Run, JobStory]], whose: str, found: Found) -> None:
    runs.sort(key=lambda pair: pair[0].start_ns)
    found.look(len(runs))
    last_ns, last = 0, ""
    for run, job in runs:
        if run.start_ns < last_ns:
            found.against(job.job, f"{whose}: {run!r} started {(last_ns - run.start_ns) / 1e6:.3f} ms before {last} had ended")
        if (end_ns := end_of(story, run)) > last_ns:
            last_ns, last = end_ns, f"{job.job}, {run!r},"


def end_of(story: Story, run: Run) -> int:
    """When a recorded attempt ended: with its handler, or with its settle where the handler would not stop."""
    assert run.record is not None, "only recorded runs are asked for"
    settled_ns = story.ns(run.record.ended_ms) - LATE_NS
    if run.end_ns == NEVER:
        return max(settled_ns, run.told.mono_ns if run.told else run.start_ns)
    outlived = run.told is not None and run.end_ns > settled_ns + 2 * LATE_NS
    return min(run.end_ns, max(settled_ns, run.told.mono_ns)) if outlived and run.told else run.end_ns


def _has_a_place(job: JobStory) -> bool:
    """Its enqueue was acknowledged and not delayed, so it stands in its key's line by its number."""
    return job.ask is not None and not job.ask.due_ms and any(ack.n == job.ask.n for ack in job.acked)


def _number(job: JobStory) -> int:
    assert job.ask is not None, "only jobs with a place are asked for"
    return job.ask.n
