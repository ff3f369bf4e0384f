"""Figures: what a run shows besides holding: how many of everything, how soon killed work ran again, how soon after an
outage, how long anything waited. Pure functions over a story; nothing here is a verdict.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

from .laws.executions import Cause, causes_of, crashes_itself, explains, extras_of, unexplained
from .laws.found import Found
from .story import NEVER, Story

SOON_NS = 2_000_000_000
"""What the server's return may take until something starts; who was there for less and left again is not judged."""


class Spread(msgspec.Struct, frozen=True):
    """Seconds of some things."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0


class Figures(msgspec.Struct, kw_only=True):
    """Of one run."""

    faults: dict[str, int]
    """Kind -> how many were injected."""
    asked: int
    acked: int
    unknown: int
    """Their first answer was that nobody knows."""
    refused: int
    jobs: int
    ended: dict[str, int]
    starts: int
    failures: int
    snoozes: int
    released: int
    """Given back by a worker that stopped."""
    crashes: int
    """Jobs that ended their own process."""
    extra: int
    """Starts that a fault must explain: their lease was lost, or their worker stopped."""
    explained: dict[str, int]
    """Kind of fault -> how many of those it explains."""
    settling: int
    """Of them, those whose handler had ended, its settle on the way: these take no entitlement."""
    entitled: int
    """As many as the faults may have cost at worst."""
    stalls: int
    """Leases lost, whether the handler had started or not."""
    late: int
    """Starts by a worker that did not know yet that the job's end was recorded."""
    recovery: Spread
    """From a fault that took a worker's leases to the next start of each job it was at, where nothing else was in the way."""
    recovery_disturbed: Spread
    """The same where the server was away, too, a worker had a longer lease, or a job was struck again before it started anew."""
    restart: Spread
    """From the server's answering again to the next start."""
    restart_during: str
    """The faults that were on in the longest of those."""
    lateness: Spread
    """A delayed job's start after its due time, where the server was there all the time."""
    longest_stall: float
    """The longest time in which jobs without a key could have run and nothing at all started, in seconds."""
    stall_during: str
    """The faults that were on then."""
    longest_enqueue: float
    drain: float
    """Seconds that draining took; 0 when it was not drained."""


def figures_of(story: Story) -> Figures:
    """All of them."""
    outcomes = Counter(run.record.outcome for _, run in story.runs() if run.record)
    answers = [found[0].what for found in story.answers.values() if found]
    causes = causes_of(story)
    extras = extras_of(story, Found())
    unexplained(extras, causes)
    explained = Counter[str]()
    for cause in causes:
        explained[cause.name.partition(" (")[0]] += len(cause.taken) + len(cause.settling)
    quick, slow = _recovery(story, causes)
    returns, stall = _returns(story), _longest_stall(story)
    settings = story.settings
    drain_ns = settings.drained_mono_ns - settings.liveness_mono_ns if settings.drained_mono_ns else 0
    return Figures(
        faults=dict(sorted(Counter(fault.kind for fault in story.faults).items())),
        asked=len(story.asks),
        acked=sum(any(answer.what == "acked" for answer in found) for found in story.answers.values()),
        unknown=answers.count("unknown"),
        refused=answers.count("refused"),
        jobs=len(story.jobs),
        ended=dict(sorted(Counter(job.ended.state for job in story.jobs.values() if job.ended).items())),
        starts=sum(len(job.runs) for job in story.jobs.values()),
        failures=outcomes["retry"] + outcomes["dead"],
        snoozes=outcomes["snooze"],
        released=outcomes["released"],
        crashes=sum(run.fate != "recorded" and crashes_itself(story, job, run) for job, run in story.runs()),
        extra=len(extras),
        explained={kind: count for kind, count in explained.most_common() if count},
        settling=sum(len(cause.settling) for cause in causes),
        entitled=sum(cause.room for cause in causes),
        stalls=sum(len(kept.losses) for job in story.jobs.values() for kept in job.kept),
        late=_late(story),
        recovery=spread(quick),
        recovery_disturbed=spread(slow),
        restart=spread((start_ns - end_ns) / 1e9 for end_ns, start_ns in returns),
        restart_during=_during(story, returns),
        lateness=spread(_lateness(story)),
        longest_stall=(stall[1] - stall[0]) / 1e9,
        stall_during=_during(story, [stall]),
        longest_enqueue=max((answer.took_ms for found in story.answers.values() for answer in found), default=0) / 1000,
        drain=drain_ns / 1e9,
    )


