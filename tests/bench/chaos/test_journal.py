"""The journal of a chaos run: what was written is read back, whatever became of its writer."""

from __future__ import annotations

from pathlib import Path

from bench.chaos.journal import (
    FAULTS,
    Fault,
    Journal,
    Pen,
    QueueFacts,
    Record,
    RunSettings,
    faults,
    read_settings,
    records,
    write_settings,
)


def test_records_of_all_processes_come_in_the_order_they_were_written(tmp_path: Path) -> None:
    worker, producer = Journal(tmp_path, "worker", "w1.1"), Journal(tmp_path, "producer")
    producer.note("ask", n=1, queue="alpha", want="completed")
    worker.note("start", n=1, job="alpha/1-1", attempt=1)
    producer.note("acked", n=1, job="alpha/1-1", how="new")
    worker.note("end", n=1, job="alpha/1-1", attempt=1, how="ok")
    found = records(tmp_path)
    assert [(one.what, one.n) for one in found] == [("ask", 1), ("start", 1), ("acked", 1), ("end", 1)]
    assert [one.worker for one in found] == ["", "w1.1", "", "w1.1"]
    assert all(one.pid and one.ms and one.mono_ns for one in found)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    Journal(tmp_path, "worker").note("start", n=1)
    (path,) = (tmp_path / "journal").iterdir()
    with path.open("ab") as file:
        file.write(b'{"what":"end","n')
    assert [one.what for one in records(tmp_path)] == ["start"]


def test_the_last_word_on_a_fault_counts(tmp_path: Path) -> None:
    pen = Pen(tmp_path / FAULTS)
    pen.put(Fault(i=2, kind="kill@any", begin_mono_ns=20))
    pen.put(Fault(i=1, kind="cut", begin_mono_ns=10))
    pen.put(Fault(i=2, kind="kill@any", begin_mono_ns=20, end_mono_ns=25, pids=(7,), entitles=15, loses_lease=True))
    assert [(one.i, one.end_mono_ns, one.pids) for one in faults(tmp_path)] == [(1, 0, ()), (2, 25, (7,))]


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = RunSettings(
        seed=7, command="python -m bench.chaos --seed 7", versions={"server": "Valkey"}, server=["valkey-server"], workers=4,
        queues={"alpha": QueueFacts(concurrency=5, attempts=3, lease_ms=2000, stall_limit=3)}, producers=2,
        enqueue_timeout_ms=3000,
    )  # fmt: skip
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings


def test_a_record_says_only_what_it_has_to(tmp_path: Path) -> None:
    Pen(tmp_path / "one").put(Record(what="start", n=3))
    assert (tmp_path / "one").read_bytes() == b'{"what":"start","n":3}\n'
