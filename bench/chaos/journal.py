"""Journal: what producers and handlers of a run wrote down, kept outside Redis; the faults, and what the run was set to.

The seam between the lab and the checker: plain records, one JSON object a line, one `write(2)` to a file opened with O_APPEND
for each, so that kill -9 loses none that was written. Imports nothing of the engine. docs: bench/README.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

What = Literal["ask", "acked", "unknown", "refused", "cancel_asked", "cancel_answer", "start", "end", "told", "live", "gone"]

JOURNALS, FAULTS, SETTINGS = "journal", "faults.ndjson", "settings.json"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact. Producers write the first six kinds, handlers `start`, `end` and `told`, the lab `live` and `gone` of workers."""

    what: What
    n: int = 0
    """The job's number in the run, from 1; a duplicate enqueued on purpose has a number of its own and the same `dedup`."""
    job: str = ""
    """The job's full id, `queue/id`; '' before the engine gave one, and where it told a number of them only."""
    kind: str = ""
    queue: str = ""
    key: str = ""
    """Ordering key. One producer has it to itself and awaits each enqueue of it: `n` rises along a key."""
    dedup: str = ""
    due_ms: int = 0
    """Not to start before, epoch ms of the server's clock: when the ask went out plus its delay. 0: at once."""
    want: str = ""
    """On `ask`: how it must end: completed | dead | stalled (dead for its stalls) | undecodable (dead for its bytes) |
    cancelled (completed will do where the cancel came too late or was never acknowledged)."""
    fails: int = 0
    """On `ask`: failed attempts it is told to have."""
    snoozes: int = 0
    """On `ask`: snoozes it is told to have."""
    crashes: int = 0
    """On `ask`: starts of it that end their own process (`poison`, `exits`)."""
    attempt: int = 0
    how: str = ""
    """end: ok | failed | snoozed | cancelled (told to stop: its lease was lost, it was cancelled, or its worker is leaving and
    gives it back); acked: new | duplicate | repeated | counted (`job` is '': of a bulk call that
    failed, those that it said are in); refused, unknown: the error's class; cancel_answer: cancelled (it will not
    start any more) | requested (it runs and is told) | late (it had ended) | unknown; gone: an exit code."""
    took_ms: int = 0
    """acked, unknown, refused: how long the enqueue call took until its own answer."""
    lease_ms: int = 0
    """live: the worker's lease, where it is not that of its queues."""
    pid: int = 0
    worker: str = ""
    mono_ns: int = 0
    """CLOCK_MONOTONIC, which all processes of the machine share."""
    ms: int = 0
    """The machine's wall clock, epoch ms; the server is on the same machine."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One injected fault. Written when it begins and, with the same `i`, again when it has ended; the last line counts."""

    i: int
    kind: str
    begin_mono_ns: int
    end_mono_ns: int = 0
    """0: still on."""
    injected: bool = True
    """False: it was due but could not be done (`note` says why): not counted."""
    instead_of: str = ""
    """The kind that was due and could not be done, where this one stands in for it."""
    pids: tuple[int, ...] = ()
    """The worker processes it struck."""
    entitles: int = 0
    """How many starts more than one it may cost at worst: slots of the pools it struck."""
    loses_lease: bool = False
    """True: the leases of `pids` may have run out because of it."""
    server_away: bool = False
    """True: the server did not answer, or not everybody, from begin to end."""
    poor: bool = False
    """True: enqueues may rightly have been refused from begin to end (maxmemory, disk full)."""
    note: str = ""


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue of the run is declared."""

    concurrency: int
    attempts: int
    lease_ms: int
    stall_limit: int


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`settings.json`: what the run was set to, and its phases (written again at the end of each)."""

    seed: int
    command: str
    """What repeats the run."""
    versions: dict[str, str]
    """engine, python, redis-py, server"""
    server: list[str]
    """The server's command line."""
    workers: int
    """Worker processes."""
    queues: dict[str, QueueFacts]
    producers: int
    enqueue_timeout_ms: int
    """A producer's deadline for one call."""
    jobs_asked: int = 0
    """Producers go on until so many are acknowledged; 0: for as long as the run lasts."""
    safety_mono_ns: int = 0
    liveness_mono_ns: int = 0
    """Faults off, producers gone: draining begins."""
    drained_mono_ns: int = 0
    """0: it was not drained."""
    bound_ms: int = 0
    """How long draining may take."""
    bound_why: str = ""


T = TypeVar("T", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


class Pen:
    """Appends records to one file of one process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def put(self, record: msgspec.Struct) -> None:
        """Append one record, in one system call."""
        os.write(self._fd, _encode(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Journal:
    """A process's own file of a run: `journal/<role>-<pid>.ndjson`."""

    def __init__(self, directory: Path, role: str, worker: str = "") -> None:
        self._pid = os.getpid()
        self._worker = worker
        self._pen = Pen(directory / JOURNALS / f"{role}-{self._pid}.ndjson")

    def note(self, what: What, **facts: Any) -> None:
        """Write down one fact, now."""
        facts.setdefault("pid", self._pid)
        facts.setdefault("worker", self._worker)
        self._pen.put(Record(what=what, mono_ns=time.monotonic_ns(), ms=time.time_ns() // 1_000_000, **facts))

    def close(self) -> None:
        """Close the file."""
        self._pen.close()


def lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Every record of a file; a last line that was cut off by a kill of the machine is left out."""
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decode(line)


def records(directory: Path) -> list[Record]:
    """Every record of a run, in the order of the machine's monotonic clock."""
    found = [record for path in sorted((directory / JOURNALS).glob("*.ndjson")) for record in lines(path, Record)]
    return sorted(found, key=lambda record: record.mono_ns)


def acknowledged(told: Iterable[Record]) -> int:
    """How many jobs producers were told of: a duplicate is no job of its own."""
    ids: set[str] = set()
    by_id: set[int] = set()
    counted: set[int] = set()
    for record in told:
        if record.what == "acked" and record.job:
            ids.add(record.job)
            by_id.add(record.n)
        elif record.what == "acked":
            counted.add(record.n)
    return len(ids) + len(counted - by_id)


def told_so_far(directory: Path) -> Iterator[Record]:
    """What producers have written down by now."""
    for path in (directory / JOURNALS).glob("producer-*.ndjson"):
        yield from lines(path, Record)


def faults(directory: Path) -> list[Fault]:
    """Every fault of a run, the last word on each, in the order of their beginnings."""
    path = directory / FAULTS
    last = {fault.i: fault for fault in lines(path, Fault)} if path.exists() else {}
    return sorted(last.values(), key=lambda fault: fault.begin_mono_ns)


def read_settings(directory: Path) -> RunSettings:
    """What a run was set to."""
    return msgspec.json.decode((directory / SETTINGS).read_bytes(), type=RunSettings)


def write_settings(directory: Path, settings: RunSettings) -> None:
    """Keep what a run is set to; a reader sees the old or the new, never half."""
    path = directory / SETTINGS
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(_encode(settings), indent=1))
    fresh.replace(path)
