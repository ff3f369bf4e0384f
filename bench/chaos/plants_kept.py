"""Plants, first part: violations in what Redis keeps, in the order of a key, and in time."""

from __future__ import annotations

import msgspec

from .ground import MS, Ground, Nothing, Plant, last, only, planter, shifted, swap
from .journal import Record
from .kept import Kept, Line
from .story import Evidence

PLANTS: dict[str, tuple[str, Plant]] = {}
plant = planter(PLANTS)


# --- what Redis keeps --------------------------------------------------------------------------------------------------


@plant("the record of a completed job is gone", "nothing lost")
def _dropped(ground: Ground) -> Evidence:
    return ground.keeping(ground.victim())


@plant("a job that a bulk enqueue counted as in is nowhere", "nothing lost")
def _uncounted(ground: Ground) -> Evidence:
    job = ground.victim()
    gone = {id(record) for run in job.runs for record in (run.start, run.end)}
    ack = job.acked[0]

    def change(record: Record) -> Record | None:
        if record is ack:
            return msgspec.structs.replace(record, job="", how="counted")
        return None if id(record) in gone else record

    return msgspec.structs.replace(ground.recorded(change), queues=ground.keeping(job).queues)


@plant("a job is recorded as completed twice", "settled once")
def _twice(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.keeping(job, job.kept[0], job.kept[0])


@plant("a completed job is dead as well", "settled once")
def _dead_too(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.keeping(job, job.kept[0], msgspec.structs.replace(job.kept[0], state="dead", reason="attempts used up"))


@plant("an attempt has two recorded failures", "settled once")
def _failed_twice(ground: Ground) -> Evidence:
    job = ground.any_job(lambda job: any(tried.outcome == "retry" for kept in job.kept for tried in kept.history))
    kept = job.kept[0]
    failed = next(tried for tried in kept.history if tried.outcome == "retry")
    return ground.keeping(job, msgspec.structs.replace(kept, history=(failed, *kept.history)))


@plant("the counter of completed jobs is one too low", "settled once")
def _miscounted(ground: Ground) -> Evidence:
    return ground.counted(ground.victim().queue, "completed", -1)


@plant("one more was enqueued than is anywhere", "conserved")
def _enqueued_more(ground: Ground) -> Evidence:
    return ground.counted(ground.victim().queue, "enqueued", 1)


@plant("a number became two jobs", "enqueued once")
def _two_jobs(ground: Ground) -> Evidence:
    job = ground.victim()
    other = f"{job.queue}/{job.kept[0].id}1"
    ran = [shifted(record, 1, job=other) for record in (job.runs[0].start, job.runs[0].end) if record is not None]
    return ground.recorded(lambda record: record, *ran)


@plant("a duplicate was told another job", "deduplicated")
def _another_first(ground: Ground) -> Evidence:
    answers = (answer for found in ground.story.answers.values() for answer in found if answer.how == "duplicate")
    answer = next(answers, None)
    if answer is None:
        raise Nothing
    return ground.recorded(only(answer, job=ground.victim(lambda job: job.job != answer.job).job))


@plant("two enqueues of one dedup key were told that they are the first", "deduplicated")
def _two_firsts(ground: Ground) -> Evidence:
    return ground.recorded(lambda record: msgspec.structs.replace(record, how="new") if record.how == "duplicate" else record)


@plant("a job ran under two numbers", "enqueued once")
def _two_numbers(ground: Ground) -> Evidence:
    job = ground.any_job(lambda job: len(job.runs) > 1)
    return ground.recorded(only(job.runs[-1].start, n=-1))


@plant("a key is held by a job that has ended", "structures agree")
def _wedged(ground: Ground) -> Evidence:
    job = ground.victim(lambda job: bool(job.key))
    held = {**ground.evidence.queues[job.queue].keys, job.key: Line(holder=job.kept[0].id)}
    return ground.queue(job.queue, keys=held)


@plant("`where` has a job that is nowhere", "structures agree")
def _nowhere(ground: Ground) -> Evidence:
    name = ground.victim().queue
    return ground.queue(name, where={**ground.evidence.queues[name].where, "1-1": "t"})


@plant("an entry was given out and is nobody's", "structures agree")
def _nobodys(ground: Ground) -> Evidence:
    job = ground.victim()
    stream = next((one for one in ground.evidence.queues[job.queue].streams if one.delivered != "0-0"), None)
    if stream is None:
        raise Nothing
    left = Kept(queue=job.queue, id=job.kept[0].id, state="waiting", entry=stream.delivered, tag=stream.tag)
    return ground.keeping(job, job.kept[0], left)


@plant("a job is left behind", "drained")
def _left(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.keeping(job, Kept(queue=job.queue, id=job.kept[0].id, state="waiting", entry=job.kept[0].id, tag="5"))


@plant("it was never drained", "drained")
def _undrained(ground: Ground) -> Evidence:
    return ground.set_otherwise(drained_mono_ns=0)


@plant("draining took longer than its bound", "drained")
def _slow(ground: Ground) -> Evidence:
    settings = ground.evidence.settings
    if not settings.drained_mono_ns:
        raise Nothing
    return ground.set_otherwise(drained_mono_ns=settings.liveness_mono_ns + (settings.bound_ms + 1) * MS)


# --- order and time ----------------------------------------------------------------------------------------------------


@plant("two jobs of a key ran in each other's place", "in order")
def _overtaken(ground: Ground) -> Evidence:
    a, b = ground.neighbours()
    changed = ground.recorded(swap(a.runs[0], b.runs[0]))
    data = ground.evidence.queues[a.queue]
    times = {id(a.kept[0]): b.kept[0], id(b.kept[0]): a.kept[0]}

    def turned(kept: Kept) -> Kept:
        other = times.get(id(kept))
        if other is None:
            return kept
        history = (msgspec.structs.replace(last(kept), started_ms=last(other).started_ms, ended_ms=last(other).ended_ms),)
        return msgspec.structs.replace(kept, ended_ms=other.ended_ms, history=history)

    turned_data = msgspec.structs.replace(data, jobs=[turned(kept) for kept in data.jobs])
    return msgspec.structs.replace(changed, queues={**changed.queues, a.queue: turned_data})


@plant("a key was passed on before its holder had ended", "in order")
def _passed_on(ground: Ground) -> Evidence:
    a, b = ground.neighbours()
    return ground.keeping(a, msgspec.structs.replace(a.kept[0], ended_ms=b.runs[0].start.ms + 50))


@plant("two recorded attempts of a key overlap", "no overlap")
def _overlap(ground: Ground) -> Evidence:
    a, b = ground.neighbours()
    late_ms = (b.runs[0].start_ns - a.runs[0].end_ns) // MS + 2
    assert a.runs[0].end is not None, "plain jobs have ended"
    until = shifted(a.runs[0].end, late_ms)
    return ground.recorded(only(a.runs[0].end, mono_ns=until.mono_ns, ms=until.ms))


@plant("a delayed job started early", "never early")
def _early(ground: Ground) -> Evidence:
    job = ground.any_job(lambda job: bool(job.ask and job.ask.due_ms and job.runs))
    assert job.ask is not None, "it was asked"
    start = job.runs[0].start
    early = shifted(start, job.ask.due_ms - start.ms - 1)
    return ground.recorded(only(start, mono_ns=early.mono_ns, ms=early.ms))
