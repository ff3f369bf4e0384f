"""Comparing: the model and what was seen must say the same, name by name; then the model learns what only the server knows.

Also what no single look can tell: an entry id never comes back to a job, and who sleeps is rung when something became runnable.
"""

from __future__ import annotations

from collections import Counter

from engine.job import State

from .memory.jobs import ModelJob, rank
from .memory.operators import QueueModel
from .seen import Form, Seen


def form_of(model: QueueModel) -> Form:
    """The model in the words of `seen`."""
    return {
        "tags": "".join(sorted(model.ready, key=rank)),
        "ready": {tag: [(j.id, j.owner, j.envelope) for j in jobs] for tag, jobs in model.ready.items() if jobs},
        "blocked": [(j.id, j.envelope) for j in model.blocked],
        "lines": {key: [j.id for j in line] for key, line in model.lines.items()},
        **{s.value: sorted(_timed(j) for j in model.timed(s)) for s in (State.SCHEDULED, State.RETRYING)},
        "dead": [(j.id, j.envelope, j.epitaph) for j in model.dead],
        "done": [(sorted(record.ids), record.why) for record in model.done],
        "settled": model.settled,
        "control": model.control,
        "flags": sorted([f"c{i}" for i in model.cancel_asked] + [f"w{i}" for i in model.awaited]),
        "noted": model.noted,
        "notes": {job_id: notes for job_id, notes in model.notes.items() if notes},
        "metrics": dict(+model.metrics),
        "workers": model.workers,
        "dedup": {key: row for key, row in model.dedup.items() if row[1] > model.now.ms},
        "calls": {name: (call.number, sorted(call.lost)) for name, call in model.calls.items()},
        "producers": {name: (call.number, call.at_ms) for name, call in model.producers.items()},
        "counters": dict(+(model.counters + Counter(done_kept=model.done_kept))),
        "gate": model.gate_ms, "beat": model.beat_ms, "grace": model.grace_ms, "paused": model.pause_row,
        "silences": "".join(f"{ms},{ended_ms};" for ms, ended_ms in model.silences),
        "solo": "{};{}".format(*model.solo) if model.solo else "",
    }  # fmt: skip


def _timed(job: ModelJob) -> tuple[object, ...]:
    return job.id, job.due_ms, job.is_snoozed, job.envelope


def compare(model: QueueModel, seen: Seen, before: Seen) -> None:
    """AssertionError, in a sentence, where they differ; else the model takes over the entries that the server chose."""
    expected = form_of(model)
    wrong = [f"{name}: {seen.form[name]}\n  not {value}" for name, value in expected.items() if seen.form[name] != value]
    assert not wrong, "seen " + "\n".join(wrong)
    assert set(seen.form) == set(expected)
    assert seen.news == model.news, f"told of {seen.news - model.news}, not of {model.news - seen.news}"
    strangers = seen.consumers - model.consumers
    assert not strangers, f"the server still knows {strangers}"
    assert model.conserved(), f"conservation is off: {model.counters}"
    _hear(model, seen, before)
    _learn(model, seen)


def _learn(model: QueueModel, seen: Seen) -> None:
    for record, at in zip(model.done, seen.done, strict=True):
        assert record.entry in ("", at), f"record {record.entry} is {at} now"
        record.entry = at
    for job in model.jobs.values():
        if entry := seen.entries.get(job.id):
            job.learn(entry)
    model.top_ms = max(model.top_ms, model.now.ms)
    model.news.clear()
    model.arrived.clear()
    model.sooner_ms.clear()
    model.must_ring = False


def _hear(model: QueueModel, seen: Seen, before: Seen) -> None:
    """Whoever sleeps is rung when a job became runnable, when a pause ended, and when one is due before what they sleep for."""
    if seen.bell != before.bell and seen.bell:
        model.ears.clear()
        return
    waits = [job for job in model.arrived if job.state is State.WAITING and not job.owner]
    deaf = [worker for worker, ear in model.ears.items() if ear.sleeps]
    assert not (deaf and waits), f"{deaf} sleep, and {[job.id for job in waits]} can run"
    assert not (deaf and model.must_ring), f"{deaf} sleep, and the pause has ended"
    for worker, ear in model.ears.items():
        early = [due for due in model.sooner_ms if not ear.due_ms or due < ear.due_ms]
        assert not early, f"{worker} waits until {ear.due_ms}, and a job is due at {early}"
