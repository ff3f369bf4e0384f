"""Self-test: violations planted in a run that was read; the law that is meant for each must see it. So nobody need believe that a
green table means that somebody looked. `python -m bench.chaos.check DIR --url URL --self-test` does it with your run.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .ground import MS, STRANGER, Ground, Nothing, last, only, shifted, swap
from .journal import Fault
from .kept import Kept, Line, Loss, Tried
from .laws import judge
from .story import Evidence, JobStory, Story

Plant = Callable[[Ground], Evidence]
PLANTS: dict[str, tuple[str, Plant]] = {}
"""What is planted -> the law that must see it, and how it is done."""
DAY_MS = 86_400_000


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One planted violation."""

    name: str
    law: str
    was_planted: bool
    """False: this run had nobody to plant it in."""
    broken: list[str]
    """The laws that found more than before."""

    @property
    def held(self) -> bool:
        """The law that is meant for it saw it."""
        return not self.was_planted or self.law in self.broken


def self_test(evidence: Evidence) -> list[Trial]:
    """Plant each, in a copy of its own, and judge."""
    before = {judged.law: judged.count for judged in judge(Story(evidence))}
    trials = []
    for name, (law, plant) in PLANTS.items():
        try:
            planted = plant(Ground(evidence))
        except Nothing:
            trials.append(Trial(name=name, law=law, was_planted=False, broken=[]))
            continue
        broken = [judged.law for judged in judge(Story(planted)) if judged.count > before[judged.law]]
        trials.append(Trial(name=name, law=law, was_planted=True, broken=broken))
    return trials


def plant(name: str, law: str) -> Callable[[Plant], Plant]:
    """Add a way to plant something."""

    def add(function: Plant) -> Plant:
        PLANTS[name] = (law, function)
        return function

    return add


# --- what Redis keeps --------------------------------------------------------------------------------------------------


@plant("the record of a completed job is gone", "nothing lost")
def _dropped(ground: Ground) -> Evidence:
    return ground.keeping(ground.victim())


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


# --- attempts and executions -------------------------------------------------------------------------------------------


@plant("an attempt's number jumps", "attempts honest")
def _jump(ground: Ground) -> Evidence:
    job = ground.victim()
    run, kept = job.runs[0], job.kept[0]
    changed = ground.recorded(
        lambda record: msgspec.structs.replace(record, attempt=2) if record in (run.start, run.end) else record
    )
    kept = msgspec.structs.replace(kept, history=(msgspec.structs.replace(last(kept), attempt=2),))
    return msgspec.structs.replace(changed, queues=ground.keeping(job, kept).queues)


@plant("a lost start had more attempts behind it than were recorded", "attempts honest")
def _ahead(ground: Ground) -> Evidence:
    start = ground.victim().runs[0].start
    return ground.recorded(lambda record: record, shifted(start, -1, pid=STRANGER, attempt=2))


@plant("a killed start has used up an attempt", "outcomes true")
def _charged(ground: Ground) -> Evidence:
    job = ground.victim()
    run, kept = job.runs[0], job.kept[0]
    assert run.end is not None, "plain jobs have ended"
    again = [shifted(run.start, 1, attempt=2), shifted(run.end, 1, attempt=2)]
    changed = ground.recorded(lambda record: None if record is run.end else record, *again)
    charged = msgspec.structs.replace(last(kept), outcome="retry", error="WorkerLost")
    kept = msgspec.structs.replace(kept, history=(charged, msgspec.structs.replace(last(kept), attempt=2)))
    return msgspec.structs.replace(changed, queues=ground.keeping(job, kept).queues)


@plant("a handler failed and its job is recorded as completed", "outcomes true")
def _lie(ground: Ground) -> Evidence:
    return ground.recorded(only(ground.victim().runs[0].end, how="failed"))


@plant("a start more than recorded ends, and no fault", "executions bounded")
def _extra(ground: Ground) -> Evidence:
    start = ground.victim().runs[0].start
    return ground.recorded(lambda record: record, shifted(start, -1, pid=STRANGER))


@plant("a start more than the faults entitle to", "executions bounded")
def _too_many(ground: Ground) -> Evidence:
    start = ground.victim().runs[0].start
    changed = ground.recorded(lambda record: record, *(shifted(start, -ms, pid=STRANGER) for ms in (1, 2)))
    stranger = Fault(i=-1, kind="kill", begin_mono_ns=start.mono_ns, pids=(STRANGER,), entitles=1, loses_lease=True)
    return ground.struck(changed, stranger)


@plant("a lease was lost, and no fault", "executions bounded")
def _lost_lease(ground: Ground) -> Evidence:
    job = ground.victim()
    loss = Loss(job.kept[0].ended_ms, f"host:{STRANGER}:abcdef")
    return ground.keeping(job, msgspec.structs.replace(job.kept[0], losses=(loss,)))


@plant("a job whose lease was lost ran beside another one", "suspects alone")
def _accompanied(ground: Ground) -> Evidence:
    job = ground.victim()
    start, end = job.runs[0].start, job.runs[0].end
    other = ground.victim(lambda one: one is not job and one.runs[0].start.pid == start.pid).runs[0]
    assert end is not None, "plain jobs have ended"
    lost = msgspec.structs.replace(job.kept[0], losses=(Loss(start.ms - 1, f"host:{STRANGER}:abcdef"),))
    times = {id(other.start): shifted(start, -1), id(other.end): shifted(end, 1)}
    changed = ground.recorded(
        lambda record: msgspec.structs.replace(record, mono_ns=at.mono_ns, ms=at.ms) if (at := times.get(id(record))) else record
    )
    return msgspec.structs.replace(changed, queues=ground.keeping(job, lost).queues)


