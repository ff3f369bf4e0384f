"""Failover: what is lost, repeated and waited for when Sentinel replaces a primary that died or froze."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.chaos.sentinel import Sentinels
from bench.report import Cell, Figure, Section, Table
from engine import Clock

from .power import is_told
from .scene import Scene, kept_jobs
from .toll import Toll, toll

DOWN_AFTER_MS = 1000
GAP_SECONDS = DOWN_AFTER_MS / 1000 + 3
"""Most seconds without an acknowledgement after kill -9."""
FROZEN_GAP_SECONDS = 10.0
"""And when the primary is frozen: calls under way must first give it up (ENGINE_SOCKET_TIMEOUT, 5 s)."""
CALL_SECONDS = 5.5
"""Most seconds of a producer's call: its limit (ENGINE_ENQUEUE_TIMEOUT, 5 s), and half a second for a busy machine."""
IDLE_SECONDS = 10.0
"""Most seconds until workers claim again, by themselves."""
TEXT = f"""
A primary, replicas and three sentinels on loopback (down-after {DOWN_AFTER_MS} ms). One producer process offers jobs at a
steady rate in 16 lanes, half of them to a queue that nobody works, half to one that a worker process works (5 ms a job). The
primary is killed or frozen (SIGSTOP); four seconds after another one was promoted it comes back (restarted as a replica, or
thawed as the primary it takes itself for; or at once, before its clients have given it up) and is watched until all agree. Then
every acknowledged job is looked for.
""".replace("\n", " ").strip()
NOTE = (
    "Lost: acknowledged, and nowhere in the end. Without success: the longest time without an acknowledgement. Unknown: "
    "EnqueueUnknown, told later by repeat(). Refused: an error that says that it did not happen. Run again: the handler came to "
    "its end twice; recorded again: its completion was acknowledged twice, the first time in a history that is gone."
)

End = Literal["kill -9", "frozen", "frozen, thawed at once"]
ENDS: tuple[End, ...] = ("kill -9", "frozen", "frozen, thawed at once")


@dataclass(frozen=True, slots=True)
class Setting:
    """How the servers and the engine are set, and what may be lost then."""

    name: str
    replicas: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, str] = field(default_factory=dict)
    most_seconds: float | None = None
    """Of acknowledgements; None: no bound is claimed."""
    most_seconds_thawed: float | None = None
    """The same where an old primary comes back in the middle of its replacement."""
    may_refuse: bool = False
    """Without the server that died there are too few replicas: nothing is acknowledged until it is back."""


LAG = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}
CUT_OFF = 4.0
"""Seconds: max-lag, and two more. Replicas report once a second, and the primary looks once a second."""
TOLD = 2.0
"""Seconds within which Sentinel has told the other replicas whom to follow; until then they may confirm for the old primary."""
CONFIRMED = {"ENGINE_DURABILITY": "replicated"}
SETTINGS = (
    Setting("asynchronous: 1 replica, min-replicas-to-write 0"),
    Setting("class replicated: 1 of 2 replicas, max-lag 2", 2, LAG, most_seconds=CUT_OFF, most_seconds_thawed=CUT_OFF),
    Setting("asked for replicated: 1 of 2 confirms", 2, LAG, CONFIRMED, most_seconds=0.0, most_seconds_thawed=TOLD),
    Setting("asked for replicated: all (1 of 1) confirm", 1, LAG, CONFIRMED, 0.0, 0.0, may_refuse=True),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Jobs a second, and seconds of load before the fault and after it."""

    rate: float = 400.0
    before: float = 3.0
    after: float = 4.0


QUICK = Sizes(rate=200.0, before=1.0, after=1.0)

COLUMNS = (
    "setting: fault", "acknowledged", "lost", "seconds of them", "without success", "longest call", "unknown", "never told",
    "refused", "workers idle", "run again", "recorded again", "ids given twice", "loss told",
)  # fmt: skip


async def failover(kind: str, sizes: Sizes, clock: Clock) -> Section:
    """Every setting, with either fault."""
    rows = []
    for setting in SETTINGS:
        for end in ENDS:
            cost = await one_failover(kind, setting, end, sizes, clock)
            gap = None if setting.may_refuse else GAP_SECONDS if end == "kill -9" else FROZEN_GAP_SECONDS
            most = setting.most_seconds_thawed if end == "frozen, thawed at once" else setting.most_seconds
            rows.append(row(f"{setting.name}: {end}", cost, most, gap))
    table = Table("Sentinel", COLUMNS, rows, note=NOTE)
    return Section("Failover", text=TEXT, settings={"jobs a second": f"{sizes.rate:g}"}, tables=[table])


async def one_failover(kind: str, setting: Setting, end: End, sizes: Sizes, clock: Clock) -> Toll:
    """One fault from beginning to end."""
    async with (
        Sentinels(kind, down_after_ms=DOWN_AFTER_MS, replicas=setting.replicas, options=setting.options, clock=clock) as servers,
        Scene(servers.url, clock, settings=setting.engine) as scene,
        scene.worker(),
    ):
        await scene.produce(rate=sizes.rate, is_worked=True)
        await clock.sleep(sizes.before)
        if end == "kill -9":
            servers.kill_primary()
        else:
            servers.freeze_primary()
        await servers.promoted()
        await clock.sleep(0.0 if end == "frozen, thawed at once" else sizes.after)
        await servers.mend()
        await clock.sleep(sizes.after / 2)
        await scene.told()
        await scene.drained()
        return toll(scene.records(), await kept_jobs(servers.primary))


def row(name: str, cost: Toll, most_seconds: float | None, gap_seconds: float | None) -> tuple[Cell, ...]:
    """A line of the table, judged; what has no bound is only told."""
    return (
        name,
        cost.acked,
        Figure("lost", cost.lost, at_most=0 if most_seconds == 0 else None),
        Figure("seconds of them", cost.lost_seconds, "s", at_most=most_seconds),
        Figure("without success", cost.silence_seconds, "s", at_most=gap_seconds),
        Figure("longest call", cost.longest_call_seconds, "s", at_most=CALL_SECONDS),
        cost.unknown,
        Figure("never told", cost.untold, at_most=0),
        cost.refused,
        Figure("workers idle", cost.idle_seconds, "s", at_most=IDLE_SECONDS if gap_seconds else None),
        cost.run_again,
        cost.recorded_again,
        Figure("ids given twice", cost.same_id, at_most=0),
        is_told([cost]),
    )
