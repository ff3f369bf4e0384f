"""The room in one real piece: our own driver on a real server, through the command, small. So that nothing here rots unseen."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import redis

from bench.peers import __main__ as command
from bench.peers import scale
from bench.peers.contender import Contender
from bench.peers.environments import CannotRun, Environment, Pin, pins, prepare
from bench.peers.processes import Program
from bench.peers.servers import Server, binary
from bench.report import from_json
from engine import Engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc"),
]

SMALL = scale.Scale(
    runs=1,
    enqueue_one=50,
    enqueue_bulk=200,
    drain_jobs=300,
    drain_seconds=10,
    io_jobs=50,
    load_seconds=0.5,
    idle_seconds=0.5,
    raw_jobs=400,
)


@pytest.mark.timeout(150)  # 20 s on a quiet machine, a minute on a busy one
def test_one_command_measures_and_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", SMALL)
    page, data, readings = tmp_path / "page.html", tmp_path / "data.json", tmp_path / "readings.json"
    asked = ["--quick", "--peers", "engine", "--workloads", "enqueue,drain-5,drain-keys,io,latency,idle"]
    assert command.main([*asked, "--html", str(page), "--json", str(data), "--readings", str(readings)]) == 0
    found = {(row["workload"], row["metric"]): row["runs"] for row in json.loads(readings.read_text())}
    looked_at = [("enqueue", "one"), ("enqueue", "bytes"), ("drain-5", "rate"), ("latency", "p99_1000"), ("idle", "rss")]
    looked_at += [("drain-keys", f"{variant}_{what}") for variant in ("own", "shared") for what in ("rate", "bytes")]
    for where, least in [*looked_at, ("io", "rate"), ("raw", "bare"), ("raw", "p50_200")]:
        (value, is_floor, note), *others = found[where, least]
        assert value > 0, (where, least, note)
        assert not is_floor
        assert not others
    assert found["drain-5", "rate"][0][2] == "", "each job once, none left"
    for variant in ("own", "shared"):
        assert found["drain-keys", f"{variant}_rate"][0][2] == "", "and in the order of its key"
    assert found["idle", "requests"][0][0] <= found["idle", "commands"][0][0]
    report = from_json(data.read_bytes())
    assert report.sections[0].title == "Summary"
    assert "engine" in page.read_text()


@pytest.mark.parametrize(("keys", "blocked"), [(10, 30), (40, 0), (0, 0)])
async def test_jobs_that_share_a_key_are_blocked_behind_the_first_of_it(tmp_path: Path, keys: int, blocked: int) -> None:
    ours = Contender(pins()["engine"], prepare(pins()["engine"]))
    with Server(binary("valkey"), tmp_path) as server:
        ours.command(server, "enqueue", how="bulk", count=40, keys=keys)
        async with Engine(server.url) as engine:
            counts = await engine.connection.store.counts("bench")
    assert (counts.blocked, counts.waiting) == (blocked, 40 - blocked)


@pytest.mark.parametrize("program", ["valkey", "redis"])
def test_requests_are_what_clients_send_one_by_one_or_together_and_not_what_scripts_call(tmp_path: Path, program: str) -> None:
    if program == "redis" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with Server(binary(program), tmp_path) as server, redis.Redis(port=server.port) as client:
        client.ping()
        with server.watched() as watch:
            before = server.gauge()
            client.eval("redis.call('SET', KEYS[1], 1); return redis.call('INCR', KEYS[1])", 1, "a")
            client.pipeline(transaction=False).ping().set('[0 lua] "quoted"\r\n', 1).ping().execute()
            after = server.gauge()
            client.ping()
            assert watch.requests() == 4
        assert after.commands - before.commands == 6
        assert server.connected() == 1


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
