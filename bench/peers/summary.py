"""Summary: us against the best of the others in every main figure, losses as loud as wins; and the figures to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bench.report import DASH, Figure, Section, Table, number

from .contender import Contender
from .drivers import common
from .results import Metric, Results
from .tables import OURS, Shown
from .workloads import raw

NOT_PYTHON = ("bullmq",)


@dataclass(frozen=True, slots=True)
class Rival:
    """The best of the others in a metric."""

    title: str
    value: float
    low: float
    high: float
    is_floor: bool = False
    """Nobody has a figure, this is the least anyone waited in vain."""


def summary(workloads: Sequence[Shown], contenders: Sequence[Contender], results: Results) -> Section:
    """The first section; empty of rows when we did not run."""
    rows = [
        row
        for workload in workloads
        for metric in workload.metrics
        if metric.is_main and (row := _row(workload, metric, contenders, results))
    ]
    behind = [row[0] for row in rows if row[-1] == "BEHIND"]
    text = (
        "Medians. `times` is how many times better ours is than the best of the others; level: the runs' spreads overlap. "
        "How each figure was measured stands with its table; who ran with which settings at the end."
    )
    if rows:
        text += f"\n\nBehind in {len(behind)} of {len(rows)}" + (f": {', '.join(behind)}." if behind else ".")
    table = Table("The engine and the best of the others", ("", "engine", "best other", "which", "times", ""), rows=list(rows))
    return Section("Summary", text=text, figures=targets(contenders, results), tables=[table] if rows else [])


def _row(
    workload: Shown, metric: Metric, contenders: Sequence[Contender], results: Results
) -> tuple[str, str, str, str, str, str] | None:
    """One metric; None when we have no figure."""
    ours = results.figure(workload.name, OURS, metric)
    name = f"{workload.title}: {metric.title}"
    if ours.value is None:
        return (name, DASH, "", "", "", ours.note) if results.readings(workload.name, OURS, metric.name) else None
    best = rival(workload.name, metric, contenders, results)
    shown = f"{number(ours.value)} {metric.unit}".strip()
    if best is None:
        return (name, shown, DASH, "", "", "nobody else has one")
    times = better(metric, ours.value, best.value)
    if best.is_floor:
        verdict = "ahead" if times > 1 else "unknown"
        return (name, shown, f"> {number(best.value)} {metric.unit}".strip(), "everybody", f"> {number(times)}", verdict)
    overlaps = (ours.low or 0) <= best.high and best.low <= (ours.high or 0)
    verdict = "level" if overlaps else "ahead" if times > 1 else "BEHIND"
    return (name, shown, f"{number(best.value)} {metric.unit}".strip(), best.title, number(times), verdict)


def rival(
    workload: str, metric: Metric, contenders: Sequence[Contender], results: Results, *, besides: Sequence[str] = ()
) -> Rival | None:
    """The best median among the others; those that only have "more than" count when nobody has more."""
    found = []
    for contender in contenders:
        figure = results.figure(workload, contender.name, metric)
        if contender.name in (OURS, *besides) or figure.value is None:
            continue
        is_floor = results.is_floor(workload, contender.name, metric.name)
        found.append(Rival(contender.title, figure.value, figure.low or figure.value, figure.high or figure.value, is_floor))
    measured = [one for one in found if not one.is_floor] or found
    if not measured:
        return None
    return (max if metric.better == "more" else min)(measured, key=lambda one: one.value)


def better(metric: Metric, ours: float, theirs: float) -> float:
    """How many times better ours is; below 1 is worse."""
    upper, lower = (ours, theirs) if metric.better == "more" else (theirs, ours)
    return upper / lower if lower else float("inf") if upper else 1.0


# --- what we set out to reach ----------------------------------------------------------------------------------------

RATE = Metric("rate", "", "jobs/s", "more")
OWN, SHARED = Metric("own_rate", "", "jobs/s", "more"), Metric("shared_rate", "", "jobs/s", "more")
CPU = Metric("worker", "", "us", "less")


def targets(contenders: Sequence[Contender], results: Results) -> list[Figure]:
    """Those of the engine's targets that this run can judge."""
    if OURS not in [contender.name for contender in contenders]:
        return []
    found = [*_ratios(contenders, results), *_absolutes(results)]
    return [figure for figure in found if figure is not None]


