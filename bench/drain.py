"""Drain: how fast one worker process gets through no-op jobs, and what a job costs Redis.

    python -m bench.drain                      20,000 jobs, pool of 5, one process, embedded server, append-only file on
    python -m bench.drain --jobs 50000 --keys 5000 --json

Prints jobs a second (median of the runs), Redis commands and script calls a job, and bytes a waiting job beyond its payload.
Server and worker share the machine's cores; compare ratios of one run, not figures of two machines.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from engine import Clock, Engine, Job, Settings
from engine.fleet import run
from engine.worker import Worker


class Payload(msgspec.Struct, frozen=True):
    """About 300 bytes, as an inbound message has."""

    conversation_id: str
    content: str


PAYLOAD_TEXT = "x" * 240


async def measure(directory: str, jobs: int, keys: int, concurrency: int, fsync: str, url: str | None) -> dict[str, Any]:
    """One run: enqueue, weigh, drain, count."""
    clock = Clock()
    engine = Engine(url, settings=Settings(data_dir=directory))
    queue = engine.queue("drain", concurrency=concurrency, keep_completed=1000)

    @queue.handler("noop", ordering_key="conversation_id" if keys else None)
    async def noop(payload: Payload, job: Job) -> None:
        return None

    async with engine:
        store = engine.connection.store
        if fsync != "as-is":
            await store.link.call("CONFIG", "SET", "appendfsync", fsync)
        while not (await store.obliterate("drain", force=True)).is_done:
            continue
        before_bytes = await used(store)
        began = clock.mono()
        await noop.enqueue_many(Payload(f"conversation-{i % keys if keys else i}", PAYLOAD_TEXT) for i in range(jobs))
        enqueued = clock.mono() - began
        weight = (await used(store) - before_bytes) / jobs
        payload_bytes = len(msgspec.msgpack.encode(Payload("conversation-10000", PAYLOAD_TEXT)))
        await store.link.call("CONFIG", "RESETSTAT")
        gc.collect()
        worker = Worker(engine, burst=True)
        began = clock.mono()
        await worker.run()
        drained = clock.mono() - began
        counts = await store.counts("drain")
        calls = await commandstats(store)
        if counts.completed != jobs:
            sys.exit(f"lost jobs: {jobs} enqueued, {counts.completed} completed: {counts}")
    return {
        "jobs_per_second": jobs / drained,
        "enqueued_per_second": jobs / enqueued,
        "steps_per_job": calls.get("evalsha", 0) / jobs,
        "commands_per_job": sum(calls.values()) / jobs,
        "bytes_per_waiting_job": weight,
        "payload_bytes": payload_bytes,
        "overhead_bytes": weight - payload_bytes,
    }


async def used(store: Any) -> int:
    """Bytes the server's data takes."""
    info = (await store.link.call("INFO", "memory")).decode()
    return next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith("used_memory:"))


async def commandstats(store: Any) -> dict[str, int]:
    """Command -> calls since the reset, those inside scripts included."""
    info = (await store.link.call("INFO", "commandstats")).decode()
    found = {}
    for line in info.splitlines():
        if line.startswith("cmdstat_"):
            name, _, rest = line.removeprefix("cmdstat_").partition(":")
            found[name] = int(rest.partition("calls=")[2].partition(",")[0])
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.drain", description="Drain rate of no-op jobs, and their cost.")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keys", type=int, default=0, help="ordering keys over which the jobs spread; 0 none, >= jobs: one each")
    parser.add_argument("--concurrency", type=int, default=5)
    parser.add_argument("--fsync", choices=("always", "everysec", "as-is"), default="everysec")
    parser.add_argument("--url", help="a server of your own; default: the embedded one, in a directory of its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="drain-") as directory:
        for _ in range(options.runs):
            results.append(
                run_one(
                    str(Path(directory) / "data"), options.jobs, options.keys, options.concurrency, options.fsync, options.url
                )
            )
    middle = {field: statistics.median(r[field] for r in results) for field in results[0]}
    rates = sorted(r["jobs_per_second"] for r in results)
    if options.json:
        print(json.dumps({"median": middle, "runs": results, "settings": vars(options)}))
        return
    print(report(middle, rates, options))


def report(middle: dict[str, Any], rates: list[float], options: argparse.Namespace) -> str:
    """The figures as a person reads them."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    keys = f"{options.keys:,}" if options.keys else "no"
    spread = f"(from {rates[0]:,.0f} to {rates[-1]:,.0f})"
    weight = f"payload {middle['payload_bytes']:.0f} + {middle['overhead_bytes']:.0f}"
    return "\n".join(
        (
            f"{python}, {options.jobs:,} no-op jobs, pool of {options.concurrency}, one process,",
            f"append-only file {options.fsync}, {keys} ordering keys; median of {options.runs} runs",
            f"  drain      {middle['jobs_per_second']:>9,.0f} jobs/s   {spread}",
            f"  enqueue    {middle['enqueued_per_second']:>9,.0f} jobs/s   in calls of 100",
            f"  calls      {middle['steps_per_job']:>9.3f} a job     script calls, all services included",
            f"  commands   {middle['commands_per_job']:>9.2f} a job     inside scripts included",
            f"  waiting    {middle['bytes_per_waiting_job']:>9.0f} bytes     a job: {weight}",
        )
    )


def run_one(directory: str, jobs: int, keys: int, concurrency: int, fsync: str, url: str | None) -> dict[str, Any]:
    """One run on a fresh event loop."""
    found: dict[str, Any] = {}

    async def inner() -> bool:
        found.update(await measure(directory, jobs, keys, concurrency, fsync, url))
        return True

    run(inner())
    return found


if __name__ == "__main__":
    main()
