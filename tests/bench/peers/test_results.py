"""Results, tables and the summary: medians with their spread, reasons in place of figures, losses as loud as wins."""

from __future__ import annotations

import re
import tomllib
from typing import Any, cast

import pytest

from bench.peers import environments
from bench.peers.contender import Contender, Description
from bench.peers.environments import CannotRun
from bench.peers.ground import Ground
from bench.peers.processes import last_line
from bench.peers.results import Metric, Reading, Results
from bench.peers.summary import better, summary
from bench.peers.tables import cell, section
from bench.peers.workloads import ALL, raw
from bench.peers.workloads.drain_keys import DrainKeys
from bench.report import DASH

RATE = Metric("rate", "rate", "jobs/s", "more", is_main=True)
LATE = Metric("late", "late", "ms", "less", is_main=True)


class Work:
    """A workload nobody runs."""

    name, title, text, metrics = "work", "Work", "How.", (RATE, LATE)


class Named:
    """A contender nobody starts."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.description = Description({"lib": "1.0"}, [("pool", "5", "compared")], "threads", "none", 10, {}, {})


US, THEM, THIRD = (
    cast(Contender, Named(name, title)) for name, title in (("engine", "engine"), ("them", "Them"), ("third", "Third"))
)


def measured(**runs: Any) -> Results:
    """Results of `engine_rate=[...]`."""
    found = Results()
    for name, values in runs.items():
        contender, _, metric = name.partition("_")
        for value in values:
            found.add("work", contender, {metric: value})
    return found


def rows(results: Results, *contenders: Contender) -> dict[str, tuple[Any, ...]]:
    """The summary's table, by its first cell."""
    return {str(row[0]): row[1:] for table in summary([Work()], contenders, results).tables for row in table.rows}


def test_a_cell_has_the_median_and_the_spread() -> None:
    results = measured(them_rate=[300.0, 100.0, 200.0])
    assert cell(results.figure("work", "them", RATE)) == "200 (100..300)"
    assert cell(results.figure("work", "them", RATE), with_spread=False) == "200"


def test_a_run_that_gave_nothing_is_a_reason_and_never_a_figure() -> None:
    results = measured(them_rate=[Reading(None, "it died")], third_rate=[100.0, Reading(None, "it died")])
    assert cell(results.figure("work", "them", RATE)) == DASH
    assert results.figure("work", "them", RATE).note == "it died"
    assert results.figure("work", "third", RATE).note == "1 of 2 runs gave nothing; it died"
    assert results.figure("work", "nobody", RATE).note == "not measured"
    table = section(Work(), [THEM, THIRD], results).tables[0]
    assert "Them: it died; not measured." in table.note


def test_where_we_stopped_waiting_the_cell_says_more_than() -> None:
    results = measured(them_late=[Reading(330.0, "not yet", is_floor=True)] * 2 + [Reading(300.0)])
    assert results.is_floor("work", "them", "late")
    assert cell(results.figure("work", "them", LATE), is_floor=True) == "> 330"


def test_the_best_other_is_named_and_a_loss_is_told() -> None:
    results = measured(
        engine_rate=[100.0, 101.0],
        them_rate=[200.0, 201.0],
        third_rate=[50.0],
        engine_late=[1.0],
        them_late=[4.0],
        third_late=[2.0],
    )
    found = rows(results, US, THEM, THIRD)
    assert found["Work: rate"][2:] == ("Them", "0.501", "BEHIND")
    assert found["Work: late"][2:] == ("Third", "2", "ahead")
    assert "Behind in 1 of 2: Work: rate." in summary([Work()], [US, THEM, THIRD], results).text


def test_spreads_that_overlap_are_level() -> None:
    results = measured(engine_rate=[90.0, 100.0, 130.0], them_rate=[80.0, 95.0, 96.0], engine_late=[1.0])
    found = rows(results, US, THEM)
    assert found["Work: rate"][-1] == "level"
    assert found["Work: late"][-1] == "nobody else has one"


def test_more_than_is_a_rival_only_when_nobody_has_a_figure() -> None:
    floor = Reading(25.0, "stopped", is_floor=True)
    results = measured(engine_late=[100.0], them_late=[floor], third_late=[200.0])
    assert rows(results, US, THEM, THIRD)["Work: late"][1:] == ("200 ms", "Third", "2", "ahead")
    assert rows(results, US, THEM)["Work: late"][1:] == ("> 25 ms", "everybody", "> 0.25", "unknown")


def test_the_last_words_are_the_error_and_not_the_frame_around_it() -> None:
    assert last_line("Traceback\n│ OSError: refused │\n╰──────╯\n") == "OSError: refused"
    assert last_line("ready\n\n") == "ready"
    assert last_line("────") == "it said nothing"


@pytest.mark.parametrize(("metric", "ours", "theirs", "times"), [(RATE, 200, 100, 2), (LATE, 200, 100, 0.5), (LATE, 0, 0, 1)])
def test_times_better_is_above_one_when_ours_is_better(metric: Metric, ours: float, theirs: float, times: float) -> None:
    assert better(metric, ours, theirs) == times


