"""`engine run` and `engine dev`: they start, work, obey signals, and leave nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .cli import Cli, until
from .embedded_users import server_is_alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Signal a process and wait for its end: code and what it said."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out + err


def test_a_burst_does_what_there_is_and_leaves(engine: Cli) -> None:
    engine.enqueue(20)
    done = engine("run", "--burst", "--queue", engine.queue, "--concurrency", "3", "--slots", "2")
    assert done.code == 0
    assert done.out == ""  # logs are talk
    assert engine.counts()["completed"] == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_drains_at_a_signal(engine: Cli, number: int) -> None:
    gate = engine.directory / "gate"
    engine.enqueue(gate=str(gate))
    worker = engine.start("run")
    until(engine.counts, lambda now: now["active"] == 1)
    worker.send_signal(number)
    assert worker.stderr is not None
    until(worker.stderr.readline, lambda line: "worker.draining" in line)
    gate.touch()
    said = "".join(worker.communicate(timeout=30))
    assert (worker.returncode, engine.counts()["completed"]) == (0, 1), said
    assert "Traceback" not in said


def test_a_job_that_outlasts_the_drain_is_given_back(engine: Cli) -> None:
    engine.enqueue(gate=str(engine.directory / "never"))
    worker = engine.start("run", "--drain-timeout", "0.2s")
    until(engine.counts, lambda now: now["active"] == 1)
    code, said = ended(worker)
    assert code == 1, said
    assert (engine.counts()["waiting"], engine.counts()["active"]) == (1, 0)


def test_several_processes_share_the_work_and_end_together(engine: Cli) -> None:
    engine.enqueue(40)
    done = engine("run", "--processes", "2", "--burst")
    assert done.code == 0, done.err
    assert engine.counts()["completed"] == 40


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_workers_do_not_outlive_the_process_that_would_stop_them(engine: Cli) -> None:
    fleet = engine.start("run", "--processes", "2")
    workers = until(lambda: engine("workers", "--json").lines, lambda lines: len(lines) == 2)
    fleet.kill()
    fleet.communicate(timeout=30)
    until(lambda: [w for w in workers if Path(f"/proc/{w['pid']}").exists()], lambda alive: not alive)


def test_reload_starts_again_when_a_file_changes(engine: Cli) -> None:
    worker = engine.start("run", "--reload")

    def alive() -> set[int]:
        return {one["pid"] for one in engine("workers", "--queue", engine.queue, "--json").lines}

    first = until(alive, bool)
    source = engine.directory / "shop.py"
    source.write_text(source.read_text().replace('"shipped"', '"sent"'))
    until(alive, lambda now: now - first)
    (job_id,) = engine.enqueue()
    until(engine.counts, lambda now: now["completed"] == 1)
    assert engine("job", job_id, "--json").json["result"] == {"sent": 0}
    code, said = ended(worker)
    assert code == 0
    assert "shop.py changed: starting again" in said


def test_dev_needs_nothing_and_leaves_nothing_running(tmp_path: Path) -> None:
    engine = Cli(tmp_path, None)
    # A configured server is left alone: sample traffic must never reach it.
    engine.extra["REDIS_URL"] = "redis://127.0.0.1:1/0"
    engine.extra["PYTHONWARNINGS"] = "ignore::ResourceWarning"  # the server outlives the object that started it, on purpose
    dev = engine.start("dev")
    del engine.extra["REDIS_URL"]
    until(engine.counts, lambda now: now["completed"] >= 5)
    code, said = ended(dev, signal.SIGINT)
    assert code == 0, said
    assert "Traceback" not in said
    assert not server_is_alive(tmp_path / ".engine")
    assert "worker.stopped" in said, said


def listens(pid: int) -> bool:
    """Whether the process has come as far as a connection."""
    try:
        return any("socket:" in os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it closed something meanwhile
        return False


def test_ctrl_c_of_a_read_is_130_and_quiet(engine: Cli) -> None:
    tail = engine.start("tail")
    while tail.poll() is None and not listens(tail.pid):
        engine("stats")
    code, said = ended(tail, signal.SIGINT)
    assert (code, said) == (130, "")


LEAK = """
kept = []

@orders.handler("leak")
async def leak(payload: int) -> None:
    import asyncio
    kept.append(b"x" * payload)
    await asyncio.sleep(0.3)  # until somebody has looked
"""


def leaking(engine: Cli, jobs: int, mib: int) -> None:
    shop = engine.directory / "shop.py"
    shop.write_text(shop.read_text() + LEAK)
    lines = "\n".join([str(mib * 1024**2)] * jobs)
    assert engine("enqueue", engine.queue, "leak", "--data", "-", stdin=lines).code == 0


def test_a_worker_that_leaks_drains_and_ends_with_its_own_code(engine: Cli) -> None:
    leaking(engine, 9, 60)
    done = engine("run", "--burst", "--concurrency", "1", "--max-memory", "140MiB")
    assert done.code == 7, done.err
    assert '"memory.exceeded"' in done.err
    counts = engine.counts()
    assert 2 <= counts["completed"] < 9
    assert (counts["active"], counts["stalled"], counts["retried"]) == (0, 0, 0)


def test_the_parent_of_several_starts_a_fresh_one_in_its_place(engine: Cli) -> None:
    leaking(engine, 5, 60)
    done = engine("run", "--processes", "2", "--burst", "--concurrency", "1", ENGINE_MAX_MEMORY="140MiB")
    assert done.code == 0, done.err
    assert "took all the memory it may, and drained; starting it again" in done.err
    counts = engine.counts()
    assert (counts["completed"], counts["stalled"], counts["retried"]) == (5, 0, 0)


@pytest.mark.parametrize(
    ("size", "code", "said"), [("lots", 2, "--max-memory is 'lots', which is no size"), ("33MiB", 78, "twice")]
)
def test_a_memory_limit_that_can_not_be_is_refused(engine: Cli, size: str, code: int, said: str) -> None:
    done = engine("run", "--burst", "--max-memory", size)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
