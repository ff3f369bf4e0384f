"""The toll: what counts as lost, repeated and silent, on records written by hand; a small power loss and its planted opposite."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.journal import Record
from bench.losses import disk, power, toll
from bench.losses.app import KEPT, WORKED
from bench.losses.toll import Toll
from engine import Clock


def record(what: Any, n: int = 0, at: float = 0.0, **facts: Any) -> Record:
    return Record(what=what, n=n, mono_ns=int(at * 1e9), **facts)


def acked(n: int, at: float = 0.0, queue: str = KEPT, job: str = "", how: str = "new") -> Record:
    return record("acked", n, at, queue=queue, job=job or f"{queue}/{n}-1", how=how)


def of(*records: Record, kept: dict[str, int] | None = None) -> Toll:
    return toll.toll(records, kept or {})


def test_examples_in_the_documentation_are_true() -> None:
    found = doctest.testmod(toll)
    assert found.attempted
    assert not found.failed


def test_a_kept_job_is_lost_when_its_id_is_gone_or_is_another_jobs() -> None:
    cost = of(acked(1, 1.0), acked(2, 2.0), acked(3, 3.5), kept={"kept/1-1": 1, "kept/2-1": 9})
    assert (cost.lost, cost.lost_seconds) == (2, 1.5)


def test_a_worked_job_is_lost_when_its_handler_never_came_to_its_end() -> None:
    cost = of(acked(1, queue=WORKED), acked(2, queue=WORKED), record("start", 1), record("start", 2), record("end", 2))
    assert cost.lost == 1


def test_what_was_unknown_and_told_is_no_loss_and_what_was_never_told_is_counted() -> None:
    cost = of(record("unknown", 1), acked(1, how="repeated"), record("unknown", 2), kept={"kept/1-1": 1})
    assert (cost.lost, cost.unknown, cost.untold) == (0, 2, 1)


def test_an_id_of_two_jobs_is_told_and_a_job_acknowledged_twice_is_not_that() -> None:
    assert of(acked(1, job="kept/7-1"), acked(2, job="kept/7-1")).same_id == 1
    assert of(acked(1, job="kept/7-1"), acked(1, job="kept/7-1", how="repeated")).same_id == 0


def test_runs_and_records_beyond_the_first_are_repeats() -> None:
    ends = [record("end", n) for n in (1, 1, 2)]
    told = [record("told", job=job, how="recorded") for job in ("worked/1-1", "worked/1-1", "worked/2-1")]
    cost = of(*ends, *told, record("told", how="data loss"))
    assert (cost.run_again, cost.recorded_again, cost.loss_told) == (1, 1, 1)


def test_silences_are_the_longest_gaps_between_acknowledgements_and_between_starts() -> None:
    cost = of(acked(1, 1.0), acked(2, 1.5), acked(3, 4.5), record("start", 1, 2.0), record("start", 2, 9.0))
    assert (cost.silence_seconds, cost.idle_seconds) == (3.0, 7.0)


# --- a real one, small ------------------------------------------------------------------------------------------------

SMALL = power.Sizes(acked=400, least_seconds=1.4, rounds=1)


@pytest.mark.slow
@pytest.mark.skipif(disk.missing() != "", reason="cc is not installed: it compiles what watches the server's fsync")
@pytest.mark.parametrize("case", power.CASES[2:4], ids=lambda case: case.durability)
async def test_a_power_loss_takes_what_was_not_synced_and_nothing_of_class_disk(case: power.Case, server_kind: str) -> None:
    for _ in range(3):  # fsync once a second and the end at any moment: once in a hundred times nothing is between the two
        cost = await power.end_of_a_server(server_kind, case, SMALL, Clock())
        assert cost.acked >= 400
        if case.durability == "disk":
            assert cost.lost == 0
            return
        assert cost.lost_seconds <= power.MOST_SECONDS
        if cost.lost:
            assert cost.loss_told > 0
            return
    pytest.fail("three power losses in a row took nothing from class process: is anything cut?")


@pytest.mark.skipif(disk.missing() != "", reason="cc is not installed: it compiles what watches the server's fsync")
def test_only_what_was_synced_is_left_of_a_file(tmp_path: Path) -> None:
    """The path counts before the inode, which may have been another file's; a renamed file is known by its inode."""
    shim = disk.Shim(tmp_path)
    renamed = tmp_path / "renamed"
    renamed.write_bytes(b"x" * 10)
    (tmp_path / "synced.log").write_text(f"{renamed.stat().st_ino} 7 {tmp_path / 'temp'}\n1 5 /a\n1 9 /a\n1 2 /b\n")
    by_path, by_inode = shim.synced()
    assert by_path == {str(tmp_path / "temp"): 7, "/a": 9, "/b": 2}
    assert by_inode == {renamed.stat().st_ino: 7, 1: 2}
