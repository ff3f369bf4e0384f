"""What every driver shares: the payload, the record of a run, and the commands the harness gives.

    python -m bench.peers.drivers NAME describe                       settings and versions, as JSON
    python -m bench.peers.drivers NAME enqueue --how one --count N    N jobs; seconds it took, as JSON (--keys K: ordering keys)
    python -m bench.peers.drivers NAME load --rate R --seconds S      open loop: never waits for an answer before the next job
    python -m bench.peers.drivers NAME delayed --count N --over S     N jobs due evenly over S seconds
    python -m bench.peers.drivers NAME worker --pool N                becomes the worker, until it is killed

A handler writes one record of 32 bytes a run with one `write` to a file opened for appending: whole even when many processes
write, the same work for coroutines, threads, forks and Node. All instants are CLOCK_REALTIME, in nanoseconds.
Environment: REDIS_URL (the server), BENCH_RECORDS (the file), BENCH_POOL (the pool's size, for drivers whose CLI has no flag).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any, Protocol

RECORD = struct.Struct("<QQQQ")
WARM_UP = 1 << 40
"""Jobs numbered from here on are not measured: they fill connections and caches."""
SIDE_BY_SIDE = 20
"""So many single calls run at once where an asyncio library has no bulk call; more are slower for most of them."""
BULK = 1000
"""Payloads handed to one bulk call."""
CONVERSATIONS = 1_000_000
"""So many that no two measured jobs share one."""

Payload = dict[str, Any]


# --- payload and record ----------------------------------------------------------------------------------------------


def payload(seq: int, due_ns: int = 0, hold_ms: int = 0, keys: int = CONVERSATIONS) -> Payload:
    """A job like an inbound message, some 280 bytes as JSON. `due_ns` is when it should start; 0 means now.

    Jobs go round over `keys` conversations: fewer than there are jobs, and several jobs belong to each.
    """
    return {
        "seq": seq,
        "due_ns": due_ns or time.time_ns(),
        "hold_ms": hold_ms,
        "conversation_id": f"5500900000000-{seq % keys:06d}",
        "message_id": f"wamid.HBgNNTUwMDAwMDAwMDAwMBUCABIYFjNFQjA{seq:013d}",
        "type": "text",
        "content": "Olá! Gostaria de saber se ainda há horário livre na quinta-feira à tarde, por favor.",
    }


_file = -1


def record(seq: int, due_ns: int, started_ns: int, ended_ns: int) -> None:
    """Append one record; `ended_ns` 0 says that the run has only begun."""
    global _file  # noqa: PLW0603  one descriptor a process, opened at the first run
    if _file < 0:
        _file = os.open(os.environ["BENCH_RECORDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_file, RECORD.pack(seq, due_ns, started_ns, ended_ns))


async def handle(job: Payload) -> None:
    """What a handler does, for asyncio: nothing, or `hold_ms` of waiting."""
    started = time.time_ns()
    hold = job["hold_ms"]
    if hold >= LONG_MS:
        record(job["seq"], job["due_ns"], started, 0)
        await asyncio.sleep(hold / 1000)
        return
    if hold:
        await asyncio.sleep(hold / 1000)
    record(job["seq"], job["due_ns"], started, time.time_ns())


def handle_sync(job: Payload) -> None:
    """The same for libraries that run plain functions."""
    started = time.time_ns()
    hold = job["hold_ms"]
    if hold >= LONG_MS:
        record(job["seq"], job["due_ns"], started, 0)
        time.sleep(hold / 1000)
        return
    if hold:
        time.sleep(hold / 1000)
    record(job["seq"], job["due_ns"], started, time.time_ns())


LONG_MS = 60_000
"""A job that holds this long is there to be killed: it writes its record when it begins."""


# --- what a driver offers --------------------------------------------------------------------------------------------


class Producer(Protocol):
    """How jobs get in."""

    async def send(self, job: Payload, delay_s: float) -> None:
        """One job, in the library's own way, answered when stored. `delay_s` > 0: not before then."""

    async def send_many(self, jobs: Sequence[Payload]) -> None:
        """The library's own bulk call; only called where the driver says `has_bulk`."""


@dataclass(frozen=True)
class Setting:
    """A choice made for this contender, and why."""

    name: str
    value: str
    reason: str


@dataclass
class Driver:
    """A contender. `worker` becomes the worker process and never returns; `scheduler` says it needs `--with-scheduler`."""

    packages: Sequence[str]
    settings: Sequence[Setting]
    producer: Callable[[], AbstractAsyncContextManager[Producer]]
    worker: Callable[[int], None]
    runs_as: str
    keyed: Callable[[], AbstractAsyncContextManager[Producer]] | None = None
    """The same, with a job's conversation as its ordering key; None: the library has no such keys."""
    has_bulk: bool = True
    is_blocking: bool = False
    """Its enqueue call blocks: calls can only follow one another."""
    most_pool: int = 1000
    scheduler: Callable[[int], None] | None = None
    notes: dict[str, str] = field(default_factory=dict)
    """Workload -> what a reader must know about this contender's figure there."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Workload -> why this contender can't do it."""


# --- the commands ----------------------------------------------------------------------------------------------------


