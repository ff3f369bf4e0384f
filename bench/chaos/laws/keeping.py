"""Keeping: nothing lost, nothing recorded twice, nothing invented, every count right."""

from __future__ import annotations

from collections import Counter

from ..kept import Kept
from ..story import JobStory, Story
from .found import Found

LIVE = ("waiting", "active", "scheduled", "retrying", "blocked")


def nothing_lost(story: Story, found: Found) -> None:
    """Every job that was acknowledged, or that ran, is somewhere."""
    for job in story.jobs.values():
        if not job.acked and not job.runs:
            continue  # only Redis knows it: see nothing_invented
        found.look()
        if not job.kept:
            how = f"acknowledged as number {job.acked[0].n}" if job.acked else f"started in process {job.runs[0].start.pid}"
            found.against(job.job, f"{how}, and Redis has it nowhere")
    for ack in story.unplaced:
        found.look()
        found.against(f"number {ack.n}", "a bulk enqueue counted it among those that are in, and no job bears the number")


def settled_once(story: Story, found: Found) -> None:
    """A job is in one state, its end is recorded once, each of its attempts fails once, and what was counted is what is there."""
    for job in story.jobs.values():
        found.look()
        if len(job.kept) > 1:
            found.against(job.job, "is kept more than once: " + ", ".join(_place(kept) for kept in job.kept))
        consumed = Counter(t.attempt for kept in job.kept for t in kept.history if t.outcome in ("retry", "dead", "completed"))
        for attempt, times in consumed.items():
            if times > len(job.kept):
                found.against(job.job, f"attempt {attempt} has {times} recorded outcomes")
    for data in story.evidence.queues.values():
        found.look(3)
        states = Counter(kept.state for kept in data.jobs)
        completed, listed = data.number("completed"), states["completed"]
        if not completed == data.counted == listed:
            found.against(data.name, f"{listed} records of completed jobs, {data.counted} by their numbers, {completed} counted")
        if data.number("cancelled") != states["cancelled"]:
            found.against(data.name, f"{states['cancelled']} records of cancelled jobs, {data.number('cancelled')} counted")
        died = data.number("died") - data.number("requeued")
        if not data.number("removed") and died != states["dead"]:
            found.against(data.name, f"{states['dead']} dead jobs, {died} by the counters")


def conserved(story: Story, found: Found) -> None:
    """enqueued = waiting + active + scheduled + retrying + blocked + completed + dead + cancelled + removed: by the walk and
    by the counters, and as many different jobs as that."""
    for data in story.evidence.queues.values():
        found.look()
        states = Counter(kept.state for kept in data.jobs)
        owned = sum(states[state] for state in LIVE) + states["dead"]
        enqueued, removed = data.number("enqueued"), data.number("removed")
        counted = owned + data.number("completed") + data.number("cancelled") + removed
        walked = sum(states.values()) + removed
        different = len({kept.id for kept in data.jobs}) + removed
        if not enqueued == counted == walked == different:
            ways = f"{counted} by counters, {walked} by what is kept, {different} different jobs"
            found.against(data.name, f"{enqueued} enqueued; {ways} ({_counts(states)})")


def enqueued_once(story: Story, found: Found) -> None:
    """One number, one job: however often an enqueue was sent, and whatever became of its answer."""
    jobs: dict[int, set[str]] = {}
    for job in story.jobs.values():
        for n in job.numbers:
            jobs.setdefault(n, set()).add(job.job)
        numbers = job.numbers
        if len(numbers) > 1:
            found.against(job.job, f"bears the numbers {sorted(numbers)}")
        for ack in job.acked:
            if not ack.dedup:
                jobs.setdefault(ack.n, set()).add(job.job)
    for n, ids in jobs.items():
        found.look()
        if len(ids) > 1:
            found.against(min(ids), f"number {n} was enqueued more than once: {', '.join(sorted(ids))}")


def deduplicated(story: Story, found: Found) -> None:
    """Enqueues with one dedup key (and no window that ends within the run) make one job, and all of them are told its id."""
    jobs: dict[tuple[str, str], set[str]] = {}
    fresh: Counter[tuple[str, str]] = Counter()
    for ask in story.asks.values():
        if ask.dedup:
            jobs.setdefault((ask.queue, ask.dedup), set())
    for job in story.jobs.values():
        for ack in job.acked:
            if ack.dedup:
                jobs.setdefault((ack.queue, ack.dedup), set()).add(job.job)
                fresh[ack.queue, ack.dedup] += ack.how == "new"
        if job.ask and job.ask.dedup and job.kept:
            jobs[job.ask.queue, job.ask.dedup].add(job.job)
    for (queue, dedup), ids in jobs.items():
        found.look()
        if len(ids) > 1:
            found.against(f"{queue} dedup key {dedup}", f"has several jobs: {', '.join(sorted(ids))}")
        if fresh[queue, dedup] > 1:
            found.against(f"{queue} dedup key {dedup}", f"{fresh[queue, dedup]} enqueues were told that theirs is the first")


def nothing_invented(story: Story, found: Found) -> None:
    """What ran was asked for, and not before; what is recorded ran; nothing is there that nobody asked for; a refused enqueue
    left nothing behind; nothing starts once its end is recorded, but by a worker that could not know (see `executions`)."""
    for job in story.jobs.values():
        found.look()
        _asked_for(story, job, found)
        for tried in job.unseen:
            what = f"attempt {tried.attempt} of {tried.worker}"
            found.against(job.job, f"{what} is recorded as {tried.outcome}, and no such start is written down")
        ended = job.ended
        if ended is not None:
            _after_the_end(story, job, ended, found)
    for end in story.stray_ends:
        found.against(end.job, f"process {end.pid} ended attempt {end.attempt}, which it never started")


def _asked_for(story: Story, job: JobStory, found: Found) -> None:
    if job.ask is None:
        found.against(job.job, f"nobody asked for it (numbers: {sorted(job.numbers) or 'none'})")
        return
    if job.runs and job.runs[0].start_ns < job.ask.mono_ns:
        found.against(job.job, "it started before it was asked for")
    answers = story.answers.get(job.ask.n, [])
    if answers and all(answer.what == "refused" for answer in answers):
        found.against(job.job, f"its enqueue was refused ({answers[0].how}), and it is there")


def _after_the_end(story: Story, job: JobStory, ended: Kept, found: Found) -> None:
    if ended.state == "completed" and not job.runs:
        found.against(job.job, "it is recorded as completed, and never started")
    end_ms = story.wall_ms(ended.ended_ms)
    for run in job.runs:
        # `lost` ones are judged by `executions`: only a worker that a fault struck may be late
        if run.start.ms > end_ms and run.fate != "lost":
            found.against(job.job, f"{run!r} started {run.start.ms - end_ms:.0f} ms after its end as {ended.state} was recorded")


def _place(kept: Kept) -> str:
    return f"{kept.state} ({kept.entry or kept.place or 'its sorted set'})"


def _counts(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
