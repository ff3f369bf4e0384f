"""Processes of a run: how they are started, with which environment, and how they reach the server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bench.stage import ROOT


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process of the run, in a session of its own: Ctrl-C ends the lab first, and that its children."""
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True)


class Ways(Protocol):
    """How processes reach the server: through the proxy, or straight."""

    async def url(self, who: str) -> str:
        """The address for an engine of that name."""

    async def settled(self, who: str) -> dict[str, int]:
        """Queue -> monotonic ns: what had ended in that worker by then is settled."""


def environment(directory: Path, url: str, **more: str) -> dict[str, str]:
    """For a child process: this run's server, our code, and none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "REDIS_", "CHAOS_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "REDIS_URL": url, "CHAOS_DIR": str(directory), "ENGINE_LOG_FORMAT": "json", **more}
