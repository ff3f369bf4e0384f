"""Reports: verdicts and spreads are right, and text, JSON and page say the same of any data."""

from __future__ import annotations

import argparse
import doctest
import importlib
import itertools
import math
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import Bar, Bars, Figure, Line, Plot, Report, Section, Table, from_json, to_json
from bench.report_axis import apart, axis
from bench.report_html import to_html
from bench.report_markup import render, tag
from bench.report_output import add_options, deliver, machine, versions
from bench.report_plot import WIDTH, draw
from bench.report_text import to_text


def report(*sections: Section) -> Report:
    return Report(
        title="Title",
        about="What it is about.",
        command="python -m bench.thing",
        started_at="2025-11-22T12:00:00Z",
        seconds=3.0,
        machine={"cores": "2"},
        versions={"engine": "0.1.0"},
        sections=list(sections),
    )


EVERYTHING = report(
    Section(
        "Drain <fast>",
        text="One `paragraph`.\n\nAnother & one.",
        settings={"jobs": "20,000"},
        figures=[
            Figure("p95", 41.0, "ms", at_most=50.0),
            Figure("pace", 612.0, "a minute", at_least=594.0, at_most=606.0, note="too fast"),
            Figure("idle", 1.2, "a second"),
        ],
        tables=[
            Table(
                "Side by side",
                ("", "jobs/s", "commands"),
                [("us", Figure.of_runs("", [30.0, 10.0, 20.0], "jobs/s", at_least=15.0), 0.35), ("them", None, 11)],
                ours="us",
            )
        ],
        plots=[
            Bars("Rates", "jobs/s", [Bar("us", 20.0, 10.0, 30.0), Bar("them", None, note="lost 3 jobs")], ours="us"),
            Plot("Growth", "jobs", "ms", [Line("us", [(1.0, 2.0), (10.0, 3.0)], [(1.0, 3.0), (2.0, 4.0)])], target=5.0),
        ],
    )
)


@pytest.mark.parametrize("module", ["bench.report", "bench.report_axis"])
def test_examples_in_the_documentation_are_true(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("f", 1.0), None),
        (Figure("f", 1.0, aim=2.0), None),
        (Figure("f", 50.0, at_most=50.0), "met"),
        (Figure("f", 50.1, at_most=50.0), "missed"),
        (Figure("f", 4.0, at_least=4.0), "met"),
        (Figure("f", 3.9, at_least=4.0), "missed"),
        (Figure("f", 5.0, at_least=4.0, at_most=4.5), "missed"),
        (Figure("f", math.nan, at_most=50.0), "missed"),
        (Figure("f", None, at_most=50.0), "missed"),
        (Figure("f", None), None),
    ],
)
def test_a_figure_is_judged_by_its_target_alone(figure: Figure, verdict: str | None) -> None:
    assert figure.verdict == verdict


def test_several_runs_become_their_median_with_the_spread() -> None:
    figure = Figure.of_runs("drain", [30_100.0, 27_900.0, 28_970.0], "jobs/s")
    assert (figure.value, figure.low, figure.high) == (28_970.0, 27_900.0, 30_100.0)
    assert figure.spread == "27,900 to 30,100, 3 runs"


def test_no_run_at_all_misses_a_target_instead_of_raising() -> None:
    assert Figure.of_runs("drain", [], "jobs/s", at_least=1.0).verdict == "missed"


def test_misses_in_tables_are_named_by_row_and_column() -> None:
    cells = [("us", Figure("", 3.0, at_least=2.0)), ("them", Figure("", 1.0, at_least=2.0))]
    found = report(Section("Drain", tables=[Table("Rates", ("", "jobs/s"), list(cells))]))
    assert found.missed == ["Drain: Rates: them: jobs/s"]
    assert len(found.judged) == 2


# --- ways out --------------------------------------------------------------------------------------------------------


def test_what_was_written_as_json_reads_back_as_the_same_report() -> None:
    data = to_json(EVERYTHING)
    assert from_json(data) == EVERYTHING
    plain = msgspec.json.decode(data)
    assert plain["missed"] == ["Drain <fast>: pace"]
    assert [figure["verdict"] for figure in plain["sections"][0]["figures"]] == ["met", "missed", None]
    assert plain["sections"][0]["tables"][0]["rows"][0][1]["verdict"] == "met"


