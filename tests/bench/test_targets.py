"""The users' targets: plans, searches and tallies are right, and one short real load goes the whole way."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.meter import Meter
from bench.stage import Stage, run_child
from bench.targets import campaign, rate, search, startup
from bench.targets.load import NeverDrained, Player
from bench.targets.notes import LostJobs, Ran, Sent, joined, read, write
from bench.targets.plans import at_random, evenly
from bench.targets.seam import ScriptTimes
from bench.targets.watched import Watch
from engine import Clock, Engine, Job
from engine.store.wire import Wire
from handlers.whatsapp.local import Rule
from tests.support.running import running


@pytest.mark.parametrize("module", ["search", "campaign", "prober"])
def test_examples_in_the_documentation_are_true(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"bench.targets.{module}"))
    assert found.attempted
    assert not found.failed


# --- plans -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.floats(0.1, 100))
def test_random_instants_are_exactly_as_many_as_asked_for_in_order_and_the_same_every_time(count: int, seconds: float) -> None:
    instants = at_random(count, seconds, seed=7)
    assert len(instants) == count
    assert instants == sorted(instants)
    assert 0 <= instants[0] <= instants[-1] <= seconds
    assert instants == at_random(count, seconds, seed=7)


def test_even_instants_keep_one_distance() -> None:
    assert evenly(4, 2.0) == [0.0, 0.5, 1.0, 1.5]


# --- the search ------------------------------------------------------------------------------------------------------


def searched(holds_up_to: float, start: float, most: float) -> Iterator[tuple[float, bool]]:
    tried: list[tuple[float, bool]] = []
    while (rate := search.next_rate(tried, start, most)) is not None:
        assert rate not in [one for one, _ in tried], "nothing is tried twice"
        tried.append((rate, rate <= holds_up_to))
        yield tried[-1]


@pytest.mark.parametrize(("held", "verdict"), [([], "missed"), ([50.0], "missed"), ([50.0, 100.0], "met")])
def test_fewer_than_100_messages_a_second_miss_the_target(held: list[float], verdict: str) -> None:
    steps = [rate.Step(one, 40.0 if one in held else 60.0, one in held) for one in (50.0, 100.0, 200.0)]
    assert rate.found("always", steps).verdict == verdict


@given(st.floats(3, 5000))
def test_the_search_ends_within_a_tenth_of_the_highest_rate_that_holds(limit: float) -> None:
    tried = list(searched(limit, start=100, most=6400))
    found = search.best(tried)
    assert found <= limit
    assert limit / found <= search.CLOSE
    assert len(tried) <= 16


def test_a_search_that_never_fails_ends_at_its_most_and_one_that_never_holds_at_nothing() -> None:
    assert search.best(list(searched(1e9, start=100, most=350))) == 350
    assert search.best(list(searched(0, start=100, most=350))) == 0


def test_a_rate_that_held_beyond_one_that_failed_was_luck() -> None:
    assert search.best([(100, True), (200, False), (400, True)]) == 100


# --- tallies ---------------------------------------------------------------------------------------------------------


def test_a_job_that_was_sent_and_never_ran_is_no_figure_but_an_error() -> None:
    sent = [Sent("q/1", 0.0, 0.1, 0.2), Sent("q/2", 0.0, 0.1, 0.2)]
    with pytest.raises(LostJobs, match=r"1 of 2 jobs were sent and never ran, the first is q/2"):
        joined(sent, [Ran("q/1", "noop", 0.3, 0.4, 0.5)])


def test_notes_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path / "n", [Sent("q/1", 0.0, 0.1, 0.2)])
    assert read(tmp_path / "n", list[Sent]) == [Sent("q/1", 0.0, 0.1, 0.2)]


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60).map(sorted))
def test_no_second_holds_more_starts_than_the_tally_says(starts: list[float]) -> None:
    most = campaign.most_in_a_second(starts)
    assert most == max(sum(begin <= one < begin + 1.0 for one in starts) for begin in starts)
    whole = campaign.per_second(starts)
    assert sum(count for _, count in whole) <= len(starts)
    assert all(later - sooner == 1.0 for (sooner, _), (later, _) in pairwise(whole))


async def test_handlers_that_run_side_by_side_are_counted(server_url: str, queue: str) -> None:
    engine = Engine(server_url)
    declared = engine.queue(queue, concurrency=3)
    together = asyncio.Event()
    begun = 0

    @declared.handler("meet")
    async def meet(payload: dict[str, int], job: Job) -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            together.set()
        await together.wait()

    watch = Watch(engine)
    spec = engine.spec(queue).handler("meet")
    spec.fn = watch.around(queue, "meet", spec.fn)
    async with engine, running(engine):
        handles = [await meet.enqueue({}) for _ in range(3)]
        for handle in handles:
            await handle.result(timeout=10)
    notes = watch.notes({})
    assert notes.most_at_once == {queue: 3}
    assert sorted(one.job for one in notes.ran) == sorted(handle.id for handle in handles)
    assert all(one.started <= one.ended <= one.settled for one in notes.ran)


async def test_the_seam_sees_every_script_and_is_gone_afterwards(server_url: str, queue: str, clock: Clock) -> None:
    plain = Wire.run
    engine = Engine(server_url)

    @engine.queue(queue).handler("noop")
    async def noop(payload: dict[str, int]) -> int:
        return 1

    with ScriptTimes(clock) as scripts:
        async with engine, running(engine):
            await (await noop.enqueue({})).result(timeout=10)
    assert {"enqueue", "step", "await_end", "heartbeat"} <= set(scripts.found)
    assert Wire.run is plain


def test_the_first_start_is_told_and_not_judged() -> None:
    figure = startup.judged("engine --help", [900.0, 100.0, 140.0, 120.0], startup.HELP_MS, "how")
    assert (figure.value, figure.low, figure.high, figure.runs) == (120.0, 100.0, 140.0, 3)
    assert (figure.verdict, figure.note) == ("met", "how; the first run 900 ms")
    assert startup.judged("worker ready", [0.0, 501.0], startup.READY_MS).verdict == "missed"


# --- a real load -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_short_load_goes_the_whole_way_and_is_seen_from_every_side(clock: Clock) -> None:
    async with Stage("everysec", clock=clock) as stage:
        player = Player(stage, clock)
        with Meter(stage.url, clock) as meter:
            meter.watch_scripts()
            played = await player.play("messages", 30, 0.5, pinged=True)
            scripts = meter.watched_scripts()
        assert len(played.outcomes) == 30
        for one in played.outcomes:
            assert one.planned <= one.sent <= one.acked, "open loop: never early"
            assert one.sent <= one.started <= one.ended <= one.settled
        assert {"step", "enqueue", "note", "recall"} <= set(scripts)
        assert {"step", "note"} <= set(played.worker_scripts)
        assert "enqueue" in played.producer_scripts
        assert len(played.pings) > 50
        assert player.most_at_once["messages"] <= 5


@pytest.mark.slow
async def test_jobs_that_are_not_done_in_time_end_the_load_with_an_error(clock: Clock) -> None:
    async with Stage("everysec", clock=clock) as stage:
        player = Player(stage, clock)
        with pytest.raises(NeverDrained, match="jobs were left"):
            await player.play("all-queues", 20, rules=[Rule(fault="slow", seconds=30.0)], patience=0.1)


@pytest.mark.slow
async def test_starting_is_measured_on_real_processes_each_way(clock: Clock) -> None:
    section = await startup.starts(clock, startup.Sizes(runs=1), "everysec")
    assert [figure.name for figure in section.figures] == ["engine --help", *(f"worker ready, {mode}" for mode in startup.MODES)]
    for figure in section.figures:
        assert figure.value is not None
        assert figure.value > 10, "no process of Python is up sooner"
        assert figure.verdict is not None


@pytest.mark.slow
async def test_a_help_that_fails_is_no_quick_start(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "command", lambda: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="engine --help ended with 3"):
        await startup.starts(clock, startup.Sizes(runs=1), "everysec")


@pytest.mark.slow
async def test_a_child_that_fails_says_why(clock: Clock) -> None:
    async with Stage("everysec", clock=clock) as stage:
        with pytest.raises(RuntimeError, match=r"bench\.feed ended with 2; it said:.*--jobs"):
            await run_child(stage, "bench.feed", clock=clock)
        with pytest.raises(RuntimeError, match="the worker did not start"):
            async with stage.workers("bench.nothing:engine"):
                pass
