"""Feed: the process that fills queues of `bench.noop`: `python -m bench.feed --jobs 1000000`. The server is the environment's.

One process, chunk by chunk and keeping nothing, so that a million jobs need no more memory here than a hundred.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from bench.noop import CONTENT, Payload, build, queue_names
from engine import Engine, EngineError, EnqueueOptions
from engine.fleet import run

CHUNK = 100
"""Entries one call to the server takes; with several queues the chunks go around, smaller so that each queue gets some."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What to fill in."""

    jobs: int
    keys: int = 0
    """Ordering keys over which the jobs spread, turn by turn; 0 for jobs without."""
    delay: float = 0.0
    """Seconds until they are due; a spread of as much again lies between the first and the last."""
    priority: int | None = None
    queues: int = 1


def options_of(feed: Feed) -> list[str]:
    """The same on a command line."""
    found = []
    for name in Feed.__dataclass_fields__:
        value = getattr(feed, name)
        if value is not None:
            found += [f"--{name.replace('_', '-')}", str(value)]
    return found


async def fill(app: Engine, feed: Feed) -> int:
    """Enqueue all of it; how many the server took. The engine is open, and was made by `noop.build`."""
    names = queue_names(feed.queues)
    handler = "keyed" if feed.keys else "noop"
    chunk = max(min(CHUNK, feed.jobs // len(names)), 1)
    done = 0
    for start in range(0, feed.jobs, chunk):
        numbers = range(start, min(start + chunk, feed.jobs))
        payloads = [Payload(f"c-{number % feed.keys if feed.keys else number}", CONTENT) for number in numbers]
        options = EnqueueOptions(delay=feed.delay * (1 + start / feed.jobs), priority=feed.priority)
        queue = names[start // chunk % len(names)]
        handles = await app.client.enqueue_many(queue, handler, payloads, options)
        done += len(handles)
    return done


async def main(feed: Feed) -> bool:
    """Fill, and say so when not everything went in."""
    async with build({"BENCH_QUEUES": str(feed.queues)}) as app:
        done = await fill(app, feed)
    if done != feed.jobs:
        raise EngineError(f"{done} of {feed.jobs} jobs were enqueued")
    return True


def _parsed() -> Feed:
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description="Fill the queues of bench.noop.")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--priority", type=int)
    parser.add_argument("--queues", type=int, default=1)
    return Feed(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(main(_parsed()))
