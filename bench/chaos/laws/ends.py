"""Ends: everything drains, ends as it was told to, and neither producers nor workers are left hanging or dying by themselves."""

from __future__ import annotations

from ..journal import Fault, Record
from ..kept import Kept, QueueData, pid_of
from ..story import ENDED, NEVER, JobStory, Story
from .executions import Cause, causes_of, crashes_itself, explains
from .found import Found

PATIENCE_MS = 1000
"""Beyond its deadline, what an enqueue call may take on a machine that is busy."""
HEARD_NS = 2_000_000_000
"""Running workers hear of a cancel within so long; a handler that starts later should not have."""
STALLED, UNDECODABLE = "stall limit", "undecodable"
FAILED = ("attempts used up", "discarded")
NOT_BEGUN = ("4", "69", "75")
"""Exit codes of a worker whose server refuses, is away, or does not answer while it starts."""
SLOW = "75"
"""Of them, the one of who got no answer in time: where each message takes 200 ms more, a start's dozen round trips take long."""
TERMINATED = "-15"
"""Stopped while it was still importing, before it could catch the signal: the lab stops what it has started."""
AFTER_MS = 5000
"""So long after a fault has ended, its refusals may still come: reconnecting takes its time."""


def drained(story: Story, found: Found) -> None:
    """With the faults off and the producers gone, everything ends within the bound, and nothing is owned any more."""
    settings = story.settings
    found.look()
    if not settings.liveness_mono_ns or not settings.drained_mono_ns:
        found.against("the run", "it was not drained" if settings.liveness_mono_ns else "it never came to draining")
    else:
        took_ms = (settings.drained_mono_ns - settings.liveness_mono_ns) / 1e6
        if took_ms > settings.bound_ms:
            found.against("the run", f"draining took {took_ms / 1000:.1f} s, over {settings.bound_ms / 1000:.1f} s")
    for data in story.evidence.queues.values():
        for kept in data.jobs:
            if kept.state not in ENDED:
                found.against(kept.job, f"it is still {kept.state}{_since(data, kept)}")


def _since(data: QueueData, kept: Kept) -> str:
    if kept.worker:
        return f" in the hands of {kept.worker}"
    return f" (key {kept.key}, held by {data.keys[kept.key].holder})" if kept.state == "blocked" and kept.key in data.keys else ""


def ended_as_told(story: Story, found: Found) -> None:
    """Each job ends as it was told to: poison, and only poison, is dead for its stalls; what can't be read is dead as such
    and its bytes are kept; who was told to fail for ever is dead with its attempts used up; a recorded cancel holds."""
    causes = causes_of(story)
    for job in story.jobs.values():
        ended = job.ended
        if ended is None or job.ask is None:
            continue
        found.look()
        is_ = f"{ended.state} ({ended.reason})" if ended.reason else ended.state
        match job.ask.want:
            case "stalled":
                limit = story.settings.queues[job.queue].stall_limit
                if ended.state != "dead" or ended.reason != STALLED:
                    found.against(job.job, f"it ends its worker whenever it runs, and it is {is_}")
                elif ended.stalls != limit + 1:
                    found.against(job.job, f"it is dead after {ended.stalls} stalls, the limit is {limit}")
            case "undecodable":
                if ended.state != "dead" or ended.reason != UNDECODABLE:
                    found.against(job.job, f"its payload does not fit, and it is {is_}")
                elif not ended.payload_bytes or (ended.n and ended.n != job.ask.n):
                    found.against(job.job, "its payload was not kept")
                if job.runs:
                    found.against(job.job, "its payload does not fit, and its handler was started")
            case "dead":
                if ended.state != "dead" or ended.reason not in FAILED:
                    found.against(job.job, f"it fails whenever it runs, and it is {is_}")
            case "cancelled":
                _cancelled(job, ended, is_, found)
            case _:
                if ended.state != "completed" and not _unlucky(story, job, ended, causes):
                    found.against(job.job, f"it was to be completed, and it is {is_}")


