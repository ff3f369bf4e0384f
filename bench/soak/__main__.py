"""An hour of steady work with slow faults, and whether anything grows: python -m bench.soak [--minutes 60] [--rate 40]

One server, a worker that is weighed, a second one that is killed, frozen and replaced, one producer of every kind of job. Exits
with 1 when memory drifts, something grows, a job is missing or a key is left.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench.report import Figure, Report
from bench.report_output import add_options, command_line, deliver_run, machine, now, versions
from bench.stage import Stage
from engine import Clock

from .app import campaigns, engine, messages
from .faults import APP, Faults
from .feed import Feed
from .judge import section
from .watch import Sample, Watch

QUEUES = (messages.name, campaigns.name)
SAMPLE_SECONDS = 10.0
BASELINE_SECONDS = 45.0
"""Of load before the baseline: every kind of job was there."""
SETTLE_SECONDS = 180.0
"""After which every retention (30 s), dedup hash (131 s) and heartbeat has passed."""
DRAIN_SECONDS = 120.0


class Soak:
    """One run, from the empty server to the verdict."""

    def __init__(self, options: argparse.Namespace, stage: Stage, watch: Watch, clock: Clock) -> None:
        self._options = options
        self._stage = stage
        self._watch = watch
        self._clock = clock
        self._faults = Faults(stage, watch, clock)
        self._samples: list[Sample] = []
        self._sent = self._refused = 0

    async def run(self) -> list[Figure]:
        """Play it all; the figures that are not about growth. `section` judges those that are."""
        async with self._stage.workers(APP) as steady:
            worker = steady.pids[0]
            await self._load(worker, BASELINE_SECONDS)
            self.settled = await self._settle()
            await self._faults.begin()
            try:
                await self._load(worker, self._options.minutes * 60, with_faults=True)
            finally:
                await self._faults.end()
            drained = await self._drain()
            self.left = await self._settle()
            audits = await engine.client.checkup()
        warm = self._options.minutes * 60 * 0.15
        first_mono = self._samples[0].at_mono
        self.samples = [sample for sample in self._samples if sample.at_mono - first_mono > warm]
        problems = [f"{one.subject}: {one.what}" for one in audits if one.level == "problem" and one.subject != "server"]
        return [
            Figure("jobs enqueued", float(self._sent)),
            Figure("enqueues that a fault refused or that had no answer", float(self._refused)),
            Figure("faults", float(len(self._faults.done))),
            Figure("seconds until every job had ended", drained, "s", at_most=DRAIN_SECONDS),
            Figure("problems that engine doctor finds", float(len(problems)), at_most=0, note="; ".join(problems[:3])),
        ]

    async def _load(self, worker: int, seconds: float, *, with_faults: bool = False) -> None:
        feed = Feed(self._options.rate, self._clock, seed=self._options.seed)
        feeding = asyncio.ensure_future(feed.run())
        end_mono = self._clock.mono() + seconds
        fault_mono = self._clock.mono() + self._options.every
        try:
            while (now_mono := self._clock.mono()) < end_mono:
                if with_faults:
                    self._samples.append(self._watch.look(now_mono, worker))
                    if now_mono >= fault_mono:
                        name = await self._faults.next()
                        fault_mono = now_mono + self._options.every
                        print(f"{(end_mono - now_mono) / 60:.0f} minutes left: {name}", file=sys.stderr, flush=True)
                await self._clock.sleep(SAMPLE_SECONDS)
        finally:
            feed.stop()
            await feeding
            self._sent += feed.sent
            self._refused += feed.refused

    async def _drain(self) -> float:
        began_mono = self._clock.mono()
        while any(counts.pending for counts in [await engine.client.counts(queue) for queue in QUEUES]):
            if self._clock.mono() - began_mono > DRAIN_SECONDS * 2:
                break
            await self._clock.sleep(0.2)
        return self._clock.mono() - began_mono

    async def _settle(self) -> list[str]:
        await self._drain()
        await self._clock.sleep(SETTLE_SECONDS)
        return self._watch.key_names()


async def soaked(options: argparse.Namespace, clock: Clock) -> Report:
    """The whole soak."""
    started_at, began, ran_on = now(), clock.mono(), machine()
    async with Stage("everysec", clock=clock, program=options.server) as stage:
        engine.configure(stage.settings())
        with Watch(stage.url, QUEUES, stage.pid) as watch:
            async with engine:
                soak = Soak(options, stage, watch, clock)
                figures = await soak.run()
            server = str(watch.redis.info("server").get("valkey_version") or watch.redis.info("server")["redis_version"])
        facts = {"minutes": str(options.minutes), "jobs a second": str(options.rate), "a fault every": f"{options.every:g} s"}
        judged = section(soak.samples, soak.settled, soak.left, facts)
        judged.figures.extend(figures)
        about = stage.about
    return Report(
        title="Soak",
        about="Steady work for a long while with slow faults: does anything grow, is anything left?",
        command=command_line("bench.soak"),
        started_at=started_at,
        seconds=clock.mono() - began,
        machine=ran_on,
        versions=versions(server=server),
        settings=about,
        sections=[judged],
    )


def main() -> int:
    """Parse, soak, deliver."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Does anything grow in an hour of steady work?")
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="of load with faults (60)")
    parser.add_argument("--rate", type=float, default=40.0, help="jobs a second (40)")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="between two faults (60)")
    parser.add_argument("--seed", type=int, default=7, help="of the mixture (7)")
    parser.add_argument("--server", metavar="PROGRAM", help="an installed server, redis-server say, instead of the embedded one")
    options = parser.parse_args()
    return deliver_run(lambda clock: soaked(options, clock), options)


if __name__ == "__main__":
    sys.exit(main())
