"""docs/tutorial.md: every code block on the page is run, and what the page says it prints is printed.

A `python` block is a file, named in its first line. A `sh` block runs where those files are, with the exports of the blocks
before it. A `text` block after it is what it prints: these lines in this order, among others; `…` stands for anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every code block."""
    return [(found[1], found[2]) for found in BLOCK.finditer(page.read_text())]


def environment() -> dict[str, str]:
    """As a developer has it: the commands on the path, nothing configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "PYTHONPATH": f"{ROOT}:."}


def run(script: str, directory: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a block; nothing it started in the background outlives it."""
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, printed, said


def expect(printed: str, wanted: str) -> None:
    """Every line of `wanted` is found in `printed`, in order."""
    text, at = " ".join(printed.split()), 0
    for line in wanted.splitlines():
        pattern = r".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        found = re.compile(pattern).search(text, at)
        assert found, f"not printed: {line}\n{printed}"
        at = found.end()


@pytest.mark.slow
@pytest.mark.timeout(240)  # some twenty commands, each a fresh Python, on a machine that may be busy
def test_every_block_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    exports, printed, ran = "", "", 0
    for language, text in blocks(ROOT / "docs" / "tutorial.md"):
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"\w+\.py", name), f"a python block begins with its file's name, not with {name}"
            (tmp_path / name).write_text(text)
        elif language == "sh":
            script = f"set -e\n{exports}{text}"
            code, printed, said = run(script, tmp_path)
            assert code == 0, f"{text}\n{printed}\n{said}"
            assert "Traceback" not in said
            exports += "".join(f"{line}\n" for line in text.splitlines() if line.startswith("export "))
            ran += 1
        else:
            assert language == "text", f"a block in {language or 'no language'} is not run: give it another form"
            expect(printed, text)
    assert ran >= 6


def test_expecting_a_line_that_was_not_printed_fails() -> None:
    expect("state      completed\nattempt 1 of 3", "state … completed\nattempt 1")
    with pytest.raises(AssertionError, match="not printed: state … dead"):
        expect("state      completed", "state … dead")
    with pytest.raises(AssertionError, match="not printed"):
        expect("b\na", "a\nb")
