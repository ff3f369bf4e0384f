"""Judge: does anything grow? The last quarter of the time after the warm-up against the first, and what is left at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench.report import Bars, Cell, Figure, Line, Plot, Section, Table

from .watch import Sample

TEXT = (
    "Drift and growth: the median of the last quarter of the time after the warm-up against that of the first. Keys: what the "
    "drained server has before the load, every retention having passed, against what it has after it; but for "
    "the ready streams, which stay once they were used, nineteen a queue at most."
)

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


def section(samples: Sequence[Sample], settled: Sequence[str], left: Sequence[str], facts: dict[str, str]) -> Section:
    """`samples`: after the warm-up, under load; `settled`: the keys of the drained server before, `left`: after all has ended."""
    stray = sorted(key for key in set(left) - set(settled) if ":ready:" not in key)
    figures = [
        Figure("steady worker's memory, drift", drift(samples, lambda s: s.worker_rss), "%", at_most=DRIFT),
        Figure("server's data, drift", drift(samples, lambda s: s.server_used), "%", at_most=DRIFT),
        Figure("server's resident memory, drift", drift(samples, lambda s: s.server_rss), "%", note="the allocator's holes too"),
        Figure("producer's memory, drift", drift(samples, lambda s: s.feed_rss), "%", at_most=DRIFT),
        Figure("open files of the steady worker, growth", growth(samples, lambda s: s.worker_files), at_most=2),
        Figure("threads of the steady worker, growth", growth(samples, lambda s: s.worker_threads), at_most=2),
        Figure("connections, growth", growth(samples, lambda s: s.connections), at_most=4),
        Figure("groups, growth", growth(samples, lambda s: s.groups), at_most=0),
        Figure(
            "consumers, growth",
            growth(samples, lambda s: s.consumers),
            at_most=MOST_GONE,
            note="of killed workers",
        ),
        Figure("keys under load, drift", drift(samples, lambda s: s.keys), "%", at_most=25, note="most are notes, kept 30 s"),
        Figure("keys left when all has ended, more than before", float(len(stray)), at_most=0, note=", ".join(stray[:5])),
    ]
    return Section("What grows", text=TEXT, settings=facts, figures=figures, tables=[_table(samples)], plots=_plots(samples))


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