def spread(seconds: Iterable[float]) -> Spread:
    """Median, 99th percentile (the nearest rank) and the most.

    >>> spread([3.0, 1.0, 2.0])
    Spread(count=3, p50=2.0, p99=3.0, most=3.0)
    """
    found = sorted(seconds)
    if not found:
        return Spread()
    return Spread(len(found), found[(len(found) - 1) // 2], found[-(-99 * len(found) // 100) - 1], found[-1])


def _late(story: Story) -> int:
    return sum(run.start.ms > story.wall_ms(job.ended.ended_ms) for job in story.jobs.values() if job.ended for run in job.runs)


def _recovery(story: Story, causes: list[Cause]) -> tuple[list[float], list[float]]:
    """Seconds from each loss of a running job's worker to the job's next start: undisturbed, and disturbed."""
    away = [(fault.begin_mono_ns, fault.end_mono_ns or NEVER) for fault in story.faults if fault.server_away]
    quick: list[float] = []
    slow: list[float] = []
    for job in story.jobs.values():
        for run, after in itertools.pairwise(job.runs):
            if run.fate != "lost" or run.loss is None:
                continue
            lost_ns = story.ns(run.loss.at_ms)
            fit = [c for c in causes if c.loses_lease and explains(c, run.start.pid, run.start_ns, lost_ns)]
            struck = [cause.begin_ns for cause in fit if cause.begin_ns >= run.start_ns]
            if not struck or after.start_ns < struck[0]:
                continue
            seconds = (after.start_ns - struck[0]) / 1e9
            is_disturbed = any(begin < after.start_ns and end > struck[0] for begin, end in away)
            is_disturbed = is_disturbed or story.lease_ns(job.queue, run.start.pid, lost_ns) > story.declared_lease_ns(job.queue)
            is_disturbed = is_disturbed or len(job.kept[0].losses) > 1 if job.kept else True
            (slow if is_disturbed else quick).append(seconds)
    return quick, slow


def _returns(story: Story) -> list[tuple[int, int]]:
    """Each return of the server, all that kept it away being over, and the next start; or its next leave, where it left again
    before anything started. Then those are left out in which nobody had the time."""
    starts = sorted(run.start_ns for _, run in story.runs())
    away: list[tuple[int, int]] = []
    for fault in story.faults:  # in the order of their beginnings
        if not fault.server_away:
            continue
        end_ns = fault.end_mono_ns or NEVER
        if away and fault.begin_mono_ns <= away[-1][1]:
            away[-1] = (away[-1][0], max(end_ns, away[-1][1]))
        else:
            away.append((fault.begin_mono_ns, end_ns))
    found = []
    for (_, end_ns), (leave_ns, _) in itertools.pairwise([*away, (NEVER, NEVER)]):
        at = bisect_left(starts, end_ns)
        if at < len(starts) and starts[at] <= leave_ns:
            found.append((end_ns, starts[at]))
        elif leave_ns != NEVER and leave_ns - end_ns > SOON_NS:
            found.append((end_ns, leave_ns))
    return found


def _during(story: Story, spans: Iterable[tuple[int, int]]) -> str:
    """Which faults were on in the longest of these spans, and what jobs did to processes."""
    begin_ns, end_ns = max(spans, key=lambda span: span[1] - span[0], default=(0, 0))
    return ", ".join(f.kind for f in story.faults if f.begin_mono_ns < end_ns and (f.end_mono_ns or NEVER) >= begin_ns)


def _lateness(story: Story) -> list[float]:
    faults = [(fault.begin_mono_ns, fault.end_mono_ns or NEVER) for fault in story.faults]
    found = []
    for job in story.jobs.values():
        if not (job.ask and job.ask.due_ms and job.runs):
            continue
        start = job.runs[0].start
        due_ns = start.mono_ns - (start.ms - job.ask.due_ms) * 1_000_000
        if not any(begin < start.mono_ns and end > due_ns for begin, end in faults):
            found.append((start.ms - job.ask.due_ms) / 1000)
    return found


def _longest_stall(story: Story) -> tuple[int, int]:
    """Nothing starts, and yet a job without a key is acknowledged, due, and has not started."""
    moments: list[tuple[int, int]] = []
    for job in story.jobs.values():
        if job.key or not job.ask or not job.acked or not job.runs:
            continue
        since_ns = job.acked[0].mono_ns
        if job.ask.due_ms:
            since_ns = max(since_ns, int(job.runs[0].start_ns - (job.runs[0].start.ms - job.ask.due_ms) * 1e6))
        if since_ns < job.runs[0].start_ns:
            moments += [(since_ns, 1), (job.runs[0].start_ns, -1)]
    moments += [(run.start_ns, 0) for _, run in story.runs()]
    moments.sort()
    waiting, since_ns, longest = 0, 0, (0, 0)
    for at_ns, change in moments:
        if change <= 0:
            if waiting and at_ns - since_ns > longest[1] - longest[0]:
                longest = (since_ns, at_ns)
            since_ns = at_ns
        elif waiting == 0:
            since_ns = at_ns
        waiting += change
    return longest