@plant("something started that nobody asked for", "nothing invented")
def _nobody_asked(ground: Ground) -> Evidence:
    start = ground.victim().runs[0].start
    return ground.recorded(lambda record: record, shifted(start, 1, n=-1, job=f"{start.queue}/1-1"))


@plant("a job started again after its end was recorded", "nothing invented")
def _revenant(ground: Ground) -> Evidence:
    job = ground.victim()
    later_ms = job.kept[0].ended_ms - job.runs[0].start.ms + 1000
    return ground.recorded(lambda record: record, shifted(job.runs[0].start, later_ms, pid=STRANGER))


@plant("a handler ended that never started", "nothing invented")
def _stray_end(ground: Ground) -> Evidence:
    end = ground.victim().runs[0].end
    assert end is not None, "plain jobs have ended"
    return ground.recorded(lambda record: record, shifted(end, 1, pid=STRANGER))


@plant("a job started before it was asked for", "nothing invented")
def _foresight(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.recorded(only(job.ask, mono_ns=job.runs[0].start_ns + 1))


@plant("a job is recorded as completed and never started", "nothing invented")
def _never_started(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.recorded(lambda record: None if record in (job.runs[0].start, job.runs[0].end) else record)


@plant("a refused enqueue left a job behind", "nothing invented")
def _refused(ground: Ground) -> Evidence:
    job = ground.victim()
    return ground.recorded(only(job.acked[0], what="refused", job="", how="StoreUnreachable"))


# --- ends --------------------------------------------------------------------------------------------------------------


def _dead(ground: Ground, reason: str, losses: tuple[Loss, ...] = ()) -> Evidence:
    job = ground.victim()
    dead = msgspec.structs.replace(job.kept[0], state="dead", reason=reason, losses=losses, history=())
    return ground.keeping(job, dead)


@plant("an innocent is dead for its stalls", "ended as told")
def _innocent(ground: Ground) -> Evidence:
    now = ground.victim().kept[0].ended_ms
    return _dead(ground, "stall limit", tuple(Loss(now - ms, f"host:{STRANGER}:abcdef") for ms in range(4)))


@plant("a job of nothing but good is dead", "ended as told")
def _buried(ground: Ground) -> Evidence:
    return _dead(ground, "undecodable")


@plant("poison is completed", "ended as told")
def _tame(ground: Ground) -> Evidence:
    return ground.recorded(only(ground.victim().ask, want="stalled"))


@plant("a job whose payload does not fit was started", "ended as told")
def _readable(ground: Ground) -> Evidence:
    return ground.recorded(only(ground.victim().ask, want="undecodable"))


@plant("a job that fails for ever is completed", "ended as told")
def _healed(ground: Ground) -> Evidence:
    return ground.recorded(only(ground.victim().ask, want="dead"))


@plant("the bytes of an undecodable job are gone", "ended as told")
def _bytes(ground: Ground) -> Evidence:
    job = ground.any_job(lambda job: bool(job.kept and job.kept[0].reason == "undecodable"))
    return ground.keeping(job, msgspec.structs.replace(job.kept[0], payload_bytes=0))


@plant("a job whose cancel was acknowledged is completed", "ended as told")
def _survivor(ground: Ground) -> Evidence:
    def is_plain(job: JobStory) -> bool:
        return bool(job.cancels and job.cancels[-1].how == "cancelled" and job.kept and job.kept[0].state == "cancelled")

    job = ground.any_job(is_plain)
    kept = job.kept[0]
    done = Tried(1, kept.ended_ms, kept.ended_ms, "completed", "", "")
    return ground.keeping(job, msgspec.structs.replace(kept, state="completed", reason="", history=(done,)))


@plant("a job is cancelled and nobody asked for it", "ended as told")
def _unasked(ground: Ground) -> Evidence:
    ground.any_job(lambda job: job.cancel_asked and bool(job.kept) and job.kept[0].state == "cancelled")
    return ground.recorded(lambda record: None if record.what == "cancel_asked" else record)


@plant("a job was to be cancelled and is dead", "ended as told")
def _killed(ground: Ground) -> Evidence:
    job = ground.any_job(lambda job: job.cancel_asked and bool(job.kept) and job.kept[0].state == "cancelled")
    return ground.keeping(job, msgspec.structs.replace(job.kept[0], state="dead", reason="attempts used up"))


@plant("an enqueue was never answered", "answered")
def _unanswered(ground: Ground) -> Evidence:
    target = ground.victim().acked[0]
    return ground.recorded(lambda record: None if record is target else record)


@plant("an enqueue hung past its deadline", "answered")
def _hung(ground: Ground) -> Evidence:
    return ground.recorded(only(ground.victim().acked[0], took_ms=DAY_MS))


@plant("a worker died by itself", "workers live")
def _fell(ground: Ground) -> Evidence:
    return ground.recorded(lambda record: record, shifted(ground.victim().runs[0].start, 1, "gone", pid=STRANGER, how="-11"))
