"""Guard: what a job costs in counts that no machine changes, against the figures kept in `guard.json`.

    python -m bench.guard             measure, compare, exit 1 when a count has grown by more than a tenth
    python -m bench.guard --accept    keep what was measured as the new figures (a cost decided on; say why in the commit)

Counted are commands and bytes of the server, the bytecode instructions of our own code, which one Python version always executes
alike, and objects in rings, which only the garbage collector frees (they once cost a third of a worker's time). A timing would
need a quiet machine; these fail for the change that made a job dearer and for nothing else. The suite runs the comparison
(tests/bench/test_guard.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from engine import Clock, Engine, Handler, Job, Settings
from engine.fleet import run
from engine.services import prefetch
from engine.services.pool import Pool
from engine.worker import Worker

from .drain import PAYLOAD_TEXT, commandstats

KEPT = Path(__file__).with_name("guard.json")
SLACK = 0.10
"""Share by which a count may grow; instructions repeat to half a hundredth."""
BATCHED, BATCHED_SLACK = ("calls a job", "commands in scripts a job"), 0.6
"""Counts that grow when fewer jobs go with a call, which a busy neighbour makes them (seen: by half), and how much they may where
a worker drains. A single job has the same counts without that."""
BESIDES = 0.02
"""How much a count may grow in any case: a worker also calls by the clock, and starting and stopping leaves objects too."""
LOOKS = 0.01
"""Seconds between two looks whether a single job is done: each look is a few instructions of ours, too."""
JOBS = 2_000
SINGLE = 200
OURS = str(Path(__file__).resolve().parent.parent / "engine")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Payload(msgspec.Struct, frozen=True):
    """About 300 bytes, as an inbound message has."""

    conversation_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One count beside the kept one."""

    name: str
    now: float
    kept: float | None

    @property
    def has_grown(self) -> bool:
        """True when it is more than the slack over what is kept."""
        slack = BATCHED_SLACK if self.name.startswith("drain") and self.name.endswith(BATCHED) else SLACK
        return self.kept is not None and self.now > self.kept * (1 + slack) + BESIDES

    @property
    def has_shrunk(self) -> bool:
        """True when the kept figure would hide a later growth."""
        return self.kept is not None and self.now < self.kept * (1 - SLACK) - BESIDES

    def __str__(self) -> str:
        if self.kept is None:
            return f"  {self.name:<70} {self.now:>9,.2f}   not kept for Python {PYTHON}"
        word = "GROWN" if self.has_grown else "shrunk" if self.has_shrunk else ""
        change = f"{self.now / self.kept - 1:+7.1%}" if self.kept else ""
        return f"  {self.name:<70} {self.now:>9,.2f}   kept {self.kept:>9,.2f}   {change} {word}".rstrip()


async def measure(directory: str) -> dict[str, float]:
    """Every count, on an embedded server of its own."""
    engine = Engine(settings=Settings(data_dir=directory, lease=600.0))  # long: what a worker does by the clock is not counted
    plain = _declare(engine, "plain", keyed=False)
    keyed = _declare(engine, "keyed", keyed=True)
    counts: dict[str, float] = {}
    async with engine:
        store = engine.connection.store
        await plain.enqueue(_payload(0))  # scripts loaded, streams made
        await Worker(engine, burst=True).run()

        async def count(name: str, jobs: int, work: Callable[[], Awaitable[object]], commands: Iterable[str] = ()) -> None:
            await store.link.call("CONFIG", "RESETSTAT")
            gc.collect()
            gc.disable()
            try:
                counts[f"{name}: bytecode instructions a job"] = await _instructions(work) / jobs
                counts[f"{name}: objects left to the garbage collector a job"] = gc.collect() / jobs
            finally:
                gc.enable()
            found = await commandstats(store)
            calls = found.pop("evalsha", 0)
            ours = {k: v for k, v in found.items() if k not in ("info", "config|resetstat")}
            counts[f"{name}: script calls a job"] = calls / jobs
            counts[f"{name}: commands in scripts a job"] = sum(ours.values()) / jobs

        async def one_by_one() -> None:
            for i in range(SINGLE):
                await plain.enqueue(_payload(i))

        async def drain() -> None:
            await Worker(engine, burst=True).run()

        await count("enqueue one", SINGLE, one_by_one)
        await count("enqueue many", JOBS, lambda: plain.enqueue_many(map(_payload, range(JOBS))))
        counts["a waiting job: bytes beside its payload"] = await _bytes(store, "plain") / (JOBS + SINGLE) - _payload_bytes()
        await count("drain", JOBS + SINGLE, drain)
        await count("enqueue many with keys", JOBS, lambda: keyed.enqueue_many(map(_payload, range(JOBS))))
        counts["a job of four to a key: bytes beside its payload"] = await _bytes(store, "keyed") / JOBS - _payload_bytes()
        await count("drain with keys", JOBS, drain)
        async with _at_work(engine) as pool:
            await count("a single job, worker idle", SINGLE, lambda: _one_at_a_time(plain, pool))
    return counts


