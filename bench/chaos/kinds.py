"""Kinds: what jobs a run enqueues, drawn from a seed: how each behaves, what it is enqueued with, and how it must end.

The payload tells the handler what to do; the same plan goes into the journal, so that the checker knows what was to be expected.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

ATTEMPTS = 3
TIMEOUT = 0.3
"""Seconds that an attempt of a job may take which runs into its timeout on purpose."""
QUEUES = ("alpha", "beta", "gamma")


class Script(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job's payload: what its handler does."""

    n: int
    kind: str
    seconds: float = 0.0
    """How long a run takes."""
    fails: int = 0
    """So many attempts fail."""
    snoozes: int = 0
    crashes: int = 0
    """So many starts end the process."""
    act: str = ""
    """kill | exit: how it crashes; block: holds up the event loop; deaf: swallows its cancellation; hang: runs into its timeout;
    quit: fails by sys.exit()."""
    key: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a producer enqueues it."""

    queue: str
    name: str
    script: Script
    want: str
    readable: bool = True
    """False: the payload is sent as something that does not fit the handler's type."""
    delay: float = 0.0
    priority: int | None = None
    timeout: float | None = None
    copies: int = 1
    """So many enqueues with one dedup key."""
    others: tuple[Script, ...] = ()
    """Enqueued in the same call as `script`, and behind it."""
    cancel_after: float | None = None
    """Seconds after the acknowledgement."""

    def wanted(self, script: Script) -> str:
        """How that one of the plan's jobs must end."""
        return "dead" if script.fails >= ATTEMPTS else self.want


COMMON: Mapping[str, float] = {
    "plain": 38, "keyed": 24, "delayed": 8, "sync": 8, "flaky": 5, "dedup": 4, "snoozes": 3, "cancelled": 3, "slow": 1,
    "urgent": 2, "doomed": 1.5, "undecodable": 1, "bulk": 0.4,
}  # fmt: skip
"""Kind -> its share of the calls. One of `bulk` brings 2 to 200 jobs."""
RARE: Mapping[str, float] = {"hangs": 6, "deaf": 6, "quits": 6, "blocks": 2, "exits": 1, "poison": 0.5}
"""Kind -> how many a minute: each takes slots or processes from the others."""

_ONCE = ("plain", "sync", "slow", "flaky", "doomed", "snoozes", "undecodable")
"""What a job with an ordering key may do besides."""


def table(per_second: float, only: Sequence[str] = ()) -> dict[str, float]:
    """Kind -> probability, at so many jobs a second. `only`: these kinds alone."""
    rare = {kind: minute / 60 / per_second for kind, minute in RARE.items()}
    room, whole = max(1 - sum(rare.values()), 0.0), sum(COMMON.values())
    shares = {kind: share / whole * room for kind, share in COMMON.items()} | rare
    kept = {kind: share for kind, share in shares.items() if not only or kind in only}
    return {kind: share / sum(kept.values()) for kind, share in kept.items()}


class Drawer:
    """Draws plans from a seed: the same seed, the same jobs in the same order."""

    def __init__(self, seed: str, shares: Mapping[str, float], lease: float) -> None:
        self._random = random.Random(seed)
        self._kinds, self._weights = list(shares), list(shares.values())
        self._lease = lease

    def draw(self, n: int, keys: Sequence[str]) -> Plan:
        """The next job, number `n`; `keys` are the ordering keys it may have."""
        chosen = self._random
        kind = chosen.choices(self._kinds, self._weights)[0]
        queue = chosen.choice(QUEUES)
        if kind == "bulk":
            return self._many(n, queue, keys)
        if kind == "keyed":
            doing = chosen.choices(_ONCE, (60, 10, 2, 12, 4, 8, 4))[0]
            return self._plan(n, kind, doing, queue, chosen.choice(keys))
        return self._plan(n, kind, kind, queue, "")

    def _many(self, n: int, queue: str, keys: Sequence[str]) -> Plan:
        """Jobs of one call: every other call has an ordering key for all of them, and is shorter."""
        chosen = self._random
        key = chosen.choice(keys) if chosen.random() < 0.5 else ""
        some = chosen.random()
        count = 2 + int(20 * some if key else 200 * some**3)
        scripts = []
        for i in range(count):
            doing = chosen.choices(("plain", "flaky", "snoozes", "doomed"), (80, 10, 5, 5))[0]
            scripts.append(self._plan(n + i, "bulk", doing, queue, key).script)
        return Plan(queue=queue, name="do", script=scripts[0], want="completed", others=tuple(scripts[1:]))

    def _plan(self, n: int, kind: str, doing: str, queue: str, key: str) -> Plan:
        lease, some = self._lease, self._random.random()
        seconds = 0.02 * some * some  # most are quick, as jobs are
        facts: dict[str, object] = {}
        more: dict[str, object] = {}
        want = "completed"
        match doing:
            case "delayed":
                more = {"delay": round(0.05 + 3 * some, 3)}
            case "flaky":
                facts = {"fails": 1 + int(some * (ATTEMPTS - 1))}
            case "quits":
                facts = {"fails": 1, "act": "quit"}
            case "doomed":
                facts, want = {"fails": ATTEMPTS}, "dead"
            case "snoozes":
                facts = {"snoozes": 1 + int(some * 3)}
            case "slow":
                seconds = lease * (0.3 + 0.8 * some)
            case "urgent":
                more = {"priority": 1 + int(some * 9)}
            case "dedup":
                more = {"copies": 2 + int(some * 2)}
            case "cancelled":
                seconds, want = 0.3 * some, "cancelled"
                more = {"cancel_after": 0.2 * self._random.random(), "delay": 0.0 if some < 0.5 else round(some, 3)}
            case "undecodable":
                more, want = {"readable": False}, "undecodable"
            case "hangs":
                facts, more = {"fails": 1, "act": "hang"}, {"timeout": TIMEOUT}
            case "deaf":
                facts, more, seconds = {"fails": 1, "act": "deaf"}, {"timeout": TIMEOUT}, 1.0
            case "blocks":
                facts, seconds = {"act": "block"}, lease * 1.3
            case "exits":
                facts = {"crashes": 1, "act": "exit"}
            case "poison":
                facts, want = {"crashes": 1000, "act": "kill"}, "stalled"
        script = Script(n=n, kind=kind, seconds=round(seconds, 4), key=key, **facts)  # type: ignore[arg-type]  # drawn above, one kind each
        name = "sync" if doing == "sync" else "do"
        return Plan(queue=queue, name=name, script=script, want=want, **more)  # type: ignore[arg-type]  # likewise
