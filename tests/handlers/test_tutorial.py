"""docs/tutorial.md: every code block on the page is run, and what the page says it prints is printed.

A `python` block is a file, named in its first line. A `sh` block runs where those files are, with the exports of the blocks
before it. A `text` block after it is what it prints: these lines in this order, among others; `…` stands for anything.
"""

from __future__ import annotations

import os
import re
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


def expect(printed: str, wanted: str) -> None:
    """Every line of `wanted` is found in `printed`, in order."""
    text, at = " ".join(printed.split()), 0
    for line in wanted.splitlines():
        pattern = r".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        found = re.compile(pattern).search(text, at)
        assert found, f"not printed: {line}\n{printed}"
        at = found.end()


@pytest.mark.slow
def test_every_block_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    exports, printed, ran = "", "", 0
    for language, text in blocks(ROOT / "docs" / "tutorial.md"):
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"\w+\.py", name), f"a python block begins with its file's name, not with {name}"
            (tmp_path / name).write_text(text)
        elif language == "sh":
            script = f"set -e\n{exports}{text}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=50
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
            exports += "".join(f"{line}\n" for line in text.splitlines() if line.startswith("export "))
            printed, ran = done.stdout, ran + 1
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
