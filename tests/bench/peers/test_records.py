"""Records: what handlers wrote is read as it was, and what ran twice, never, or too late is told."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from bench.peers import records
from bench.peers.drivers import common
from bench.peers.workloads.delayed import early

SECOND = 1_000_000_000


def wrote(path: Path, *rows: tuple[int, int, int, int]) -> Path:
    """A records file with these."""
    path.write_bytes(b"".join(common.RECORD.pack(*row) for row in rows))
    return path


def test_the_drivers_and_the_harness_agree_on_the_record_and_on_warm_up() -> None:
    assert common.RECORD.size == records.SIZE
    assert common.WARM_UP == records.WARM_UP


async def test_a_handler_writes_one_record_that_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(common, "_file", -1)
    await common.handle(common.payload(7, due_ns=5))
    common.handle_sync(common.payload(8))
    await common.handle(common.payload(common.WARM_UP))
    assert records.count(tmp_path / "records") == 3
    first, second = records.read(tmp_path / "records")
    assert (first.seq, first.due_ns, second.seq) == (7, 5, 8)
    assert first.started_ns <= first.ended_ns <= second.due_ns <= second.started_ns


def test_half_a_record_and_a_missing_file_are_no_records(tmp_path: Path) -> None:
    path = wrote(tmp_path / "records", (1, 0, 1, 2))
    path.write_bytes(path.read_bytes() + b"half")
    assert [record.seq for record in records.read(path)] == [1]
    assert records.read(tmp_path / "none") == []
    assert records.count(tmp_path / "none") == 0


def test_the_first_records_of_a_file_can_be_left_out(tmp_path: Path) -> None:
    path = wrote(tmp_path / "records", (common.WARM_UP, 0, 1, 2), (1, 0, 1, 2), (2, 0, 1, 2))
    assert [record.seq for record in records.read(path, skip=2)] == [2]


def test_the_rate_is_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    path = wrote(tmp_path / "records", (1, 0, 4 * SECOND, 6 * SECOND), (0, 0, 2 * SECOND, 3 * SECOND))
    assert records.rate(records.read(path)) == 0.5
    assert records.rate(records.read(path), until_ns=10 * SECOND) == 0.25, "jobs were missing until then"


def test_lateness_is_of_the_first_start_and_early_is_negative(tmp_path: Path) -> None:
    path = wrote(
        tmp_path / "records",
        (0, SECOND, 3 * SECOND, 4 * SECOND),
        (0, SECOND, 2 * SECOND, 2 * SECOND),
        (1, 2 * SECOND, SECOND, SECOND),
    )
    assert records.late_ms(records.read(path)) == [-1000.0, 1000.0]


def test_ours_is_early_by_anything_and_another_by_more_than_a_millisecond() -> None:
    late = [-1.5, -0.2, 0.0, 3.0]
    assert (early(late, "engine"), early(late, "arq")) == (2, 1)


def test_what_ran_twice_and_what_never_ran_is_told(tmp_path: Path) -> None:
    path = wrote(tmp_path / "records", (0, 0, 1, 2), (2, 0, 1, 2), (2, 0, 1, 2))
    assert records.tally(records.read(path), 3) == "1 of 3 jobs never ran, 1 of 3 jobs ran more than once"
    assert records.tally(records.read(path)[:2], 1) == ""


def test_a_job_that_began_before_an_earlier_one_of_its_key_had_ended_is_told(tmp_path: Path) -> None:
    in_turn = wrote(tmp_path / "in-turn", (0, 0, 1, 4), (1, 0, 2, 3), (2, 0, 4, 5), (3, 0, 3, 6))
    assert records.disorder(records.read(in_turn), 2) == ""
    assert records.disorder(records.read(in_turn), 1) == "2 of 4 jobs began before an earlier one of their key had ended"
    swapped = wrote(tmp_path / "swapped", (2, 0, 1, 2), (0, 0, 3, 4), (1, 0, 1, 2))
    assert records.disorder(records.read(swapped), 2) == "1 of 3 jobs began before an earlier one of their key had ended"


def test_jobs_go_round_over_as_many_conversations_as_there_are_keys_else_each_has_its_own() -> None:
    def conversations(**keys: int) -> int:
        return len({common.payload(seq, **keys)["conversation_id"] for seq in range(100)})

    assert (conversations(keys=25), conversations(keys=100), conversations()) == (25, 100, 100)


def test_a_driver_without_ordering_keys_is_never_measured_as_if_it_had_them() -> None:
    def producer() -> AbstractAsyncContextManager[common.Producer]:
        raise AssertionError("it must not get as far as that")

    driver = common.Driver(packages=[], settings=[], producer=producer, worker=lambda pool: None, runs_as="nothing")
    assert common.describe(driver)["has_keys"] is False
    with pytest.raises(SystemExit, match="it has no ordering keys"):
        common.main(driver, ["enqueue", "--how", "bulk", "--count", "1", "--keys", "1"])


def test_a_percentile_among_jobs_that_never_started_is_only_a_floor() -> None:
    assert not records.percentile_reading([1.0, 2.0, 3.0], [500.0], 0.5).is_floor
    late = records.percentile_reading([1.0, 2.0, 3.0], [500.0], 0.99)
    assert (late.value, late.is_floor) == (500.0, True)
    assert not records.percentile_reading([1.0], [], 0.99).is_floor
