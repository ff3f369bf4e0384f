"""Makes a virtual environment with pip, also where Python came without `ensurepip` (Debian's `python3` alone).

    python3 ops/make_venv.py .venv

Standard library only: it runs before anything is installed. Without ensurepip it takes pip's wheel from the package index,
checks its SHA-256, and lets that pip install itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/pypi/pip/json"
OLDEST = (3, 11)


def main(directory: Path) -> int:
    """Create `directory`; 0 when it has a working pip."""
    if sys.version_info < OLDEST:
        return fail(f"Python {sys.version.split()[0]} is too old: the engine needs 3.11 or later (make PYTHON=python3.12 ...)")
    python = directory / "bin" / "python"
    if python.exists() and works(python):
        return 0
    with_pip = importlib.util.find_spec("ensurepip") is not None
    venv.EnvBuilder(with_pip=with_pip, clear=True, symlinks=os.name != "nt").create(directory)
    if not with_pip:
        try:
            install_pip(python)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            return fail(f"this Python has no ensurepip and pip can't be fetched ({error}): apt-get install python3-venv")
    return 0


def works(python: Path) -> bool:
    """True when that interpreter has a pip."""
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def install_pip(python: Path) -> None:
    """Fetch pip's newest wheel, check it, and have it install itself."""
    with urllib.request.urlopen(INDEX, timeout=60) as reply:
        files = json.load(reply)["urls"]
    wheel = next(f for f in files if f["packagetype"] == "bdist_wheel")
    with urllib.request.urlopen(urljoin(INDEX, wheel["url"]), timeout=120) as reply:  # mirrors answer with relative ones
        data = reply.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        raise ValueError("its checksum is not the one the index names")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / wheel["filename"]
        path.write_bytes(data)
        subprocess.run([python, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)


def fail(sentence: str) -> int:
    """One sentence to stderr."""
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv")))
