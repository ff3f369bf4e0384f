"""Plants, second part: violations in attempts and starts, in how jobs end, and in what producers and workers were told."""

from __future__ import annotations

import msgspec

from .ground import STRANGER, Ground, Plant, last, only, planter, shifted
from .journal import Fault
from .kept import Loss, Tried
from .story import Evidence, JobStory

PLANTS: dict[str, tuple[str, Plant]] = {}
plant = planter(PLANTS)
DAY_MS = 86_400_000


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
