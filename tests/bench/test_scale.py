"""Scale: rates, ratios and samples are added up rightly, and one small site is filled, drained and passed by."""

from __future__ import annotations

import doctest
import importlib
import shutil

import msgspec
import pytest

from bench.feed import Feed, options_of
from bench.noop import CONTENT, Notes, Payload, build, queue_names
from bench.report import Figure
from bench.scale.growth import Seen, table, verdicts
from bench.scale.profile import add_up, of_jobs, read_stacks, section
from bench.scale.site import Drained, Site, Waited, rate_of
from bench.stage import Stage, cpu_seconds
from engine import Clock, ConfigError
from tests.conftest import missing


def test_examples_in_the_documentation_are_true() -> None:
    found = doctest.testmod(importlib.import_module("bench.scale.profile"))
    assert found.attempted
    assert not found.failed


# --- adding up -------------------------------------------------------------------------------------------------------


def test_the_rate_is_that_of_all_processes_between_the_first_and_the_last_tenth() -> None:
    """Two workers at 500 a second each; a slow start and a slow end, which are in no rate."""
    timelines = [[(0.0, 10)], [(0.0, 10)]]
    for step in range(1, 100):
        for timeline in timelines:
            timeline.append((10.0 + step * 0.02, 10 + step * 10))
    for timeline in timelines:
        timeline.append((60.0, 1010))
    notes = [Notes(1010, timeline) for timeline in timelines]
    assert rate_of(notes, 2020) == pytest.approx(1000, rel=0.02)


def test_a_drain_too_short_for_a_rate_says_so() -> None:
    with pytest.raises(ValueError, match="300 jobs are too few to tell a rate"):
        rate_of([Notes(300, [(0.0, 300)])], 300)


def drained(rate: float, server_us: float) -> Drained:
    return Drained(rate, 0.3, 0.02, server_us, 8.0, 30.0, 0.5)


def seen(*runs: tuple[float, float, float]) -> Seen:
    drains = [drained(rate, server_us) for rate, server_us, _ in runs]
    return Seen(300.0, drains, [Waited([wait] * 5, [0.1]) for _, _, wait in runs])


def by_name(figures: list[Figure]) -> dict[str, str | None]:
    return {figure.name.partition(" at 1,000 ")[0]: figure.verdict for figure in figures if figure.verdict}


def test_each_round_of_the_most_is_judged_against_the_same_round_of_the_least() -> None:
    """The machine gets slower in the middle, for both."""
    least = seen((1000, 10, 5), (500, 20, 10), (400, 25, 12))
    steady = by_name(verdicts("things", {10: least, 1000: seen((950, 10.9, 5.4), (250, 50, 30), (390, 26, 12.5))}))
    assert set(steady.values()) == {"met"}
    assert len(steady) == 4
    grown = by_name(verdicts("things", {10: seen((1000, 10, 5)), 1000: seen((850, 11.5, 5.6))}))
    assert grown == {
        "drain rate": "missed",
        "server time a job": "missed",
        "commands a job": "met",
        "wait of single jobs, p50,": "missed",
    }


def test_every_size_is_judged_against_the_least_and_the_p99_is_shown() -> None:
    figures = verdicts("things", {10: seen((1000, 10, 5)), 100: seen((800, 10, 5)), 1000: seen((1000, 10, 5))})
    assert [figure.name for figure in figures if figure.verdict == "missed"] == ["drain rate at 100 things against 10"]
    assert [figure.name for figure in figures if figure.verdict is None] == [
        "wait of single jobs, p99, at 100 things against 10",
        "wait of single jobs, p99, at 1,000 things against 10",
    ]
    (commands,) = [figure for figure in figures if figure.name == "commands a job at 100 things against 10"]
    assert commands.note == "medians 0.3 against 0.3; script calls a job 0.02 against 0.02"


def test_the_table_has_a_row_for_each_size() -> None:
    made = table("things", {10: seen((1000, 10, 5)), 1000: seen((850, 11.5, 5.6))})
    assert [row[0] for row in made.rows] == ["10", "1,000"]
    assert {len(row) for row in made.rows} == {len(made.columns)}