def test_targets_are_judged_against_the_raw_row_and_the_fastest_other() -> None:
    results = Results()
    results.add("drain-5", "engine", {"rate": 300.0})
    results.add("drain-5", "them", {"rate": 100.0})
    results.add(raw.NAME, "python", {"apart": 500.0})
    figures = {figure.name: figure for figure in summary(ALL, [US, THEM], results).figures}
    fastest, pure = figures["drain, pool 5, to the fastest peer"], figures["drain, pool 5, to RAW claim, then ack"]
    assert (fastest.value, fastest.verdict) == (3.0, "missed")
    assert (pure.value, pure.verdict) == (0.6, "met")


def test_drains_with_keys_are_judged_against_the_fastest_drain_of_the_others_without() -> None:
    results = Results()
    results.add("drain-5", "engine", {"rate": 900.0})
    results.add("drain-5", "them", {"rate": 100.0})
    results.add("drain-keys", "engine", {"own_rate": 290.0, "shared_rate": 210.0, "own_bytes": 300.0, "shared_bytes": 400.0})
    figures = {figure.name: figure for figure in summary(ALL, [US, THEM], results).figures}
    own = figures["drain, pool 5, a key each, to the fastest peer without keys"]
    shared = figures["drain, pool 5, most jobs blocked, to the fastest peer without keys"]
    assert (own.value, own.at_least, own.verdict) == (2.9, 3, "missed")
    assert (shared.value, shared.at_least, shared.verdict) == (2.1, 2, "met")
    bytes_of = {figure.value: figure.verdict for name, figure in figures.items() if name.startswith("a waiting job")}
    assert bytes_of == {300.0: "met", 400.0: "missed"}


def test_a_contender_without_ordering_keys_is_a_reason() -> None:
    with pytest.raises(CannotRun, match="it has no ordering keys"):
        DrainKeys().run(THEM, cast(Ground, None))


def test_jobs_of_10_ms_are_judged_against_the_bare_coroutines_of_the_same_round() -> None:
    results = Results()
    for ours, bare in ((480.0, 490.0), (Reading(None, "it died"), 490.0), (240.0, 250.0)):
        results.add("io", "engine", {"rate": ours, "efficiency": 96.0})
        results.add(raw.NAME, "python", {"bare": bare})
    figures = {figure.name: figure for figure in summary(ALL, [US], results).figures}
    share = figures["jobs of 10 ms at pool 5, of what bare coroutines reach"]
    assert (share.low, share.high, share.runs) == (96.0, 100 * 480 / 490, 2)
    assert figures["jobs of 10 ms at pool 5, of the ideal"].verdict == "missed", "judged as before, beside it"


def test_single_jobs_are_judged_by_two_bare_hops_each_run_by_the_one_before_it() -> None:
    results = Results()
    for ours, hops in ((1.2, 1.0), (2.0, 2.0), (1.5, 1.0)):
        results.add(raw.NAME, "python", {"p50_200": hops})
        results.add("latency", "engine", {"p50_200": ours})
    figures = {figure.name: figure for figure in summary(ALL, [US], results).figures}
    assert figures["latency p50 at 200/s, to RAW two hops"].value == 1.2


def test_an_idle_worker_is_judged_by_what_it_sends_and_shows_what_its_scripts_call() -> None:
    results = Results()
    results.add("idle", "engine", {"requests": 1.5, "commands": 7.0})
    found = {figure.value: figure for figure in summary(ALL, [US], results).figures}
    assert (found[1.5].at_most, found[1.5].verdict) == (2, "met")
    assert (found[7.0].aim, found[7.0].verdict) == (2, None)


@pytest.mark.parametrize(
    ("asked", "beside", "alone"),
    [
        (["io"], {"io": raw.LOOP}, ()),
        (["io", "raw"], {"io": raw.LOOP}, raw.COMMANDS),
        (["enqueue", "io"], {"enqueue": (), "io": raw.LOOP}, ()),
        (["enqueue", "latency", "raw"], {"enqueue": raw.COMMANDS, "latency": raw.TWO_HOPS}, ()),
        (["raw"], {}, raw.COMMANDS),
        (["latency"], {"latency": raw.TWO_HOPS}, ()),
    ],
)
def test_raw_is_measured_beside_what_it_is_compared_with_and_once_in_any_case(
    asked: list[str], beside: dict[str, Any], alone: Any
) -> None:
    assert {name: raw.beside(name, asked) for name in asked if name != raw.NAME} == beside
    assert raw.alone(asked) == alone


def test_the_raw_table_has_only_what_was_measured() -> None:
    results = Results()
    results.add(raw.NAME, "python", {"bare": 486.0})
    (table,) = raw.section(results).tables
    assert (table.columns, table.rows) == (("", "jobs of 10 ms, no engine, jobs/s"), [("Python, asyncio", "486")])


def test_every_contender_is_pinned_to_the_last_digit_and_has_its_driver() -> None:
    sections = tomllib.loads(environments.PINS.read_text(encoding="utf-8"))
    for name, pin in environments.pins().items():
        driver = environments.HERE / "drivers" / pin.driver
        assert driver.exists() or driver.with_suffix(".py").exists(), name
        if name != "engine" and not pin.shares:
            assert pin.pip or pin.npm, name
        assert not pin.shares or pin.shares in sections
        for package in (*pin.pip, *pin.npm):
            assert re.fullmatch(r"[\w.-]+(==|@)\d[\w.]*", package), package
