"""The laws on a real run: a clean one is green, and each violation planted in it is seen by the law that is meant for it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from bench.chaos.check import main
from bench.chaos.ground import Ground
from bench.chaos.journal import Fault
from bench.chaos.laws import LAWS, judge
from bench.chaos.selftest import PLANTS
from bench.chaos.story import Evidence, Story
from bench.report import from_json


def test_a_clean_run_breaks_no_law_and_every_law_has_looked_at_something(clean: Evidence) -> None:
    judged = judge(Story(clean))
    assert [f"{one.law}: {one.violations}" for one in judged if not one.held] == []
    assert [one.law for one in judged if not one.looked] == ["suspects alone", "workers live"]  # no lease was lost


@pytest.mark.parametrize("name", list(PLANTS))
def test_a_planted_violation_is_seen_by_its_law(clean: Evidence, name: str) -> None:
    law, plant = PLANTS[name]
    broken = {judged.law for judged in judge(Story(plant(Ground(clean)))) if not judged.held}
    assert law in broken


def test_a_lost_lease_of_the_real_engine_needs_its_fault(lost: Evidence) -> None:
    """What the engine writes down of a stall is what the laws look for: the runs of the lost worker alone are to be explained."""
    story = Story(lost)
    assert sorted((run.fate, run.start.pid) for _, run in story.runs()) == [("lost", 22)] * 2 + [("recorded", os.getpid())] * 5
    assert {judged.law: judged.count for judged in judge(story) if not judged.held} == {"executions bounded": 4}
    struck_ns = min(run.start_ns for _, run in story.runs())
    lost.faults.append(Fault(i=1, kind="freeze", begin_mono_ns=struck_ns, pids=(22,), entitles=2, loses_lease=True))
    assert [f"{judged.law}: {judged.violations}" for judged in judge(Story(lost)) if not judged.held] == []


def test_every_law_is_tried() -> None:
    assert {law for law, _ in PLANTS.values()} == set(LAWS)


def test_planting_leaves_the_evidence_as_it_was(clean: Evidence) -> None:
    before = msgspec.msgpack.encode((clean.records, clean.queues))
    for _, plant in PLANTS.values():
        plant(Ground(clean))
    assert msgspec.msgpack.encode((clean.records, clean.queues)) == before


def test_the_command_judges_a_run_and_says_so(
    clean: Evidence, run_directory: Path, server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verdict.json"
    assert main([str(run_directory), "--url", server_url, "--self-test", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert all(law in text for law in LAWS)
    assert all(name in text for name in PLANTS)
    report = from_json(out.read_bytes())
    assert report.missed == []
    assert len(report.judged) == len(LAWS) + len(PLANTS) + 2  # and starts that faults explain, and the longest enqueue call


def test_the_command_can_not_tell_without_a_run_or_a_server(
    clean: Evidence, run_directory: Path, server_url: str, tmp_path: Path
) -> None:
    assert main([str(tmp_path), "--url", server_url]) == 2
    assert main([str(run_directory), "--url", f"unix://{tmp_path}/nobody.sock"]) == 2
