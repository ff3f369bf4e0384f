"""Meter: what the server did between two instants, by its own account: commands, processor time, memory.

Counts and microseconds of the server's own are far steadier on a shared machine than rates: they show what a change costs
where a stopwatch shows the neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import redis

from engine import Clock
from engine.store.scripts import names, script


@dataclass(frozen=True, slots=True)
class Reading:
    """The server's counters at one instant."""

    at_mono: float
    calls: Mapping[str, int]
    """Command -> calls, those inside scripts included."""
    usec: Mapping[str, int]
    """Command -> microseconds. A script's include those of the commands it calls."""
    cpu_seconds: float
    """Processor time of the server's main thread: commands, sockets, parsing, writing the append-only file."""
    memory: int
    """Bytes its data takes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What lies between two readings."""

    seconds: float
    calls: Mapping[str, int]
    usec: Mapping[str, int]
    cpu_seconds: float
    memory: int

    @property
    def commands(self) -> int:
        """All of them, those inside scripts included."""
        return sum(self.calls.values())

    @property
    def steps(self) -> int:
        """Calls of scripts."""
        return self.calls.get("evalsha", 0)

    @property
    def busy(self) -> float:
        """Share of the time in which the server's main thread worked."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


class Meter:
    """A connection of its own to the server that is measured."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._redis: Any = redis.Redis.from_url(url)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._redis.close()

    def read(self) -> Reading:
        """The counters now. Costs the server about 0.2 ms."""
        stats: dict[str, dict[str, Any]] = self._redis.info("commandstats")
        rest: dict[str, Any] = {**self._redis.info("cpu"), **self._redis.info("memory")}
        return Reading(
            at_mono=self._clock.mono(),
            calls={name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()},
            usec={name.removeprefix("cmdstat_"): int(row["usec"]) for name, row in stats.items()},
            cpu_seconds=float(rest["used_cpu_user_main_thread"]) + float(rest["used_cpu_sys_main_thread"]),
            memory=int(rest["used_memory"]),
        )

    def version(self) -> str:
        """`Valkey 9.1.2, allocator libc`."""
        info: dict[str, Any] = {**self._redis.info("server"), **self._redis.info("memory")}
        is_valkey = info.get("server_name") == "valkey"
        name = f"Valkey {info['valkey_version']}" if is_valkey else f"Redis {info['redis_version']}"
        return f"{name}, allocator {info['mem_allocator']}"

    def ask(self, *command: object) -> Any:
        """Any command."""
        return self._redis.execute_command(*command)

    def requests(self, seconds: float) -> int:
        """Commands that clients send in so many seconds, those that scripts call left out: the server tells of each. Blocks."""
        deadline, found = self._clock.mono() + seconds, 0
        with self._redis.monitor() as told:
            while (left := deadline - self._clock.mono()) > 0:
                if told.connection.can_read(timeout=min(left, 0.1)):
                    found += told.next_command()["client_type"] != "lua"
        return found

    # --- by script ---------------------------------------------------------------------------------------------------

    def watch_scripts(self) -> None:
        """From now on the server notes every call with its microseconds; costs it some 1 us a command."""
        self._redis.config_set("slowlog-max-len", 1_000_000)
        self._redis.config_set("slowlog-log-slower-than", 0)
        self._redis.execute_command("SLOWLOG", "RESET")

    def watched_scripts(self) -> dict[str, list[int]]:
        """Script -> microseconds of each call since `watch_scripts`; ends the watch. Holds the server up: ask after the load."""
        self._redis.config_set("slowlog-log-slower-than", -1)
        shas = {script(name).sha.encode(): name for name in names()}
        found: dict[str, list[int]] = {}
        for entry in self._redis.slowlog_get(1_000_000):
            words = bytes(entry["command"]).split(b" ", 2)
            if words[0].upper() == b"EVALSHA" and words[1] in shas:
                found.setdefault(shas[words[1]], []).append(int(entry["duration"]))
        self._redis.execute_command("SLOWLOG", "RESET")
        return found

    # --- standstills -------------------------------------------------------------------------------------------------

    def watch_standstills(self, threshold_ms: int) -> None:
        """From now on the server notes what held it up for so long (its LATENCY monitor)."""
        self._redis.config_set("latency-monitor-threshold", threshold_ms)
        self._redis.execute_command("LATENCY", "RESET")

    def standstills(self) -> dict[str, int]:
        """What held it up -> longest, in milliseconds."""
        return {row[0].decode(): int(row[3]) for row in self._redis.execute_command("LATENCY", "LATEST")}


def between(first: Reading, last: Reading) -> Cost:
    """The difference; commands that were not called are left out."""
    return Cost(
        seconds=last.at_mono - first.at_mono,
        calls=_grown(first.calls, last.calls),
        usec=_grown(first.usec, last.usec),
        cpu_seconds=last.cpu_seconds - first.cpu_seconds,
        memory=last.memory - first.memory,
    )


def _grown(first: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    grown = {name: value - first.get(name, 0) for name, value in last.items()}
    return {name: value for name, value in grown.items() if value > 0}