def main(driver: Driver, arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("describe")
    enqueue = commands.add_parser("enqueue")
    enqueue.add_argument("--how", choices=("one", "bulk"), required=True)
    enqueue.add_argument("--count", type=int, required=True)
    enqueue.add_argument("--first", type=int, default=0)
    enqueue.add_argument("--warm", type=int, default=0)
    enqueue.add_argument("--hold-ms", type=int, default=0)
    enqueue.add_argument("--keys", type=int, default=0, help="ordering keys over which the jobs go round; 0: none")
    enqueue.add_argument("--not-before", type=float, default=0.0, help="epoch seconds: be started by then, connect only then")
    load = commands.add_parser("load")
    load.add_argument("--rate", type=float, required=True)
    load.add_argument("--seconds", type=float, required=True)
    delayed = commands.add_parser("delayed")
    delayed.add_argument("--count", type=int, required=True)
    delayed.add_argument("--over", type=float, required=True)
    delayed.add_argument("--lead", type=float, required=True)
    worker = commands.add_parser("worker")
    worker.add_argument("--pool", type=int, required=True)
    worker.add_argument("--with-scheduler", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.command == "describe":
        print(json.dumps(describe(driver)))
    elif asked.command == "worker":
        os.environ["BENCH_POOL"] = str(asked.pool)
        (driver.scheduler if asked.with_scheduler and driver.scheduler else driver.worker)(asked.pool)
    else:
        what = {"enqueue": _enqueue, "load": _load, "delayed": _delayed}[asked.command]
        print(json.dumps(run(what(driver, asked))))


def describe(driver: Driver) -> dict[str, Any]:
    """The driver as plain data."""
    found = {}
    for package in driver.packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    singly = "none: single calls in a row" if driver.is_blocking else f"none: {SIDE_BY_SIDE} single calls side by side"
    return {
        "versions": found,
        "settings": [[one.name, one.value, one.reason] for one in driver.settings],
        "runs_as": driver.runs_as,
        "bulk": "its own bulk call" if driver.has_bulk else singly,
        "most_pool": driver.most_pool,
        "has_keys": driver.keyed is not None,
        "notes": driver.notes,
        "refuses": driver.refuses,
    }


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop where it is installed."""
    try:
        factory = import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def become(program: str, *arguments: str) -> None:
    """Turn into the library's own worker command, found beside this Python."""
    path = os.path.join(os.path.dirname(sys.executable), program)
    os.execv(path, [program, *arguments])


def redis_url() -> str:
    """The server's address."""
    return os.environ["REDIS_URL"]


def pool_size(default: int = 5) -> int:
    """The pool's size, for modules that a worker's command imports."""
    return int(os.environ.get("BENCH_POOL", str(default)))


async def _enqueue(driver: Driver, asked: argparse.Namespace) -> dict[str, Any]:
    await asyncio.sleep(max(asked.not_before - time.time(), 0.0))
    opened = driver.keyed if asked.keys else driver.producer
    if opened is None:
        sys.exit("it has no ordering keys")
    keys = asked.keys or CONVERSATIONS
    async with opened() as producer:
        await _add(driver, producer, asked.how, range(WARM_UP, WARM_UP + asked.warm), asked.hold_ms, keys)
        began = time.perf_counter()
        await _add(driver, producer, asked.how, range(asked.first, asked.first + asked.count), asked.hold_ms, keys)
        seconds = time.perf_counter() - began
    return {"count": asked.count, "seconds": seconds, "cpu_seconds": time.process_time()}


async def _add(driver: Driver, producer: Producer, how: str, numbers: range, hold_ms: int = 0, keys: int = CONVERSATIONS) -> None:
    if how == "one":
        for seq in numbers:
            await producer.send(payload(seq, 0, hold_ms, keys), 0.0)
    elif driver.has_bulk:
        for start in range(0, len(numbers), BULK):
            await producer.send_many([payload(seq, 0, hold_ms, keys) for seq in numbers[start : start + BULK]])
    else:
        for start in range(0, len(numbers), SIDE_BY_SIDE):
            some = numbers[start : start + SIDE_BY_SIDE]
            await asyncio.gather(*[producer.send(payload(seq, 0, hold_ms, keys), 0.0) for seq in some])


async def _load(driver: Driver, asked: argparse.Namespace) -> dict[str, Any]:
    """`late_ms` is how much later than planned the call for a job began: large when the sender, not the engine, is the limit."""
    late: list[float] = []
    count = int(asked.rate * asked.seconds)

    async def one(producer: Producer, seq: int, planned: float) -> None:
        late.append((time.perf_counter() - planned) * 1000)
        await producer.send(payload(seq), 0.0)

    async with driver.producer() as producer:
        await _add(driver, producer, "one", range(WARM_UP, WARM_UP + 100))
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        sent: list[Awaitable[None]] = []
        began = time.perf_counter() + 0.05
        for seq in range(count):
            planned = began + seq / asked.rate
            wait = planned - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            sent.append(loop.create_task(one(producer, seq, planned)))
        await asyncio.gather(*sent)
        seconds = time.perf_counter() - began
    late.sort()
    return {"count": count, "seconds": seconds, "late_ms": late[int(len(late) * 0.99)]}


async def _delayed(driver: Driver, asked: argparse.Namespace) -> dict[str, Any]:
    async with driver.producer() as producer:
        await _add(driver, producer, "one", range(WARM_UP, WARM_UP + 20))
        first = time.time() + asked.lead
        for seq in range(asked.count):
            due = first + asked.over * seq / asked.count
            await producer.send(payload(seq, due_ns=int(due * 1e9)), due - time.time())
        spare = first - time.time()
    return {"count": asked.count, "spare_s": spare, "first_ns": int(first * 1e9)}
