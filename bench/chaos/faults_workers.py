"""Faults of processes: workers killed, frozen, deployed and with a wrong clock; producers killed. At random, or at a point of a
job's life, which the proxy recognises and holds until the process is struck."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Literal

from .aims import Need, Side
from .crew import Member
from .lab import Lab, NotInjected, chance
from .network import Struck
from .schedule import Planned

ANOTHER_LEASE = 2.0
"""Times the run's: a run's lease is short already, and half of it is one that a busy machine loses without any fault."""
MOST_WITH_ANOTHER_LEASE = 2
"""Of the usual four, so that there are always workers of both; and `faults.MOST_SECONDS` is enough to replace them twice."""
PATIENCE = 6.0
"""Seconds that a fault waits for its moment."""
POINTS: dict[str, tuple[str, Side, Need]] = {
    "claim": ("step", "reply", "rows"),
    "settle": ("step", "request", "settles"),
    "settled": ("step", "reply", "settles"),
    "renew": ("renew", "request", ""),
    "renewed": ("renew", "reply", ""),
    "promote": ("promote", "request", ""),
    "promoted": ("promote", "reply", "moved"),
    "reclaim": ("reclaim", "request", ""),
    "reclaimed": ("reclaim", "reply", "moved"),
}
"""claim: the jobs are this worker's and none has started. settle: they ended and the server does not know. settled: the server
knows and the worker does not. The same of the others: before the server has it, and done but not told."""


@contextlib.asynccontextmanager
async def at(lab: Lab, moment: str) -> AsyncIterator[tuple[Member, Struck | None]]:
    """A worker, now that it is at that moment; the message in question is held while entered, then its connection is cut."""
    if moment in ("promoted", "reclaimed"):  # rare: whoever it is that does it
        async with lab.network.aim(*POINTS[moment], who=lab.crew.places) as struck:
            if not await struck.moment(PATIENCE):
                raise NotInjected(f"nobody came to the moment {moment!r}")
            async with lab.crew.victim(struck.who, seconds=0.5) as member:
                if member is None:
                    await struck.free(drop=False)
                    raise NotInjected("the worker at that moment is under another fault")
                yield member, struck
        return
    async with lab.crew.victim() as member:
        if member is None:
            raise NotInjected("no worker at work that is not under another fault")
        if moment == "any":
            yield member, None
        elif moment == "handler":
            deadline = lab.clock.mono() + PATIENCE
            while not lab.crew.running(member):
                if lab.clock.mono() > deadline or member.process.poll() is not None:
                    raise NotInjected("the worker ran no handler")
                await lab.clock.sleep(0.01)
            yield member, None
        else:
            async with lab.network.aim(*POINTS[moment], who=(member.place,)) as struck:
                if not await struck.moment(PATIENCE) or member.process.poll() is not None:
                    raise NotInjected(f"the worker did not come to the moment {moment!r}")
                yield member, struck


async def kill(lab: Lab, planned: Planned) -> None:
    """kill -9 of a worker."""
    async with at(lab, planned.kind.partition("@")[2]) as (member, _):
        fault = lab.book.begin(planned.i, planned.kind, pids=(member.pid,), loses_lease=True)
        lab.crew.kill(member)
        await lab.crew.gone(member, 5.0)
        lab.book.end(fault, entitles=await lab.crew.may_cost(member))


async def freeze(lab: Lab, planned: Planned) -> None:
    """SIGSTOP of a worker for longer than its lease, then SIGCONT: it comes back and knows nothing. The message that was held
    goes on after that: a settle of a lease that is lost."""
    async with at(lab, planned.kind.partition("@")[2]) as (member, struck):
        member.process.send_signal(signal.SIGSTOP)
        cost = await lab.crew.may_cost(member)
        fault = lab.book.begin(planned.i, planned.kind, pids=(member.pid,), entitles=cost, loses_lease=True)
        try:
            await lab.clock.sleep(planned.seconds)
        finally:
            member.process.send_signal(signal.SIGCONT)
        if struck is not None:
            await struck.free(drop=False)
        lab.book.end(fault)


async def deploy(lab: Lab, planned: Planned) -> None:
    """SIGTERM to every worker, one after another, each when the one before has ended."""
    fault = lab.book.begin(planned.i, planned.kind)
    pids, note = await _replace(lab, lab.crew.places)
    lab.book.end(fault, pids=pids, note=note)


async def deploy_lease(lab: Lab, planned: Planned) -> None:
    """A deploy that gives workers another lease, and stops half way: some have twice the lease for a while, then it is taken
    back. So one and the same queue has workers with both, in whatever else comes meanwhile."""
    fault = lab.book.begin(planned.i, planned.kind)
    places = chance(planned).sample(lab.crew.places, min(MOST_WITH_ANOTHER_LEASE, len(lab.crew.places)))
    lab.crew.leases.update(dict.fromkeys(places, ANOTHER_LEASE * lab.lease))
    there, note = await _replace(lab, places)
    await lab.clock.sleep(planned.seconds)
    for place in places:
        lab.crew.leases.pop(place, None)
    back, note_back = await _replace(lab, places)
    if not there and not back:
        raise NotInjected("no worker at work that is not under another fault")
    lab.book.end(fault, pids=(*there, *back), note=f"{ANOTHER_LEASE:g} leases: {note}; back: {note_back}")


async def _replace(lab: Lab, places: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Whom it has told to stop, and how that went."""
    pids: list[int] = []
    for place in places:
        async with lab.crew.victim(place, seconds=10.0) as member:
            if member is None:
                continue
            pids.append(member.pid)
            lab.crew.terminate(member)
            if not await lab.crew.gone(member, 12.0):
                return tuple(pids), f"worker {member.name} did not stop within 12 s of SIGTERM"
    return tuple(pids), f"{len(pids)} workers"


async def clock(lab: Lab, planned: Planned) -> None:
    """A worker whose wall clock is an hour off, ahead or behind, for a while."""
    hours: Literal[1, -1] = 1 if planned.draw < 0.5 else -1
    async with lab.crew.victim() as member:
        if member is None:
            raise NotInjected("no worker at work that is not under another fault")
        lab.crew.offsets[member.place] = 3600.0 * hours
        lab.crew.terminate(member)
        await lab.crew.gone(member, 12.0)
    fault = lab.book.begin(planned.i, planned.kind, note=f"{hours:+d} h at {member.place}")
    await lab.clock.sleep(planned.seconds)
    del lab.crew.offsets[member.place]
    async with lab.crew.victim(member.place, seconds=10.0) as successor:
        if successor is not None:
            lab.crew.terminate(successor)
            await lab.crew.gone(successor, 12.0)
    lab.book.end(fault, pids=() if successor is None else (successor.pid,))


async def kill_producer(lab: Lab, planned: Planned) -> None:
    """kill -9 of a producer while its enqueue is on the way up, or the answer on the way down."""
    place = sorted(lab.hands.current)[int(planned.draw * len(lab.hands.current))]
    side: Side = "request" if planned.kind == "kill@enqueue" else "reply"
    async with lab.network.aim("enqueue", side, who=(place,)) as struck:
        if not await struck.moment(PATIENCE):
            raise NotInjected("the producer enqueued nothing")
        fault = lab.book.begin(planned.i, planned.kind)
        pid = await lab.hands.kill(place)
        lab.book.end(fault, pids=(pid,))
