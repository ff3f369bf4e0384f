"""Reload: runs a command in a child process and starts it anew when a Python file changes. For development only.

Polls modification times: a few hundred files cost a millisecond, and no watcher library differs from platform to platform.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..clock import Clock
from .common import ExitCode, say

PERIOD = 0.5
"""Seconds between two looks: shorter than it takes to switch windows."""

SKIPPED = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".engine", ".tox", ".mypy_cache", ".ruff_cache", "build", "dist"}
)


def supervise(command: Sequence[str], root: Path, *, clock: Clock | None = None) -> ExitCode:
    """Keep `command` running, restarted on each change of a `.py` under `root`, until Ctrl-C or SIGTERM.

    A child that ended by itself (a syntax error, say) is started again by the next change.
    """
    return asyncio.run(_supervise(command, root, clock or Clock()))


async def _supervise(command: Sequence[str], root: Path, clock: Clock) -> ExitCode:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    seen = await asyncio.to_thread(snapshot, root)
    while not stopping.is_set():
        # A session of its own: Ctrl-C reaches us alone, and we pass it on once.
        child = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        changed: list[str] = []
        while not changed and not stopping.is_set():
            await clock.sleep(PERIOD)
            now = await asyncio.to_thread(snapshot, root)
            changed, seen = changes(seen, now), now
        await _end(child)
        if changed:
            say(f"engine: {changed[0]}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} changed: starting again")
    return ExitCode.DONE


async def _end(child: asyncio.subprocess.Process) -> None:
    """Let the child drain as it would for any SIGTERM; it bounds that time itself."""
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)
    await child.wait()


def snapshot(root: Path) -> dict[str, int]:
    """Path -> modification time in ns of every Python file under `root` that may be somebody's own."""
    return {str(path): path.stat().st_mtime_ns for path in _python_files(root) if path.exists()}


def _python_files(directory: Path) -> Iterator[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError:  # removed or closed to us since it was listed
        return
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink() and entry.name not in SKIPPED:
            yield from _python_files(entry)
        elif entry.suffix == ".py":
            yield entry


def changes(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Files that came, went or changed, sorted."""
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))


def same_command(*, without: Sequence[str]) -> list[str]:
    """This process's own command line, for a child, less some flags that take no value."""
    return [sys.executable, "-m", "engine.cli", *(word for word in sys.argv[1:] if word not in without)]