def test_the_text_has_every_figure_its_target_and_its_verdict() -> None:
    lines = to_text(EVERYTHING).splitlines()
    assert any(re.search(r"MISSED\s+pace\s+612 a minute\s+594 to 606 a minute$", line) for line in lines)
    assert "          too fast" in lines
    assert any(re.search(r"met\s+p95\s+41 ms\s+at most 50 ms", line) for line in lines)
    assert any(re.search(r"us\s+20 jobs/s \(10 to 30, 3 runs\) met\s+0.35", line) for line in lines)
    assert any(re.search(r"them\s+–\s+11", line) for line in lines)
    assert "1 of 3 targets missed." in lines


def test_the_page_is_complete_in_itself_and_escapes_what_it_is_given() -> None:
    page = to_html(EVERYTHING)
    assert "Drain &lt;fast&gt;" in page
    assert "Another &amp; one." in page
    assert "<p>One <code>paragraph</code>.</p>" in page
    assert page.count("<svg") == 2
    assert "lost 3 jobs" in page
    assert not re.search(r"https?:|url\(|<script|<link|@import|\ssrc=", page), "a page that fetches nothing works everywhere"
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_the_exit_code_is_1_only_when_a_target_was_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    options = parser.parse_args(["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")])
    assert deliver(EVERYTHING, options) == 1
    assert deliver(EVERYTHING, options, judge=False) == 0
    assert deliver(report(), options) == 0
    assert from_json((tmp_path / "r.json").read_bytes()) == report()
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert "Title" in capsys.readouterr().out


def test_with_json_on_standard_output_the_text_goes_to_standard_error(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    deliver(EVERYTHING, argparse.Namespace(json="-", html=None))
    out, err = capsysbinary.readouterr()
    assert from_json(out) == EVERYTHING
    assert b"Side by side" in err


def test_a_report_says_what_it_ran_on() -> None:
    assert {"processor", "cores", "memory", "load before"} <= set(machine())
    assert {"Python", "engine", "redis", "hiredis", "server"} <= set(versions(server="Valkey 9.1"))


# --- drawings --------------------------------------------------------------------------------------------------------

VALUES = st.floats(min_value=1e-6, max_value=1e9)


@given(st.lists(VALUES, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_an_axis_holds_every_value_and_has_a_tick_or_two(values: list[float], log: bool, from_zero: bool) -> None:
    made = axis(values, 0.0, 100.0, log=log, from_zero=from_zero)
    assert all(-1e-6 <= made.at(value) <= 100 + 1e-6 for value in values)
    assert all(made.low <= tick <= made.high * (1 + 1e-9) for tick in made.ticks())
    assert len(made.ticks()) <= 13
    assert made.ticks() or made.high / made.low < 3, "a short logarithmic axis may lie between two round values"
    order = sorted(values)
    assert [made.at(value) for value in order] == sorted(made.at(value) for value in values)


@given(st.lists(st.floats(min_value=0, max_value=200), min_size=1, max_size=12))
def test_labels_are_set_apart_in_the_order_of_their_lines(places: list[float]) -> None:
    moved = apart(places, 12.0, 0.0, 200.0)
    order = sorted(range(len(places)), key=lambda n: places[n])
    gaps = [moved[b] - moved[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 12.0 - 1e-6 for gap in gaps)
    assert all(-1e-6 <= place <= 200.0 + 1e-6 for place in moved)


@given(
    st.lists(st.tuples(VALUES, VALUES), max_size=5),
    st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e9)), max_size=5),
    st.booleans(),
)
def test_any_data_can_be_drawn_inside_its_frame(points: list[tuple[float, float]], bars: list[float | None], log: bool) -> None:
    drawings = (
        draw(Plot("p", "x", "y", [Line("a", points), Line("", [])], log_x=log, log_y=log, target=5.0)),
        draw(Bars("b", "u", [Bar(f"contender {n}", value) for n, value in enumerate(bars)], log=log)),
    )
    for drawing in drawings:
        for attribute in re.findall(r' (?:x|x1|x2|cx|width)="([^"]+)"', render(drawing)):
            assert -1 <= float(attribute) <= WIDTH


def test_text_between_elements_keeps_its_place() -> None:
    assert render(tag("p", "a ", tag("b", "c"), " d", None, 1.25, class_="x")) == '<p class="x">a <b>c</b> d1.25</p>'
