"""A real run of the chaos lab, short: real workers, a real server, faults of each family, and the checker's verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECONDS = 10
ONLY = "kill@handler,freeze@settled,cut,lost-reply@step,server-kill,script-flush,client-kill,kill@enqueued"


def test_a_run_with_faults_of_each_family_holds_every_law(tmp_path: Path) -> None:
    kept = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "bench.chaos", "--minutes", str(SECONDS / 60), "--seed", "5", "--faults", "8", "--only", ONLY),
        *("--jobs", "500", "--only-jobs", "plain,keyed,delayed,sync,flaky,dedup,snoozes,cancelled,undecodable"),
        *("--keep", str(kept), "--json", str(tmp_path / "report.json")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["missed"] == []
    assert {"faults.ndjson", "journal", "settings.json"} <= {path.name for path in kept.iterdir()}
    assert "--seed 5" in report["command"]
    injected = [json.loads(line) for line in (kept / "faults.ndjson").read_text().splitlines()]
    assert len({fault["i"] for fault in injected if fault.get("injected", True)}) >= 6, "most came to their moment"
