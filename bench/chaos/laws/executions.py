"""Executions: a start that left no recorded end, or gave its attempt back to a stopping worker, needs a fault that explains
it; each fault explains so many and no more; and a lease is lost only where a fault took it. Without faults: exactly none.

A handler that had ended when its process was struck, its settle on the way, is explained by the fault and takes no entitlement:
those are for what ran. How long a settle may be on its way: two seconds, and as long as the server was away or refused.

What explains what: the fault struck that very process (or everybody), it had begun before the lease was found lost, and it
had not been over for longer than a lease takes to be found lost. A process that is dead stays struck. When several faults
fit, they share the starts among them so that none has more than it is entitled to, if that can be done at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..kept import pid_of
from ..story import NEVER, JobStory, Run, Story
from .found import Found

FOUND_NS = 10_000_000_000
"""Two leases and this long after a fault has ended, a lease may still be found lost: a lease and a half of grace after an
outage, the reclaimers' period, and reconnecting. Where workers' leases differ, the longest that has a say."""
SETTLE_NS = 2_000_000_000
"""A settle waits for the call before it, and is sent again when its answer was lost."""
SOON_NS = 100_000_000
"""What two looks at clocks may be apart."""


@dataclass(eq=False)
class Cause:
    """Something that takes leases, or stops handlers."""

    name: str
    begin_ns: int
    end_ns: int
    pids: frozenset[int]
    """Whom it struck; empty: everybody."""
    room: int
    """Starts it may cost."""
    loses_lease: bool
    is_injected: bool = True
    """False: a job ended its process."""
    taken: list[Run] = field(default_factory=list)
    settling: list[Run] = field(default_factory=list)
    """Starts it explains whose handler had ended before."""


@dataclass(frozen=True)
class Extra:
    """A start to be explained."""

    job: JobStory
    run: Run
    from_ns: int
    to_ns: int
    needs_loss: bool
    settling_ns: int = 0
    """Until when its settle may have been on its way; 0 when its handler came to no end."""


def executions_bounded(story: Story, found: Found) -> None:
    """Starts beyond 1 + failures + snoozes happen only where a fault covers them, and no fault covers more than it is
    entitled to."""
    causes = causes_of(story)
    found.look(sum(len(job.runs) for job in story.jobs.values()))
    extras = list(extras_of(story, found))
    for extra in unexplained(extras, causes):
        fit = [cause for cause in causes if _fits(extra, cause)]
        if fit:
            names = ", ".join(f"{cause.name} ({cause.room})" for cause in fit[:3])
            found.against(extra.job.job, f"{extra.run!r}: an extra start beyond what its faults are entitled to: {names}")
        else:
            found.against(extra.job.job, f"{extra.run!r}: an extra start, and no fault explains it")
    for job in story.jobs.values():
        for kept in job.kept:
            for loss in kept.losses:
                at_ns = story.ns(loss.at_ms)
                pid = pid_of(loss.worker)
                from_ns = at_ns - 2 * story.lease_ns(job.queue, pid, at_ns) - FOUND_NS
                if not any(cause.loses_lease and explains(cause, pid, from_ns, at_ns) for cause in causes):
                    found.against(job.job, f"its lease was taken from {loss.worker}, and no fault explains it")


def extras_of(story: Story, found: Found) -> list[Extra]:
    """Every start that needs an explanation. A job that ends its own process was told to: its own crashes need none, as long as
    they are no more than it was told."""
    extras = []
    troubles = [(f.begin_mono_ns, f.end_mono_ns or NEVER) for f in story.faults if f.server_away or f.poor]
    for job in story.jobs.values():
        crashed = 0
        for i, run in enumerate(job.runs):
            if run.fate == "open" or (run.fate == "recorded" and run.record and run.record.outcome != "released"):
                continue
            if crashes_itself(story, job, run):
                crashed += 1
                continue
            if run.fate == "recorded":
                extras.append(Extra(job, run, run.start_ns, run.end_ns, False))
                continue
            settling_ns = _settling_ns(run, troubles)
            lease_ns = story.lease_ns(job.queue, run.start.pid, run.start_ns)
            if run.loss is not None:
                to_ns = story.ns(run.loss.at_ms)
                from_ns = to_ns - 2 * story.lease_ns(job.queue, run.start.pid, to_ns) - FOUND_NS
                if run.start_ns > to_ns:  # its worker did not know yet: as long as the fault, and until it renews again
                    from_ns = max(from_ns, run.start_ns - lease_ns)
                extras.append(Extra(job, run, from_ns, to_ns, True, settling_ns))
            else:
                ended_ns = story.ns(job.ended.ended_ms) if job.ended else NEVER
                next_ns = job.runs[i + 1].start_ns if i + 1 < len(job.runs) else max(ended_ns, run.start_ns)
                extras.append(Extra(job, run, run.start_ns - lease_ns - FOUND_NS, next_ns, True, settling_ns))
        if job.ask and crashed > job.ask.crashes:
            found.against(job.job, f"it ended its process {crashed} times, told to {job.ask.crashes} times")
    return extras


def crashes_itself(story: Story, job: JobStory, run: Run) -> bool:
    """Its handler was told to end the process, and the process ended during it."""
    return bool(job.ask and job.ask.crashes) and run.end is None and run.start.pid in story.gone


def causes_of(story: Story) -> list[Cause]:
    """The faults, and the processes that a job has ended where the lab wrote no fault for it."""
    causes = [
        Cause(
            f"{fault.kind} (fault {fault.i})",
            fault.begin_mono_ns,
            fault.end_mono_ns or NEVER,
            frozenset(fault.pids),
            fault.entitles,
            fault.loses_lease,
        )
        for fault in story.faults
    ]
    struck = {pid for cause in causes if cause.loses_lease for pid in cause.pids}
    slots = sum(queue.concurrency for queue in story.settings.queues.values())
    for job, run in story.runs():
        if run.start.pid not in struck and crashes_itself(story, job, run):
            struck.add(run.start.pid)
            name = f"a job that ended its process ({job.job})"
            causes.append(Cause(name, run.start_ns, NEVER, frozenset({run.start.pid}), slots - 1, True, False))
    for cause in causes:  # the dead stay struck
        if any(pid in story.gone and story.gone[pid].mono_ns <= _later(cause.end_ns) for pid in cause.pids):
            cause.end_ns = NEVER
    return causes


def explains(cause: Cause, pid: int, from_ns: int, to_ns: int) -> bool:
    """It struck that process, between those instants."""
    return (not cause.pids or pid in cause.pids) and cause.begin_ns <= _later(to_ns) and cause.end_ns >= from_ns


def unexplained(extras: Sequence[Extra], causes: Sequence[Cause]) -> list[Extra]:
    """Share the starts among the causes; what no cause has room for. Exact: a start that found its causes full makes another one
    move to a cause of its own (augmenting paths)."""
    fits = [[cause for cause in causes if _fits(extra, cause)] for extra in extras]
    by_run = {id(extra.run): index for index, extra in enumerate(extras)}

    def place(index: int, tried: set[int]) -> bool:
        settling = next((cause for cause in fits[index] if _was_settling(extras[index], cause)), None)
        if settling is not None:
            settling.settling.append(extras[index].run)
            return True
        for cause in fits[index]:
            if id(cause) in tried:
                continue
            tried.add(id(cause))
            if len(cause.taken) < cause.room or _move_one(cause, tried):
                cause.taken.append(extras[index].run)
                return True
        return False

    def _move_one(cause: Cause, tried: set[int]) -> bool:
        for run in list(cause.taken):
            if place(by_run[id(run)], tried):
                cause.taken.remove(run)
                return True
        return False

    order = sorted(range(len(extras)), key=lambda index: len(fits[index]))
    return [extras[index] for index in order if not place(index, set())]


def _fits(extra: Extra, cause: Cause) -> bool:
    return (cause.loses_lease or not extra.needs_loss) and explains(cause, extra.run.start.pid, extra.from_ns, extra.to_ns)


def _settling_ns(run: Run, troubles: Sequence[tuple[int, int]]) -> int:
    """Its handler's end, and as long as a settle takes after it and after each trouble that came meanwhile."""
    if run.end is None:
        return 0
    until_ns = run.end_ns + SETTLE_NS
    for begin_ns, end_ns in troubles:  # in the order of their beginnings
        if begin_ns <= until_ns and end_ns > run.end_ns:
            until_ns = max(until_ns, _later(end_ns) + SETTLE_NS) if end_ns != NEVER else NEVER
    return until_ns


def _was_settling(extra: Extra, cause: Cause) -> bool:
    return extra.run.end_ns <= cause.begin_ns <= extra.settling_ns


def _later(ns: int) -> int:
    return ns if ns == NEVER else ns + SOON_NS
