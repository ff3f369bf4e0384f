"""Prober: the process that asks the server PING at a fixed pace, beside a load. `python -m bench.targets.prober FILE SECONDS`.

A bare socket and nothing else in the process, so that what it measures is the server and the machine, not a client. While a slow
answer is awaited, pings that were due can't be sent; they are counted with the time they would have waited.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

from engine import Clock
from engine.redis_url import parse_redis_url

from .notes import write

INTERVAL = 0.005


def probe(path: str, seconds: float, clock: Clock) -> list[float]:
    """Seconds from each ping to its answer, in order."""
    pause = threading.Event()
    found = []
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        end = clock.mono() + seconds
        planned = clock.mono()
        while planned < end:
            pause.wait(max(planned - clock.mono(), 0.0))
            began = clock.mono()
            server.sendall(b"PING\r\n")
            if server.recv(64) != b"+PONG\r\n":
                raise RuntimeError("the server answered PING with something else")
            found.append(clock.mono() - began)
            planned = max(planned + INTERVAL, clock.mono())
    return found


def with_the_unsent(took: list[float], interval: float) -> list[float]:
    """The same, and the pings that could not be sent while a slow one was awaited.

    >>> with_the_unsent([1.0, 12.0], 5.0)
    [1.0, 12.0, 7.0, 2.0]
    """
    found = []
    for one in took:
        while one > 0:
            found.append(one)
            one -= interval
    return found


if __name__ == "__main__":
    where = parse_redis_url(os.environ["REDIS_URL"]).path
    write(Path(sys.argv[1]), probe(where, float(sys.argv[2]), Clock()))
