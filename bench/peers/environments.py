"""Environments: each contender's own venv or npm folder under `.bench/`, made at first use from the versions in pins.toml."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".bench"
PINS = HERE / "pins.toml"
_INSTALL_SECONDS = 600.0


class CannotRun(Exception):
    """A contender can't do this here; the message is the reason, for its cell in the table."""


@dataclass(frozen=True, slots=True)
class Environment:
    """How a contender's driver is started: the command's beginning, and what it needs in its environment."""

    command: tuple[str, ...]
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pin:
    """A contender's section of pins.toml. Without packages it runs in this very environment: that is us."""

    name: str
    title: str
    driver: str
    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    shares: str = ""
    """Runs in this contender's environment: the same packages."""


def pins() -> dict[str, Pin]:
    """Every contender, in the file's order, us first."""
    found = {"engine": Pin("engine", "engine", "engine")}
    for name, section in tomllib.loads(PINS.read_text(encoding="utf-8")).items():
        found[name] = Pin(
            name=name,
            title=section["title"],
            driver=section["driver"],
            pip=tuple(section.get("pip", ())),
            npm=tuple(section.get("npm", ())),
            shares=section.get("shares", ""),
        )
    return found


def prepare(pin: Pin) -> Environment:
    """The environment of a contender, made when it is missing or its pins have changed.

    Raises:
        CannotRun: what it needs is not here (node) or could not be installed.
    """
    if pin.npm:
        node = shutil.which("node")
        if node is None or shutil.which("npm") is None:
            raise CannotRun("node and npm are not installed")
        folder = _make(pin.name, pin.npm, _npm)
        return Environment((node, str(HERE / "drivers" / pin.driver)), {"BENCH_ENVIRONMENT": str(folder)})
    if pin.shares:
        return Environment((*prepare(pins()[pin.shares]).command[:-1], pin.driver), {"PYTHONPATH": str(ROOT)})
    python = sys.executable if not pin.pip else str(_make(pin.name, pin.pip, _venv) / "bin" / "python")
    return Environment((python, "-m", "bench.peers.drivers", pin.driver), {"PYTHONPATH": str(ROOT)})


def _make(name: str, packages: Sequence[str], build: Callable[[Path, Sequence[str]], None]) -> Path:
    """The folder, built anew unless its stamp says that it holds just these packages."""
    folder = CACHE / name
    stamp = folder / "stamp"
    digest = hashlib.sha256(json.dumps([sys.version, *packages]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr)
    build(folder, packages)
    stamp.write_text(digest)
    return folder


def _venv(folder: Path, packages: Sequence[str]) -> None:
    _install([sys.executable, "-m", "venv", str(folder)], folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _install([*pip, *packages], folder)


def _npm(folder: Path, packages: Sequence[str]) -> None:
    (folder / "package.json").write_text('{"private": true}\n')
    _install(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", *packages], folder)


def _install(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"could not be installed within {_INSTALL_SECONDS:.0f} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "error" in line] or done.stderr.splitlines()
        raise CannotRun(f"could not be installed: {(errors or ['no reason given'])[0][:200]}")