@asynccontextmanager
async def _at_work(engine: Engine) -> AsyncIterator[Pool]:
    """A worker that runs; the pool of the plain queue."""
    worker = Worker(engine)
    running = asyncio.ensure_future(worker.run())
    while "plain" not in worker.pools or not worker.pools["plain"].is_idle:
        await _clock.sleep(0.05)
    await _clock.sleep(0.5)  # its services have made their first passes
    try:
        yield worker.pools["plain"]
    finally:
        worker.stop()
        await running


async def _one_at_a_time(handler: Handler[Payload, None], pool: Pool) -> None:
    """Each job finds the worker idle: enqueue, bell, claim, run, settle, rest."""
    for i in range(SINGLE):
        before = len(_ran)
        await handler.enqueue(_payload(i))
        while len(_ran) == before or not pool.is_idle:
            await _clock.sleep(LOOKS)


def compare(now: dict[str, float], kept: dict[str, float]) -> list[Compared]:
    """Each count beside the kept one, in the order of `now`."""
    return [Compared(name, value, kept.get(name)) for name, value in now.items()]


def kept_counts() -> dict[str, float]:
    """What is kept; instructions only for this version of Python, whose compiler makes them."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return {**kept["server"], **kept["python"].get(PYTHON, {})}


def accept(now: dict[str, float]) -> None:
    """Keep these counts from now on."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"python": {}}
    rounded = {name: round(value, 3) for name, value in now.items()}
    kept["python"][PYTHON] = {name: value for name, value in rounded.items() if "instructions" in name}
    kept["server"] = {name: value for name, value in rounded.items() if "instructions" not in name}
    KEPT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def measured() -> dict[str, float]:
    """Run `measure` on a loop and a directory of its own."""
    found: dict[str, float] = {}

    async def inner(directory: str) -> bool:
        found.update(await measure(directory))
        return True

    # how much is claimed ahead goes by pace and by how long runs take, which counting slows twentyfold and a busy machine further
    look, prefetch.LOOK = prefetch.LOOK, 3600.0
    horizon, prefetch.HORIZON = prefetch.HORIZON, 3600.0
    try:
        with tempfile.TemporaryDirectory(prefix="guard-") as directory:
            run(inner(str(Path(directory) / "data")))
    finally:
        prefetch.LOOK, prefetch.HORIZON = look, horizon
    return found


def least(tries: int = 3) -> dict[str, float]:
    """Measure until nothing has grown, a few times at most, and take the lowest of each count: a busy neighbour makes batches
    smaller and so some counts larger, never lower."""
    now = measured()
    for _ in range(tries - 1):
        if not any(row.has_grown for row in compare(now, kept_counts())):
            break
        again = measured()
        now = {name: min(value, again[name]) for name, value in now.items()}
    return now


_ran: list[None] = []
_clock = Clock()


def _declare(engine: Engine, name: str, *, keyed: bool) -> Handler[Payload, None]:
    queue = engine.queue(name, keep_completed=1000)

    @queue.handler("noop", ordering_key="conversation_id" if keyed else None)
    async def noop(payload: Payload, job: Job) -> None:
        _ran.append(None)

    return noop


def _payload(i: int) -> Payload:
    return Payload(f"conversation-{i % (JOBS // 4):05}", PAYLOAD_TEXT)


async def _bytes(store: Any, queue: str) -> int:
    """What the server keeps for a queue's jobs, key by key: the whole server's memory also moves with its buffers."""
    keys = [key for key in await store.link.call("KEYS", f"engine:{{{queue}}}:*") if not key.endswith(b":meta")]
    return sum([await store.link.call("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys])


def _payload_bytes() -> int:
    return len(msgspec.msgpack.encode(_payload(0)))


async def _instructions(work: Callable[[], Awaitable[object]]) -> int:
    """Bytecode instructions of files in engine/ while `work` runs, in this thread (not the lease keeper's)."""
    executed = 0

    def each(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal executed
        if event == "opcode":
            executed += 1
        elif event == "call":
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return each

    before = sys.gettrace()
    sys.settrace(each)
    try:
        await work()
    finally:
        sys.settrace(before)
    return executed


def main() -> None:
    """Measure, then compare or keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description="Costs of a job that no machine changes.")
    parser.add_argument("--accept", action="store_true", help="keep what is measured now")
    options = parser.parse_args()
    if options.accept:
        accept(measured())
    now = least()
    rows = compare(now, kept_counts())
    print("\n".join(map(str, rows)))
    if any(row.has_grown for row in rows):
        sys.exit("A job has become dearer. Find out why; when it is worth it, run with --accept and say so in the commit.")
    if any(row.has_shrunk for row in rows):
        print("Cheaper than kept: run with --accept, so that a later growth is seen.")


if __name__ == "__main__":
    main()