def _cancelled(job: JobStory, ended: Kept, is_: str, found: Found) -> None:
    if ended.state == "cancelled":
        if not job.cancel_asked:
            found.against(job.job, "it is cancelled, and nobody asked for that")
        return
    if ended.state != "completed":
        found.against(job.job, f"it was cancelled or late for it, and it is {is_}")
        return
    for answer in job.cancels:
        if answer.how == "cancelled":
            found.against(job.job, "the one who cancelled it was told that it is cancelled, and it is completed")
        elif answer.how == "requested" and job.recorded and job.recorded[-1].start_ns > answer.mono_ns + HEARD_NS:
            found.against(job.job, "its cancel was taken note of, and it was started after that and completed")


def _unlucky(story: Story, job: JobStory, ended: Kept, causes: list[Cause]) -> bool:
    """Dead for its stalls though no poison was near it: each lease was taken by an injected fault. That is the limit at its
    work."""
    if ended.state != "dead" or ended.reason != STALLED:
        return False
    injected = [cause for cause in causes if cause.is_injected and cause.loses_lease]
    for loss in ended.losses:
        pid, at_ns = pid_of(loss.worker), story.ns(loss.at_ms)
        from_ns = at_ns - 2 * story.lease_ns(job.queue, pid, at_ns)
        if not any(explains(cause, pid, from_ns, at_ns) for cause in injected):
            return False
    return True


def answered(story: Story, found: Found) -> None:
    """Every enqueue is answered within its deadline, and none is refused or left unknown without a fault of the server's."""
    limit_ms = story.settings.enqueue_timeout_ms + PATIENCE_MS
    killed = {pid for fault in story.faults for pid in fault.pids}
    for n, ask in story.asks.items():
        found.look()
        answers = story.answers.get(n, [])
        if not answers:
            if ask.pid not in killed:
                found.against(f"number {n}", f"its enqueue was never answered, and producer {ask.pid} was not killed")
            continue
        for answer in answers:
            if answer.took_ms > limit_ms:
                what = f"its enqueue took {answer.took_ms} ms, over its deadline of {story.settings.enqueue_timeout_ms} ms"
                found.against(f"number {n}", what)
            if answer.what in ("refused", "unknown") and not _had_reason(story, ask, answer):
                found.against(f"number {n}", f"its enqueue ended as {answer.what} ({answer.how}), and the server was there")


def _had_reason(story: Story, begun: Record, ended: Record) -> bool:
    """The server was away, or refused, at some time from then to then; for an unknown outcome any fault will do: a lost reply
    is one."""

    def covers(fault: Fault) -> bool:
        return (
            fault.begin_mono_ns <= ended.mono_ns
            and (fault.end_mono_ns or NEVER) + AFTER_MS * 1_000_000 >= begun.mono_ns
            and (ended.what == "unknown" or fault.server_away or fault.poor or (ended.how == SLOW and fault.kind == "delay"))
        )

    return any(covers(fault) for fault in story.faults)


def workers_live(story: Story, found: Found) -> None:
    """No worker process ends by itself: neither an outage nor a blocked loop is a crash. Who ends badly was struck by a
    fault, ran a job that ends its process, or never began since the server was away or refused it."""
    struck = {pid for fault in story.faults for pid in fault.pids}
    began = set()
    for job, run in story.runs():
        began.add(run.start.pid)
        if crashes_itself(story, job, run):
            struck.add(run.start.pid)
    for pid, gone in story.gone.items():
        found.look()
        if gone.how == "0" or pid in struck:
            continue
        if gone.how == TERMINATED and pid not in began:
            continue
        if gone.how in NOT_BEGUN and pid not in began and pid in story.live and _had_reason(story, story.live[pid], gone):
            continue
        found.against(f"worker {gone.worker or pid}", f"process {pid} ended by itself with {gone.how}")
