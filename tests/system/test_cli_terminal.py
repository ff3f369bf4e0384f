"""The command line at a terminal: it asks before it drops, and shows tables and bars; and thresholds on a server of its own."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from .cli import Cli, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def at_terminal(engine: Cli, *args: str, typed: str = "") -> tuple[int, str]:
    """Run a command whose three streams are a terminal on which `typed` was typed; code and screen."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as screen:
        screen.write(typed.encode())
        process = subprocess.Popen(
            engine.command(*args),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=engine.directory,
            env=engine.env | {"TERM": "xterm-256color", "COLUMNS": "200"},
            start_new_session=True,
        )
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = screen.read(65_536)
            except OSError:  # the last one at the other end has left
                break
            if not part:
                break
            seen += part
    return process.wait(30), seen.decode(errors="replace")


def test_a_table_is_styled_at_a_terminal_and_plain_elsewhere(engine: Cli) -> None:
    engine.enqueue(2)
    code, screen = at_terminal(engine, "stats")
    assert code == 0
    assert engine.queue in screen
    assert "\x1b[1m" in screen
    assert "\x1b" not in engine("stats").out


def test_a_no_changes_nothing_and_a_yes_drops(engine: Cli) -> None:
    engine.dead(2)
    clean = ("clean", "--age", "1s", "--state", "dead", "--queue", engine.queue)
    until(lambda: engine(*clean, "--dry-run", "--json").json["matched"], lambda n: n == 2)
    code, screen = at_terminal(engine, *clean, typed="n\n")
    assert code == 4
    assert "Drop 2 jobs (dead) that ended more than 1s ago?" in screen
    assert "nothing was changed" in screen
    code, screen = at_terminal(engine, *clean, typed="\x04")  # end of input is no yes
    assert code == 4
    assert engine.counts()["dead"] == 2
    code, screen = at_terminal(engine, *clean, typed="y\n")
    assert code == 0
    assert "2 jobs cleaned" in screen
    assert engine.counts()["dead"] == 0


def test_doctor_breaches_a_threshold_with_code_6_and_is_well_without(tmp_path: Path) -> None:
    engine = Cli(
        tmp_path, None, extra={"PYTHONWARNINGS": "ignore::ResourceWarning"}
    )  # a server of its own: others' faults stay out
    engine.dead()
    well = engine("doctor", "--json")
    assert (well.code, well.json["ok"]) == (0, True), well.out
    breached = engine("doctor", "--max-dead", "0", "--json")
    assert (breached.code, breached.json["ok"]) == (6, False)
    assert engine("doctor", "--max-dead", "1", "--max-oldest", "1h").code == 0
    assert engine("doctor", "--max-dead", "-1").code == 2
