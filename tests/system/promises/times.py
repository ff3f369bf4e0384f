"""Times: how long the server says its calls took, and how fast the machine is meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from typing import Any

PROMISED_US = 2000
KNOWN = "for i = 1, 500 do redis.call('HSET', KEYS[1], i, ARGV[1]) end"
KNOWN_US = 700
"""What the known script takes on the machine the promise was measured on, while nothing else runs there: a busy machine is slower,
and then everything is."""


class Times:
    """Microseconds of calls, by what they did. `of_calls` says which calls count: the scripts, unless told otherwise."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *of_calls: bytes) -> None:
        self._call = call
        self._of_calls = of_calls or (b"EVALSHA",)
        self.us: dict[str, list[int]] = {}
        self.commands: list[list[bytes]] = []
        """Every call that counted, as the server's log keeps it."""
        self._known: list[int] = []

    async def begin(self) -> None:
        """Have the server note every call."""
        await self._call("CONFIG", "SET", "slowlog-max-len", 1000)
        await self._call("CONFIG", "SET", "slowlog-log-slower-than", 0)

    async def of(self, what: str, bite: Awaitable[Any]) -> Any:
        """Await a bite, and note its calls."""
        await self._call("SLOWLOG", "RESET")
        answer = await bite
        log = [one for one in await self._call("SLOWLOG", "GET", 1000) if one[3][0].upper() in self._of_calls]
        self.us.setdefault(what, []).extend(int(entry[2]) for entry in log)
        self.commands += [entry[3] for entry in log]
        return answer

    async def dearest(self, what: str, act: Callable[[], Awaitable[Any]], rounds: int = 3) -> None:
        """Note the dearest call of the act, in the round in which it was cheapest: what else runs here makes calls only dearer."""
        most = []
        for _ in range(rounds):
            await self.of(what, act())
            most.append(max(self.us.pop(what)))
        self.us[what] = [min(most)]

    async def known(self, rounds: int = 1) -> None:
        """How fast the machine is now."""
        for _ in range(rounds):
            await self._call("SLOWLOG", "RESET")
            await self._call("EVAL", KNOWN, 1, "{known}", "x" * 300)
            log = await self._call("SLOWLOG", "GET", 10)
            self._known.append(max(int(entry[2]) for entry in log if entry[3][0].upper() == b"EVAL"))

    def report(self) -> dict[str, float]:
        """Print all, answer the medians of those over the promise, as they would be on a quiet machine."""
        slower = max(statistics.median(self._known) / KNOWN_US, 1.0)
        print(f"this machine is {slower:.2f} times slower now")
        for what, us in self.us.items():
            over = sum(one > PROMISED_US for one in us)
            print(
                f"{what:34} median {statistics.median(us):5.0f} us, most {max(us):5} us, {over} of {len(us)} over {PROMISED_US}"
            )
        quiet = {what: statistics.median(us) / slower for what, us in self.us.items()}
        return {what: us for what, us in quiet.items() if us > PROMISED_US}
