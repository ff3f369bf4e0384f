"""Checks: what every fault must leave true. Each job in one final state, recorded once; nothing of one key overtook another."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise

from engine import State
from engine.store.rows import JobRow
from tests.support.journal import Run
from tests.support.laws import assert_conserved

from .crew import Crew


async def rows(crew: Crew, state: State) -> list[JobRow]:
    """Every job in that state."""
    found: list[JobRow] = []
    cursor = ""
    while True:
        page = await crew.store.link.patient(partial(crew.store.page, crew.queue, state, cursor=cursor, limit=500), timeout=10.0)
        found += page.rows
        cursor = page.cursor
        if not cursor:
            return found


async def ended(crew: Crew) -> list[JobRow]:
    """Every record of an ending."""
    return [row for state in (State.COMPLETED, State.DEAD, State.CANCELLED) for row in await rows(crew, state)]


async def assert_each_ended_once(crew: Crew, ids: list[str]) -> None:
    """Every one of these jobs (full ids) has exactly one recorded ending, and nothing else has any; the law holds."""
    await assert_conserved(crew.store, crew.queue)
    times = Counter(f"{crew.queue}/{row.id}" for row in await ended(crew))
    assert set(ids) - set(times) == set(), "lost: acknowledged, but in no final state"
    assert set(times) - set(ids) == set(), "ended, but never enqueued"
    assert {job: n for job, n in times.items() if n != 1} == {}, "recorded more than once"


async def assert_in_order(crew: Crew) -> None:
    """No job of a key was started before the recorded attempt of each earlier job of that key had ended."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in crew.journal.runs():
        runs[run.start.job].append(run)
    by_key: dict[str, list[str]] = defaultdict(list)
    for job, of_it in sorted(runs.items(), key=lambda item: item[1][0].start.n):
        if of_it[0].start.key:
            by_key[of_it[0].start.key].append(job)
    worker_of = {f"{crew.queue}/{row.id}": row.worker for row in await rows(crew, State.COMPLETED)}
    for key, jobs in by_key.items():
        for earlier, later in pairwise(jobs):
            done = [run for run in runs[earlier] if f":{run.start.pid}:" in worker_of.get(earlier, "") and run.end is not None]
            if not done:
                continue  # dead or cancelled: its last run may have been killed
            first = min(run.start.mono for run in runs[later])
            early = done[-1].end_mono - first
            assert early <= 0, f"key {key}: {later} started {early:.3f} s before {earlier} ended"
