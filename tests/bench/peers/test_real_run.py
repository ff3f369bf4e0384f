"""The room in one real piece: our own driver on a real server, through the command, small. So that nothing here rots unseen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.peers import __main__ as command
from bench.peers import scale
from bench.peers.contender import Contender
from bench.peers.environments import CannotRun, Environment, Pin, prepare
from bench.peers.processes import Program
from bench.report import from_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc"),
]

SMALL = scale.Scale(
    runs=1, enqueue_one=50, enqueue_bulk=200, drain_jobs=300, drain_seconds=10, load_seconds=0.5, idle_seconds=0.5, raw_jobs=400
)


def test_one_command_measures_and_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", SMALL)
    page, data, readings = tmp_path / "page.html", tmp_path / "data.json", tmp_path / "readings.json"
    asked = ["--quick", "--peers", "engine", "--workloads", "enqueue,drain-5,latency,idle"]
    assert command.main([*asked, "--html", str(page), "--json", str(data), "--readings", str(readings)]) == 0
    found = {(row["workload"], row["metric"]): row["runs"] for row in json.loads(readings.read_text())}
    for where, least in (("enqueue", "one"), ("enqueue", "bytes"), ("drain-5", "rate"), ("latency", "p99_1000"), ("idle", "rss")):
        (value, is_floor, note), *others = found[where, least]
        assert value > 0, (where, least, note)
        assert not is_floor
        assert not others
    assert found["drain-5", "rate"][0][2] == "", "each job once, none left"
    report = from_json(data.read_bytes())
    assert report.sections[0].title == "Summary"
    assert "engine" in page.read_text()


def test_a_contender_that_cannot_be_started_is_a_reason(tmp_path: Path) -> None:
    broken = Environment((sys.executable, "-c", "raise SystemExit('no such library')"), {})
    with pytest.raises(CannotRun, match="its describe failed: no such library"):
        Contender(Pin("broken", "Broken", "broken"), broken)


def test_our_own_environment_is_this_one() -> None:
    assert prepare(Pin("engine", "engine", "engine")).command[0] == sys.executable


def test_killing_a_program_ends_its_children_in_other_sessions_too(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    parent = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True); "
        + ("print(p.pid, flush=True); time.sleep(60)")
    )
    log = tmp_path / "log"
    with Program([sys.executable, "-c", parent], {}, log, tmp_path) as program:
        while not log.read_text().strip():
            assert program.exit_code is None
        assert program.usage().processes == 2
        assert program.usage().rss_bytes > 1_000_000
    left = Path("/proc", log.read_text().strip(), "stat")
    assert not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z", "dead, if not yet collected"
