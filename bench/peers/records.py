"""Records: what handlers wrote, 32 bytes a run, and what follows from it: rates, latencies, what ran twice or never."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import percentile

from .results import Reading

_RECORD = struct.Struct("<QQQQ")
SIZE = _RECORD.size
WARM_UP = 1 << 40
"""Jobs numbered from here on are not measured."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run of a job; instants in nanoseconds since 1970. `ended_ns` 0: it had only begun."""

    seq: int
    due_ns: int
    started_ns: int
    ended_ns: int


def count(path: Path) -> int:
    """Whole records in the file, warm-up included; 0 when there is none yet."""
    try:
        return path.stat().st_size // SIZE
    except FileNotFoundError:
        return 0


def read(path: Path, skip: int = 0) -> list[Record]:
    """The measured records, in the order they were written, without the first `skip` (warm-up included) of the file."""
    data = path.read_bytes()[skip * SIZE :] if path.exists() else b""
    whole = len(data) // SIZE * SIZE
    return [Record(*fields) for fields in _RECORD.iter_unpack(data[:whole]) if fields[0] < WARM_UP]


def rate(records: Sequence[Record], until_ns: int = 0) -> float:
    """Jobs a second from the first start to the last end, or to `until_ns` where jobs were missing; 0 for fewer than two."""
    if len(records) < 2:
        return 0.0
    seconds = ((until_ns or max(r.ended_ns for r in records)) - min(r.started_ns for r in records)) / 1e9
    return len(records) / seconds


def late_ms(records: Sequence[Record]) -> list[float]:
    """How long after its due instant (or its enqueue) each job first started, in ms, sorted; negative is early."""
    first: dict[int, float] = {}
    for r in records:
        late = (r.started_ns - r.due_ns) / 1e6
        first[r.seq] = min(late, first.get(r.seq, late))
    return sorted(first.values())


def percentile_reading(late: Sequence[float], missing: Sequence[float], share: float, note: str = "") -> Reading:
    """A percentile in ms over what started (`late`) and what had not by then (`missing`: how late it was at least).

    >>> percentile_reading([1.0, 2.0, 3.0], [500.0], 0.5).value, percentile_reading([1.0, 2.0, 3.0], [500.0], 0.99)
    (2.0, Reading(value=500.0, note='', is_floor=True))
    """
    value = percentile([*late, *missing], share)
    return Reading(value, note, is_floor=bool(missing) and value >= min(missing))


def disorder(records: Sequence[Record], keys: int) -> str:
    """What is wrong with the order within each of `keys` ordering keys: '' when every job began after the last one's end."""
    ended: dict[int, int] = {}
    early = 0
    for r in sorted(records, key=lambda one: one.seq):
        early += r.started_ns < ended.get(r.seq % keys, 0)
        ended[r.seq % keys] = max(r.ended_ns, ended.get(r.seq % keys, 0))
    return f"{early:,} of {len(records):,} jobs began before an earlier one of their key had ended" if early else ""


def tally(records: Sequence[Record], expected: int) -> str:
    """What is wrong with how often jobs ran: '' when each of 0 to `expected` - 1 ran exactly once."""
    runs = Counter(r.seq for r in records)
    twice = sum(1 for times in runs.values() if times > 1)
    never = expected - sum(seq < expected for seq in runs)
    parts = [f"{n:,} of {expected:,} jobs {what}" for n, what in ((never, "never ran"), (twice, "ran more than once")) if n]
    return ", ".join(parts)
