"""The guard: no change makes a job dearer by a tenth unseen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.guard import Compared, compare, kept_counts, least


def test_a_job_costs_no_more_than_what_is_kept() -> None:
    # a loop of its own in a thread: asyncio's debug mode, on for the suite, is not what is measured
    with ThreadPoolExecutor(1) as pool:
        rows = compare(pool.submit(least).result(), kept_counts())
    assert sum(row.kept is not None for row in rows) >= 12
    grown = [str(row) for row in rows if row.has_grown]
    assert not grown, "dearer than bench/guard.json says (python -m bench.guard):\n" + "\n".join(grown)


@pytest.mark.parametrize(
    ("now", "kept", "grown", "shrunk"),
    [(110.0, 100.0, False, False), (110.2, 100.0, True, False), (89.0, 100.0, False, True), (9.0, None, False, False)],
)
def test_a_tenth_more_fails_and_a_tenth_less_is_told(now: float, kept: float | None, grown: bool, shrunk: bool) -> None:
    one = Compared("x", now, kept)
    assert (one.has_grown, one.has_shrunk) == (grown, shrunk)
    assert ("GROWN" in str(one), "not kept" in str(one)) == (grown, kept is None)


def test_what_a_busy_neighbour_makes_grow_may_grow_by_more_where_jobs_go_together() -> None:
    counts = (
        "drain: script calls a job",
        "drain with keys: commands in scripts a job",
        "a single job, worker idle: script calls a job",
    )
    assert [Compared(name, 150.0, 100.0).has_grown for name in counts] == [False, False, True]
    assert Compared(counts[0], 170.0, 100.0).has_grown
    assert Compared("drain: bytecode instructions a job", 111.0, 100.0).has_grown


def test_what_is_kept_for_another_python_is_not_compared() -> None:
    assert [row.kept for row in compare({"a": 1.0, "b": 2.0}, {"a": 3.0})] == [3.0, None]
