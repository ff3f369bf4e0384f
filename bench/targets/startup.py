"""Start-up: how long somebody waits for `engine --help`, and a deployment for a worker that is at work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import Figure, Section
from bench.stage import Fsync, Stage
from engine import Clock

APP = "handlers:engine"
HELP_MS = 150.0
READY_MS = 500.0
MODES = {
    "address given": "the server's address in REDIS_URL",
    "embedded, up already": "no address: the embedded server of its directory, which somebody else has started",
}
TEXT = """
Real processes on the stage's server. Help: from the start of `engine --help` to its end, its output thrown away. Ready: from the
start of `engine run` with the whole application (three queues) to the line worker.started in its log, which is looked for every
10 ms; each worker ends before the next is started. The first run of each, which may have to read and compile modules, is left out
of the medians and stands in the note.
""".replace("\n", " ").strip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Runs of each."""

    runs: int = 9


QUICK = Sizes(runs=3)


async def starts(clock: Clock, sizes: Sizes, fsync: Fsync) -> Section:
    """Both, one after the other and each run by itself."""
    async with Stage(fsync, clock=clock) as stage:
        helps = [await _help_ms(stage, clock) for _ in range(sizes.runs + 1)]
        figures = [judged("engine --help", helps, HELP_MS)]
        for mode, said in MODES.items():
            ready = [await _ready_ms(stage, clock, mode) for _ in range(sizes.runs + 1)]
            figures.append(judged(f"worker ready, {mode}", ready, READY_MS, said))
    settings = {"runs": f"{sizes.runs} of each; medians", "application": APP}
    return Section("Start-up", text=TEXT, settings=settings, figures=figures)


def command() -> list[str]:
    """`engine` as it is typed; without its script beside this Python, the module it calls."""
    script = Path(sys.executable).with_name("engine")
    return [str(script)] if script.exists() else [sys.executable, "-m", "engine.cli"]


async def _help_ms(stage: Stage, clock: Clock) -> float:
    """Raises RuntimeError when it fails."""
    nothing = asyncio.subprocess.DEVNULL
    began = clock.mono()
    process = await asyncio.create_subprocess_exec(*command(), "--help", env=stage.environment(), stdout=nothing, stderr=nothing)
    code = await process.wait()
    took = clock.mono() - began
    if code:
        raise RuntimeError(f"engine --help ended with {code}")
    return took * 1000


async def _ready_ms(stage: Stage, clock: Clock, mode: str) -> float:
    """Raises RuntimeError when the worker does not start."""
    embedded = {"REDIS_URL": "", "ENGINE_DATA_DIR": str(stage.directory / "server")}
    workers = stage.workers(APP, environment={} if mode == "address given" else embedded)
    began = clock.mono()
    async with workers:
        return (clock.mono() - began) * 1000


def judged(name: str, runs_ms: Sequence[float], most_ms: float, said: str = "") -> Figure:
    """The median of all runs but the first."""
    first, *rest = runs_ms
    note = "; ".join(filter(None, (said, f"the first run {first:.0f} ms")))
    return Figure.of_runs(name, rest, "ms", at_most=most_ms, note=note)
