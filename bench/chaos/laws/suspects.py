"""Suspects: a job whose lease ran out is tried alone: if it was the job that killed its worker, it takes nobody along."""

from __future__ import annotations

from bisect import bisect_right

from ..story import JobStory, Run, Story
from .found import Found
from .order import end_of

NEAR_NS = 5_000_000
"""What two looks at clocks may be apart."""


def suspects_alone(story: Story, found: Found) -> None:
    """The first start of a job after its lease was lost is alone in its process: nothing whose end is recorded runs beside it."""
    beside: dict[int, list[tuple[int, int, JobStory, Run]]] = {}
    longest_ns: dict[int, int] = {}
    for job, run in story.runs():
        if run.fate == "recorded":
            pid, end_ns = run.start.pid, end_of(story, run)
            beside.setdefault(pid, []).append((run.start_ns, end_ns, job, run))
            longest_ns[pid] = max(longest_ns.get(pid, 0), end_ns - run.start_ns)
    for runs in beside.values():
        runs.sort(key=lambda one: one[0])
    for job in story.jobs.values():
        for run in _alone(story, job):
            found.look()
            pid = run.start.pid
            runs = beside.get(pid, [])
            at = bisect_right(runs, run.start_ns - longest_ns.get(pid, 0), key=lambda one: one[0])
            for start_ns, end_ns, other, _ in runs[at:]:
                if start_ns >= run.end_ns:
                    break
                if other is not job and end_ns > run.start_ns:
                    found.against(job.job, f"{run!r} was to be alone after its lease was lost, and {other.job} ran beside it")
                    break


def _alone(story: Story, job: JobStory) -> list[Run]:
    """The first start after each loss; not one of the worker that had lost it and did not know yet."""
    found: list[Run] = []
    for loss in (loss for kept in job.kept for loss in kept.losses):
        since_ns = story.ns(loss.at_ms) - NEAR_NS
        later = (run for run in job.runs if run.start_ns >= since_ns and (run.loss is None or run.loss.at_ms > loss.at_ms))
        run = next(later, None)
        if run is not None and run not in found:
            found.append(run)
    return found
