"""Judge: does anything grow? The last quarter of the time after the warm-up against the first, and what is left at the end."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence

from bench.report import Bars, Cell, Figure, Line, Plot, Section, Table

from .watch import Sample

TEXT = (
    "Drift and growth: the median of the last quarter of the time after the warm-up against that of the first. Keys: what the "
    "drained server has before the load, every retention having passed, against what it has after it; but for "
    "the ready streams, which stay once they were used, nineteen a queue at most, and for streams that are empty. The server's "
    "data is judged without the streams that are capped (docs/keys.md): they fill, for half an hour at this rate, and then stay."
)

CAPPED = ("events", "settled", "control")
"""Kinds of keys that hold the last so many entries: what they take grows until they are full, and no further."""

DRIFT = 5.0
"""Per cent, of memory over the whole time after the warm-up."""

MOST_GONE = 12
"""Consumers of killed workers at a time: each has one in every stream it read, for ten minutes."""


def drift(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """By how many per cent the median of the last quarter is above that of the first."""
    quarter = max(len(samples) // 4, 1)
    first, last = (statistics.median(map(of, part)) for part in (samples[:quarter], samples[-quarter:]))
    return (last / first - 1) * 100 if first else 0.0


def growth(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """The same as a difference: of counts, where a per cent says little."""
    quarter = max(len(samples) // 4, 1)
    return statistics.median(map(of, samples[-quarter:])) - statistics.median(map(of, samples[:quarter]))


def beside(sample: Sample) -> float:
    """What the server's data takes beside the capped streams, MiB."""
    return sample.server_used - sum(sample.kinds.get(kind, 0.0) for kind in CAPPED)


def section(samples: Sequence[Sample], settled: Sequence[str], left: Sequence[str], facts: dict[str, str]) -> Section:
    """`samples`: after the warm-up, under load; `settled`: the keys of the drained server before, `left`: after all has ended."""
    stray = sorted(key for key in set(left) - set(settled) if ":ready:" not in key)
    figures = [
        Figure("steady worker's memory, drift", drift(samples, lambda s: s.worker_rss), "%", at_most=DRIFT),
        Figure("server's data beside the capped streams, drift", drift(samples, beside), "%", at_most=DRIFT),
        Figure("server's data, all of it, drift", drift(samples, lambda s: s.server_used), "%", note=_filling(samples)),
        Figure("server's resident memory, drift", drift(samples, lambda s: s.server_rss), "%", note="the allocator's holes too"),
        Figure("producer's memory, drift", drift(samples, lambda s: s.feed_rss), "%", at_most=DRIFT),
        Figure("open files of the steady worker, growth", growth(samples, lambda s: s.worker_files), at_most=2),
        Figure("threads of the steady worker, growth", growth(samples, lambda s: s.worker_threads), at_most=2),
        Figure("connections, growth", growth(samples, lambda s: s.connections), at_most=4),
        Figure("groups beyond one a ready stream, growth", growth(samples, lambda s: s.groups), at_most=0),
        Figure(
            "consumers, growth",
            growth(samples, lambda s: s.consumers),
            at_most=MOST_GONE,
            note="of killed workers",
        ),
        Figure("keys under load, drift", drift(samples, lambda s: s.keys), "%", at_most=25, note="most are notes, kept 30 s"),
        Figure("keys left when all has ended, more than before", float(len(stray)), at_most=0, note=", ".join(stray[:5])),
    ]
    return Section(
        "What grows",
        text=TEXT,
        settings=facts,
        figures=figures,
        tables=[_table(samples), _by_kind(samples)],
        plots=_plots(samples),
    )


def _of_kind(sample: Sample, kind: str) -> float:
    return sample.kinds.get(kind, 0.0) * 1024


def _filling(samples: Sequence[Sample]) -> str:
    grown = [f"{kind} {growth(samples, functools.partial(_of_kind, kind=kind)):+.0f} KiB" for kind in CAPPED]
    return f"of its growth {', '.join(grown)}"


def _by_kind(samples: Sequence[Sample]) -> Table:
    """Where the server's data is, first and last quarter."""
    quarter = max(len(samples) // 4, 1)
    rows: list[tuple[Cell, ...]] = []
    for kind in sorted({kind for sample in samples for kind in sample.kinds}):
        first, last = (
            statistics.median(_of_kind(sample, kind) for sample in part) for part in (samples[:quarter], samples[-quarter:])
        )
        rows.append((kind, first, last, last - first, "capped" if kind in CAPPED else ""))
    columns = ("kind of key", "first quarter, KiB", "last quarter, KiB", "growth, KiB", "")
    return Table("The server's data by kind of key", columns, rows, note="Medians. Kinds: docs/keys.md.")


def _minutes(samples: Sequence[Sample]) -> list[float]:
    return [(sample.at_mono - samples[0].at_mono) / 60 for sample in samples]


def _plots(samples: Sequence[Sample]) -> list[Plot | Bars]:
    def line(name: str, of: Callable[[Sample], float]) -> Line:
        return Line(name, list(zip(_minutes(samples), [float(of(sample)) for sample in samples], strict=True)))

    memory = [
        line("steady worker", lambda s: s.worker_rss),
        line("server's data", lambda s: s.server_used),
        line("producer", lambda s: s.feed_rss),
    ]
    counts = [
        line("keys", lambda s: s.keys),
        line("connections", lambda s: s.connections),
        line("consumers", lambda s: s.consumers),
    ]
    return [Plot("Memory", "minutes", "MiB", memory), Plot("Counts", "minutes", "of each", counts)]


def _table(samples: Sequence[Sample]) -> Table:
    columns = ("minute", "worker, MiB", "server's data, MiB", "producer, MiB", "keys", "connections", "consumers", "not ended")
    rows: list[tuple[Cell, ...]] = [
        (f"{minute:.0f}", s.worker_rss, s.server_used, s.feed_rss, s.keys, s.connections, s.consumers, s.waiting)
        for minute, s in list(zip(_minutes(samples), samples, strict=True))[:: max(len(samples) // 12, 1)]
    ]
    return Table("Over time", columns, rows)