STACKS = """\
main (engine/cli/run.py:1);run_worker (engine/fleet.py:30);serve (engine/services/pool.py:10);decode (engine/job.py:5) 6
main (engine/cli/run.py:1);run_worker (engine/fleet.py:30);serve (engine/services/pool.py:12) 3
main (engine/cli/run.py:1);run_worker (engine/fleet.py:30);_load (importlib/_bootstrap.py:5) 50
thread (threading.py:1);wait (threading.py:5) 70
"""


def test_samples_are_added_up_by_function_and_by_file_without_start_and_other_threads() -> None:
    stacks = of_jobs(read_stacks(STACKS))
    own, whole, rooms = add_up(stacks)
    assert own == {"decode (engine/job.py)": 6, "serve (engine/services/pool.py)": 3}
    assert whole["serve (engine/services/pool.py)"] == 9
    assert rooms == {"engine/job.py": 6, "engine/services/pool.py": 3}
    by_work = section(stacks, 10, 0).tables[1]
    assert [row[0] for row in by_work.rows] == ["decode (engine/job.py)"], "what is in every stack is left out"


# --- the application that does nothing -------------------------------------------------------------------------------


def test_a_job_of_the_bench_is_as_large_as_an_inbound_message() -> None:
    assert 260 <= len(msgspec.msgpack.encode(Payload("c-10000", CONTENT))) <= 300


def test_it_has_as_many_queues_as_the_environment_says() -> None:
    app = build({"BENCH_QUEUES": "3", "BENCH_CONCURRENCY": "7"})
    assert list(app.queues) == queue_names(3) == ["drain", "drain-1", "drain-2"]
    assert {queue.concurrency for queue in app.queues.values()} == {7}


def test_a_feed_is_the_same_on_a_command_line() -> None:
    assert options_of(Feed(jobs=5, keys=2)) == ["--jobs", "5", "--keys", "2", "--delay", "0.0", "--queues", "1"]


# --- a real one ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_small_site_is_filled_drained_and_passed_by(clock: Clock) -> None:
    async with Site(clock, "everysec") as site:
        each = await site.weigh(Feed(jobs=2000))
        assert 270 < each < 700
        run = await site.drain(1000)
        assert run.rate > 100
        assert 0 < run.steps < 1
        assert run.commands > run.steps
        assert run.script_us > 0
        left = await site.store.counts("drain")
        assert 1000 <= left.completed < 2100
        single = await site.send("urgent", 10, 0.1)
        assert len(single.waits_ms) >= 10
        assert min(single.waits_ms) >= 0
        assert len(single.enqueues_ms) == 10


@pytest.mark.slow
async def test_delayed_jobs_are_seen_to_start_late_and_never_early(clock: Clock) -> None:
    async with Site(clock, "everysec") as site:
        single = await site.send("delayed", 10, 0.1, queues=2)
        assert len(single.waits_ms) >= 10
        assert min(single.waits_ms) > -1.0, "due times are whole milliseconds"


@pytest.mark.slow
async def test_several_processes_drain_together_and_are_all_counted(clock: Clock) -> None:
    async with Site(clock, "everysec") as site:
        await site.fill(Feed(jobs=3000))
        run = await site.drain(3000, processes=2)
        assert run.rate > 100
        assert (await site.store.counts("drain")).completed == 3000


@pytest.mark.slow
async def test_a_stage_is_gone_when_it_is_left(clock: Clock) -> None:
    async with Stage("everysec", clock=clock) as stage:
        place, pid = stage.directory, stage.pid
        assert cpu_seconds(pid) >= 0
        assert place.exists()
    assert not place.exists()
    assert cpu_seconds(pid) == 0


@pytest.mark.slow
async def test_a_stage_may_be_played_on_an_installed_server(clock: Clock) -> None:
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed: apt-get install redis-server")
    async with Site(clock, program="redis-server") as site:
        assert site.meter.version().startswith("Redis 7")
        assert site.stage.about["server"].startswith("redis-server")
        await site.fill(Feed(jobs=10))
        assert (await site.store.counts("drain")).waiting == 10
        pid = site.stage.pid
    assert cpu_seconds(pid) == 0, "it has ended"


async def test_a_server_that_is_not_installed_is_named(clock: Clock) -> None:
    with pytest.raises(ConfigError, match="no-such-server is not installed"):
        async with Stage(clock=clock, program="no-such-server"):
            pass
