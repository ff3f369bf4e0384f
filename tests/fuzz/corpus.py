"""Corpus: the inputs that are kept for each target, one a line, base64, sorted; so a change is a readable line of a diff."""

from __future__ import annotations

import base64
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def load(target: str) -> list[bytes]:
    """Every input kept for a target."""
    path = CORPUS / f"{target}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def save(target: str, inputs: list[bytes]) -> None:
    """Keep these and no others."""
    lines = sorted({base64.b64encode(one).decode() for one in inputs}, key=lambda line: (len(line), line))
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
