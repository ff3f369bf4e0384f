"""Faults of the network, made by the proxy: cuts, refusals, outages, half-open connections, delays, lost requests and replies."""

from __future__ import annotations

from .faults_workers import PATIENCE
from .lab import Lab, NotInjected, chance
from .schedule import Planned


async def cut(lab: Lab, planned: Planned) -> None:
    """RST on every connection."""
    fault = lab.book.begin(planned.i, planned.kind)
    count = await lab.network.cut(lab.network.everybody)
    lab.book.end(fault, note=f"{count} connections")


async def cut_one(lab: Lab, planned: Planned) -> None:
    """RST on every connection of one process, worker or producer."""
    who = chance(planned).choice(lab.network.everybody)
    fault = lab.book.begin(planned.i, planned.kind)
    count = await lab.network.cut((who,))
    lab.book.end(fault, note=f"{count} connections of {who}")


async def refuse(lab: Lab, planned: Planned) -> None:
    """RST on every connection, and on every new one for a while."""
    async with lab.network_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True)
        async with lab.network.mode("refuse", lab.network.everybody):
            await lab.network.cut(lab.network.everybody)
            await lab.clock.sleep(planned.seconds)
        lab.book.end(fault)


async def outage(lab: Lab, planned: Planned) -> None:
    """Nothing passes for a while, then everything passes late, also what its sender has given up."""
    async with lab.network_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True)
        async with lab.network.mode("hold", lab.network.everybody):
            await lab.clock.sleep(planned.seconds)
        lab.book.end(fault)


async def half_open(lab: Lab, planned: Planned) -> None:
    """One worker's connections are dead and nobody tells, for longer than its lease: others take its jobs."""
    async with lab.network_turn, lab.crew.victim() as member:
        if member is None:
            raise NotInjected("no worker at work that is not under another fault")
        fault = lab.book.begin(planned.i, planned.kind, pids=(member.pid,), loses_lease=True)
        async with lab.network.mode("swallow", (member.place,)):
            settled = await lab.network.settled(member.place)
            await lab.clock.sleep(planned.seconds)
        # what it runs meanwhile of the jobs it had claimed is its own until the lease is over, and settled by nobody
        lab.book.end(fault, note=member.place, entitles=await lab.crew.may_cost(member, settled))


async def half_open_all(lab: Lab, planned: Planned) -> None:
    """Every connection is dead and nobody tells. Each worker finds out by itself, at a time of its own: leases may run out."""
    async with lab.network_turn:
        crew = lab.crew.at_work
        pids = tuple(member.pid for member in crew)
        fault = lab.book.begin(planned.i, planned.kind, server_away=True, pids=pids, loses_lease=True)
        async with lab.network.mode("swallow", lab.network.everybody):
            settled = [await lab.network.settled(member.place) for member in crew]
            await lab.clock.sleep(planned.seconds)
        costs = [await lab.crew.may_cost(member, then) for member, then in zip(crew, settled, strict=True)]
        lab.book.end(fault, entitles=sum(costs))


async def delay(lab: Lab, planned: Planned) -> None:
    """Every message takes 20 to 200 ms more, each way."""
    async with lab.network_turn:
        ms = 20 + int(planned.draw * 180)
        fault = lab.book.begin(planned.i, planned.kind, note=f"{ms} ms each way")
        async with lab.network.mode("delay", lab.network.everybody, ms):
            await lab.clock.sleep(planned.seconds)
        lab.book.end(fault)


async def lost(lab: Lab, planned: Planned) -> None:
    """The connection breaks before the server has a call of that script, or after it answered; the next one to three calls."""
    what, _, script = planned.kind.partition("@")
    times = 1 + int(planned.draw * 3)
    async with lab.network.aim(script, "reply" if what == "lost-reply" else "request", cut=True, times=times) as struck:
        fault = lab.book.begin(planned.i, planned.kind)
        if not await struck.moment(PATIENCE):
            lab.book.end(fault, injected=False, note=f"nobody called {script}")
            return
        deadline = lab.clock.mono() + 1.0
        while struck.times < times and lab.clock.mono() < deadline:
            await lab.clock.sleep(0.02)
        lab.book.end(fault, note=f"{struck.times} times")
