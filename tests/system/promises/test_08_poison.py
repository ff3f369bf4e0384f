"""Promise 8, poison is contained: what kills workers, or can't be read, ends dead with what is known, and takes nothing along."""

from __future__ import annotations

import msgspec
import pytest

from engine import State
from engine.keys import prefix
from tests.support.worker_main import Script

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_twelve_poison_jobs_among_six_hundred_make_exactly_twelve_dead(crew: Crew) -> None:
    poison, jobs = 12, 600
    bad = set(range(7, jobs, jobs // poison))
    plans = [("kill" if n % 2 else "exit",) if n in bad else ("ok",) for n in range(jobs)]
    handles = await crew.add(*(Script(n=n, plan=plan, seconds=0.002) for n, plan in enumerate(plans)))
    died = await crew.keep(2, timeout=230)
    assert len(bad) == poison
    assert {handles[n].id for n in bad} == {f"{crew.queue}/{row.id}" for row in await rows(crew, State.DEAD)}
    assert died <= 4 * poison, "a poison job was started more often than its stall limit allows"
    for n in bad:  # three starts alone; before, it was started beside others, or only held when another one killed the worker
        assert len(crew.journal.starts(n)) in (3, 4)
    await assert_each_ended_once(crew, [handle.id for handle in handles])


async def test_a_buried_poison_job_tells_what_is_known(crew: Crew) -> None:
    job = await crew.job("kill")
    await crew.keep(1, timeout=30, stall_limit=1)
    (row,) = await rows(crew, State.DEAD)
    assert (f"{crew.queue}/{row.id}", row.name, row.attempt) == (job, "do", 1)
    assert row.envelope is not None
    assert row.envelope.stalls == 2
    killed = [member.pid for member in crew.members[:2]]
    assert [int(loss.worker.split(":")[1]) for loss in row.envelope.lost] == killed
    view = await crew.app.client.job(job)
    assert view.history
    assert [(one.outcome, one.attempt) for one in view.history] == [("stalled", 1), ("stalled", 1)]


async def test_a_suspect_runs_alone_in_its_process(crew: Crew) -> None:
    await crew.add(Script(n=0, plan=("kill", "ok"), seconds=0.3), *numbered(60, "ok", first=1, seconds=0.05))
    await crew.keep(1, timeout=30)
    alone = crew.journal.runs(0)[1]
    beside = [
        run
        for run in crew.journal.runs()
        if run.start.pid == alone.start.pid
        and run.start.n
        and run.start.mono < alone.end_mono
        and run.end_mono > alone.start.mono
    ]
    assert beside == []


GARBAGE = {
    "no envelope": (b"j", b"\xff\x00 not ours"),
    "empty": (b"j", b""),
    "another field": (b"payload", b"{}"),
    "a header without its body": (b"j", b"1;0;5;;3;0;ab"),
    "a body that is no msgpack": (b"j", b"1;0;5;;0;0;\xc1\xc1"),
}


async def _inject(crew: Crew, field: bytes, value: bytes) -> None:
    """What a foreign program might add to the queue's stream; counted, so that the law can be read."""
    await crew.store.link.call("XADD", prefix(crew.queue) + "ready:5", "*", field, value)
    await crew.store.link.call("HINCRBY", prefix(crew.queue) + "meta", "enqueued", 1)


async def test_entries_that_cant_be_read_end_dead_as_they_are_and_the_rest_goes_on(crew: Crew) -> None:
    await crew.add(*numbered(10))
    for field, value in GARBAGE.values():
        await _inject(crew, field, value)
    await crew.add(*numbered(10, first=10))
    worker = await crew.start()
    counts = await crew.all_ended()
    assert (counts.completed, counts.dead, counts.stalled) == (20, len(GARBAGE), 0)
    assert {row.raw or (row.envelope.body if row.envelope else b"") for row in await rows(crew, State.DEAD)} >= {
        b"\xff\x00 not ours",
        b"1;0;5;;3;0;ab",
    }
    assert worker.process.poll() is None


async def test_an_entry_of_a_later_version_that_says_more_runs_all_the_same(crew: Crew) -> None:
    """A rolling upgrade: what a later version adds at the end of a body is passed over, not taken for garbage."""
    payload = msgspec.msgpack.encode(Script(n=7, plan=("fail", "ok")))
    body = msgspec.msgpack.encode(("do", msgspec.Raw(payload), None, None, None, False, (), {"added": "later"}, 1))
    await _inject(crew, b"j", b"1;0;5;;0;0;" + body)
    await crew.start()
    counts = await crew.all_ended()
    assert (counts.completed, counts.dead) == (1, 0)
    assert [line.n for line in crew.journal.starts()] == [7, 7]


async def test_an_entry_that_cant_be_read_is_buried_also_when_its_worker_was_killed(crew: Crew) -> None:
    await crew.add(*numbered(1))
    await crew.start()
    await crew.all_ended()
    await crew.members[0].stop()
    for field, value in GARBAGE.values():
        await _inject(crew, field, value)
    doomed = await crew.start(die="claimed")
    assert await doomed.ended() == -9
    await crew.start()
    counts = await crew.all_ended()
    assert counts.dead == len(GARBAGE)


async def test_a_job_nobody_knows_waits_with_its_attempt_until_somebody_does(crew: Crew) -> None:
    ignorant = await crew.start(names=("thread",), attempts=1)
    job = await crew.job("ok", n=0)
    other = await crew.handlers["thread"].enqueue(Script(n=1))
    await crew.started(1)
    (unknown,) = await ignorant.noted("handler.unknown")
    assert (unknown["id"], unknown["name"]) == (job, "do")
    await crew.when(lambda c: c.scheduled == 1 and c.completed == 1)
    await crew.start(attempts=1)
    await ignorant.stop()
    await crew.app.client.promote(job)
    await crew.all_ended()
    assert [x.attempt for x in crew.journal.starts(0)] == [1]
    await assert_each_ended_once(crew, [job, other.id])


@pytest.mark.parametrize("act", ["sys.exit", "discard", "fail"])
async def test_a_handler_that_ends_badly_takes_neither_process_nor_slot_along(crew: Crew, act: str) -> None:
    worker = await crew.start(concurrency=1, attempts=1)
    handles = await crew.add(*numbered(5, act), *numbered(5, first=5))
    counts = await crew.all_ended()
    assert (counts.completed, counts.dead) == (5, 5)
    assert worker.process.poll() is None
    await assert_each_ended_once(crew, [handle.id for handle in handles])
