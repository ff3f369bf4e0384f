"""Schedule: which fault comes when, drawn from a seed. The same seed, the same schedule; what each does is in `faults*.py`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

MOMENTS = ("any", "claim", "handler", "settle", "settled", "renew", "renewed", "promote", "promoted", "reclaim", "reclaimed")
"""Points of a job's life at which a worker is killed or frozen; `faults_workers.py` says how each is recognised."""


class Span(msgspec.Struct, frozen=True):
    """How often a kind comes beside others, and how long it lasts: seconds, and leases on top."""

    weight: float
    low_s: float = 0.0
    high_s: float = 0.0
    leases: float = 0.0


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of the schedule."""

    i: int
    at_s: float
    """Seconds after the beginning of the safety phase."""
    kind: str
    seconds: float = 0.0
    """How long it lasts, for those that last."""
    draw: float = 0.0
    """In [0, 1): what else the fault chooses."""
    instead_of: str = ""
    """The kind that it stands in for."""


STAND_INS = ("cut-one", "client-kill", "script-flush", "cut", "kill@any", "server-kill")
"""What can be done at any time, in place of a fault whose moment did not come: so that as many are injected as were asked for."""
STAND_IN = 100_000
"""Beyond the numbers of a schedule; each try to stand in has its own."""
TRIES = 3

_WORKERS = {
    **{f"kill@{moment}": Span(2.0 if moment in ("any", "handler", "claim", "settle", "settled") else 1.0) for moment in MOMENTS},
    **{f"freeze@{moment}": Span(2.0 if moment in ("any", "handler") else 1.0, leases=1.6) for moment in MOMENTS},
    "deploy": Span(1.0),
    "deploy@lease": Span(1.0, 5.0, 15.0),
    "clock": Span(1.0, 5.0, 15.0),
}
_PRODUCERS = {"kill@enqueue": Span(1.5), "kill@enqueued": Span(1.5)}
_NETWORK = {
    "cut": Span(4.0),
    "cut-one": Span(3.0),
    "refuse": Span(2.0, 0.3, 4.0),
    "outage": Span(2.0, 0.2, 4.0),
    "half-open": Span(2.0, 0.0, 0.5, leases=1.6),
    "half-open-all": Span(1.0, 0.5, 2.0),
    "delay": Span(2.0, 1.0, 4.0),
    **{f"lost-reply@{name}": Span(1.5) for name in ("step", "enqueue", "promote", "renew", "reclaim")},
    **{f"lost-request@{name}": Span(0.7) for name in ("step", "enqueue", "promote", "renew", "reclaim")},
}
_SERVER = {
    "server-kill": Span(4.0, 0.0, 0.6),
    "server-away": Span(1.0, 0.5, 1.0, leases=1.2),
    "server-freeze": Span(1.5, 0.3, 3.0),
    "client-kill": Span(3.0),
    "client-pause": Span(2.0, 0.2, 1.5),
    "script-flush": Span(3.0),
    "maxmemory": Span(2.0, 0.5, 2.5),
    "disk-full": Span(1.5, 1.0, 2.5),
}
KINDS: Mapping[str, Span] = {**_WORKERS, **_PRODUCERS, **_NETWORK, **_SERVER}
"""Every kind that a schedule may have, in a run with one server and a proxy before it."""
WATCHED: Mapping[str, Span] = {
    **{kind: KINDS[kind] for kind in ("kill@any", "kill@handler", "freeze@any", "freeze@handler")},
    **{kind: KINDS[kind] for kind in ("deploy", "deploy@lease", "clock")},
    **{kind: KINDS[kind] for kind in ("client-kill", "script-flush")},
    "client-pause": Span(2.0, 0.2, 0.7),  # a longer one makes sentinels, which are paused as well, fail over by themselves
    "failover": Span(3.0),
    "failover-freeze": Span(1.5),
}
"""In a run under Sentinel (`--topology sentinel`): without a proxy, and with failovers."""


def matching(only: Sequence[str], kinds: Mapping[str, Span] = KINDS) -> list[str]:
    """The kinds that these words name: a whole name, or its beginning up to `@` (`kill`, `freeze`, `lost-reply`).

    Raises:
        ValueError: a word that names none.
    """
    found: list[str] = []
    for word in only:
        some = [kind for kind in kinds if word in (kind, kind.partition("@")[0])]
        if not some:
            raise ValueError(f"--only {word}: there is no such fault; there are {', '.join(kinds)}")
        found += [kind for kind in some if kind not in found]
    return found


def draw(
    seed: int, *, count: int, seconds: float, lease: float, only: Sequence[str] = (), among: Mapping[str, Span] = KINDS
) -> list[Planned]:
    """So many faults, spread over so many seconds with some jitter; each kind about as often as its weight says."""
    chosen = random.Random(f"faults/{seed}")
    kinds = matching(only, among) or list(among)
    order = _dealt(chosen, {kind: among[kind] for kind in kinds}, count)
    step = seconds / max(count, 1)
    planned = []
    for i, kind in enumerate(order):
        span = among[kind]
        lasts = chosen.uniform(span.low_s, span.high_s) + span.leases * lease
        at = step * (i + 0.9 * chosen.random())
        planned.append(Planned(i=i + 1, at_s=round(at, 3), kind=kind, seconds=round(lasts, 3), draw=round(chosen.random(), 6)))
    return planned


def _dealt(chosen: random.Random, kinds: Mapping[str, Span], count: int) -> list[str]:
    """As a dealt pack of cards: every kind comes, in a random order, before luck gives one of them a second turn."""
    first = list(kinds)
    chosen.shuffle(first)
    more = chosen.choices(list(kinds), [span.weight for span in kinds.values()], k=max(count - len(first), 0))
    mixed = first[:count] + more
    chosen.shuffle(mixed)
    return mixed


def stand_ins(planned: Planned, kinds: Sequence[str], lease: float) -> list[Planned]:
    """What may be tried in place of that fault, one after another, out of these kinds. Where none of them can be done at any time
    (`--only kill@reclaimed`) it is the same again."""
    certain = [kind for kind in STAND_INS if kind in kinds]
    first = int(planned.draw * len(certain))
    turned = [*certain[first:], *certain[:first]] or [planned.kind] * TRIES
    found = []
    for i, kind in enumerate(turned[:TRIES], 1):
        span = {**KINDS, **WATCHED}[kind]
        seconds = round(span.low_s + (span.high_s - span.low_s) * planned.draw + span.leases * lease, 3)
        number = planned.i + STAND_IN * i
        found.append(msgspec.structs.replace(planned, i=number, kind=kind, seconds=seconds, instead_of=planned.kind))
    return found


def shown(planned: Sequence[Planned]) -> str:
    """The schedule as text, a line a fault."""
    return "\n".join(
        f"{one.i:>4} {one.at_s:>9.3f} s  {one.kind}" + (f" for {one.seconds:g} s" if one.seconds else "") for one in planned
    )
