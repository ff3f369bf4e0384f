"""Recovery: which starts a kill cut off, and a small run on a real server."""

from __future__ import annotations

import pytest

from bench.recovery.play import Play, Sizes
from bench.recovery.restarts import Restart, restarts
from engine import Clock

SECOND = 1_000_000_000
KILLED = {7: 5 * SECOND, 8: 9 * SECOND}


def at(*notes: tuple[str, str, int, float]) -> list[Restart]:
    lines = [f"{what} {job} {pid} {int(seconds * SECOND)}" for what, job, pid, seconds in notes]
    return restarts(lines, KILLED)


def test_a_job_that_ran_in_a_killed_worker_counts_from_the_kill_to_its_next_start() -> None:
    assert at(("start", "q/1", 7, 4), ("start", "q/1", 9, 7.5), ("end", "q/1", 9, 8)) == [Restart("q/1", 7, 2.5)]


def test_a_job_that_was_struck_twice_counts_once_for_each_kill() -> None:
    told = at(("start", "q/1", 7, 4), ("start", "q/1", 8, 7), ("start", "q/1", 9, 11))
    assert told == [Restart("q/1", 7, 2.0), Restart("q/1", 8, 2.0)]


@pytest.mark.parametrize(
    "notes",
    [
        [("start", "q/1", 7, 4), ("end", "q/1", 7, 4.5), ("start", "q/1", 9, 8)],  # it had ended; its settle was on the way
        [("start", "q/1", 6, 4), ("start", "q/1", 9, 8)],  # nobody killed that process
        [("start", "q/1", 7, 4)],  # never again: the run's own drain tells
    ],
)
def test_what_no_kill_cut_off_does_not_count(notes: list[tuple[str, str, int, float]]) -> None:
    assert at(*notes) == []


@pytest.mark.timeout(60)
async def test_a_small_run_finds_its_restarts_and_when_their_leases_were_found_lost() -> None:
    sizes = Sizes(lease=1.0, run=0.2, workers=1, queues=1, concurrency=5, busy=0.8)
    async with Play(sizes, Clock(), 7) as play:
        struck = await play.kill(1, 2.0)
    assert struck.restarts
    assert len(struck.found) == len(struck.restarts)
    assert all(0 < found < one.seconds for found, one in zip(struck.found, struck.restarts, strict=True))
