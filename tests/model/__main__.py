"""`python -m tests.model --minutes 60 [--seed 7] [--server valkey|redis]`: new orders until the time is over, or one fails.

Every round has a seed of its own, printed before it: `--seed N --rounds 1` plays a round again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from engine.embedded import EmbeddedServer
from tests.conftest import redis_server

from .ground import Ground
from .machine import play

EXAMPLES, CALLS = 60, 100
"""Of one round: some ten seconds, so that hypothesis' memory of what it tried stays small."""


def main() -> None:
    """Play rounds; 1 by the error when one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description="The protocol against its model, for hours.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds at most; 0: until the time is over")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; each after it adds one")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    asked = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="model-"))
        if asked.server == "redis":
            url = stack.enter_context(redis_server("redis-server", directory))
        else:
            url = stack.enter_context(EmbeddedServer(Path(directory) / "data", fsync="everysec")).url
        ground = stack.enter_context(Ground(url))
        began, played = time.monotonic(), 0
        while time.monotonic() - began < asked.minutes * 60 and (not asked.rounds or played < asked.rounds):
            print(f"seed {asked.seed + played}", end=" ", flush=True)
            play(ground, examples=EXAMPLES, calls=CALLS, seed=asked.seed + played)
            played += 1
            rate = ground.steps / (time.monotonic() - began)
            print(f"held: {ground.steps} calls compared on {asked.server}, {rate:.0f} a second", flush=True)


if __name__ == "__main__":
    main()