def _ratios(contenders: Sequence[Contender], results: Results) -> list[Figure | None]:
    def against(
        name: str, workload: str, metric: Metric, other: float | None, least: float | None, aim: float | None
    ) -> Figure | None:
        ours = results.median(workload, OURS, metric.name)
        if ours is None or other is None:
            return None
        return Figure(name, better(metric, ours, other), "x", at_least=least, aim=aim)

    def best(workload: str, metric: Metric, besides: Sequence[str] = ()) -> float | None:
        found = rival(workload, metric, contenders, results, besides=besides)
        return found.value if found else None

    fastest = best("drain-5", RATE)
    one, bulk = Metric("one", "", "", "more"), Metric("bulk", "", "", "more")
    pure = {metric.name: results.median(raw.NAME, "python", metric.name) for metric in raw.PYTHON}
    return [
        against("drain, pool 5, to the fastest peer", "drain-5", RATE, fastest, 4, 6),
        against("drain, pool 5, a key each, to the fastest peer without keys", "drain-keys", OWN, fastest, 3, None),
        against("drain, pool 5, most jobs blocked, to the fastest peer without keys", "drain-keys", SHARED, fastest, 2, None),
        against("drain, pool 5, to RAW claim, then ack", "drain-5", RATE, pure["apart"], 0.5, 0.7),
        against("drain, pool 5, to RAW claim with the last ack", "drain-5", RATE, pure["claim"], None, None),
        against("enqueue in bulk to BullMQ's addBulk", "enqueue", bulk, results.median("enqueue", "bullmq", "bulk"), 4, 6),
        against("enqueue in bulk to RAW pipelined", "enqueue", bulk, pure["pipelined"], 0.7, None),
        against("enqueue one by one to the fastest peer", "enqueue", one, best("enqueue", one), 1, None),
        against("enqueue one by one to RAW single", "enqueue", one, pure["single"], 0.5, 0.8),
        against("worker CPU a job to the leanest Python peer", "drain-5", CPU, best("drain-5", CPU, NOT_PYTHON), 3, None),
        *(
            against(f"latency {what} to the best peer", "latency", metric, best("latency", metric), 1, None)
            for what in ("p50_200", "p99_200", "p50_1000", "p99_1000")
            for metric in [Metric(what, "", "ms", "less")]
        ),
    ]


def _absolutes(results: Results) -> list[Figure | None]:
    def value(
        name: str, workload: str, metric: str, unit: str, least: float | None, most: float | None, aim: float | None = None
    ) -> Figure | None:
        found = results.readings(workload, OURS, metric)
        values = [reading.value for reading in found if reading.value is not None]
        return Figure.of_runs(name, values, unit, at_least=least, at_most=most, aim=aim) if found else None

    payload = len(msgspec.msgpack.encode(common.payload(1000)))  # as it is stored: smaller than the JSON, so the stricter bound
    bound = f"(payload of {payload} + 120)"
    return [
        value("jobs of 10 ms at pool 5, of the ideal", "io", "efficiency", "%", 97, None),
        _of_bare(results),
        *(_of_hops(results, rate) for rate in raw.HOP_RATES),
        value("latency p50 at 200/s", "latency", "p50_200", "ms", None, 1),
        value("latency p99 at 200/s", "latency", "p99_200", "ms", None, 5),
        value("latency p50 at 1,000/s", "latency", "p50_1000", "ms", None, 1),
        value("latency p99 at 1,000/s", "latency", "p99_1000", "ms", None, 5),
        value("delayed, late p99", "delayed", "p99", "ms", None, 10),
        value("delayed, early", "delayed", "early", "jobs", None, 0),
        value(f"a waiting job {bound}", "enqueue", "bytes", "bytes", None, payload + 120),
        value(f"a waiting job with a key of its own {bound}", "drain-keys", "own_bytes", "bytes", None, payload + 120),
        value(f"a waiting job, most blocked {bound}", "drain-keys", "shared_bytes", "bytes", None, payload + 120),
        value("idle worker, CPU", "idle", "worker", "%", None, 0.5),
        value("idle worker, requests a second and queue", "idle", "requests", "", None, 2),
        value("idle worker, commands a second and queue, inside scripts included", "idle", "commands", "", None, None, 2),
    ]


def _of_hops(results: Results, rate: int) -> Figure | None:
    """Our median wait against two bare hops, each run against the one right before it."""
    ours = results.readings("latency", OURS, f"p50_{rate}")
    theirs = results.readings(raw.NAME, "python", f"p50_{rate}")
    pairs = zip(ours, theirs, strict=False)
    times = [our.value / hop.value for our, hop in pairs if our.value is not None and hop.value]
    return Figure.of_runs(f"latency p50 at {rate:,}/s, to RAW two hops", times, "x") if times else None


def _of_bare(results: Results) -> Figure | None:
    """Ours against bare coroutines, each run against the one right before it; None when either was not tried."""
    ours = results.readings("io", OURS, RATE.name)
    theirs = results.readings(raw.NAME, "python", raw.BARE[0].name)
    if not ours or not theirs:
        return None
    pairs = zip(ours, theirs, strict=False)  # a run that was interrupted has no other half
    shares = [100 * our.value / bare.value for our, bare in pairs if our.value is not None and bare.value]
    return Figure.of_runs("jobs of 10 ms at pool 5, of what bare coroutines reach", shares, "%", at_least=97)
