"""Faults: every kind by name, and the driver that injects a schedule. What could not be injected is written down as that."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence

import hiredis
import msgspec

from . import faults_network, faults_server, faults_workers
from .journal import Fault
from .lab import Inject, Lab, NotInjected
from .schedule import KINDS, WATCHED, Planned, stand_ins

_WHOLE: dict[str, Inject] = {
    "deploy": faults_workers.deploy,
    "deploy@lease": faults_workers.deploy_lease,
    "clock": faults_workers.clock,
    "kill@enqueue": faults_workers.kill_producer,
    "kill@enqueued": faults_workers.kill_producer,
    "cut": faults_network.cut,
    "cut-one": faults_network.cut_one,
    "refuse": faults_network.refuse,
    "outage": faults_network.outage,
    "half-open": faults_network.half_open,
    "half-open-all": faults_network.half_open_all,
    "delay": faults_network.delay,
    "server-kill": faults_server.kill,
    "server-away": faults_server.kill,
    "server-freeze": faults_server.freeze,
    "client-kill": faults_server.client_kill,
    "client-pause": faults_server.client_pause,
    "script-flush": faults_server.script_flush,
    "maxmemory": faults_server.maxmemory,
    "disk-full": faults_server.disk_full,
    "failover": faults_server.fail_over,
    "failover-freeze": faults_server.fail_over,
}
_FAMILIES: dict[str, Inject] = {
    "kill": faults_workers.kill,
    "freeze": faults_workers.freeze,
    "lost-reply": faults_network.lost,
    "lost-request": faults_network.lost,
}
INJECT: dict[str, Inject] = {kind: _WHOLE.get(kind) or _FAMILIES[kind.partition("@")[0]] for kind in (*KINDS, *WATCHED)}
MOST_SECONDS = 150.0
"""No fault takes longer; failovers that wait for one another come nearest."""


async def inject(lab: Lab, planned: Planned) -> bool:
    """Inject one fault and wait for its end; False when it could not be done."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            await INJECT[planned.kind](lab, planned)
    except NotInjected as why:
        _not_injected(lab, planned, str(why))
    except (OSError, hiredis.ReplyError) as error:  # the lab's own command met another fault
        _not_injected(lab, planned, f"the server did not take the lab's command: {error}")
    return lab.book.last[planned.i].injected


def _not_injected(lab: Lab, planned: Planned, why: str) -> None:
    now = time.monotonic_ns()
    begun = lab.book.last.get(planned.i)
    fault = begun or Fault(i=planned.i, kind=planned.kind, begin_mono_ns=now)
    lab.book.write(
        Fault(
            i=fault.i,
            kind=fault.kind,
            begin_mono_ns=fault.begin_mono_ns,
            end_mono_ns=now,
            injected=False,
            server_away=fault.server_away,
            poor=fault.poor,
            note=why,
            instead_of=planned.instead_of,
        )
    )


async def drive(lab: Lab, schedule: Sequence[Planned], kinds: Sequence[str], on_fault: Callable[[Planned], object]) -> None:
    """Inject a whole schedule, each fault at its time whether or not the one before has ended; returns when all have. One that
    can't be done is replaced by another of these kinds."""
    began = lab.clock.mono()
    async with asyncio.TaskGroup() as group:
        for planned in schedule:
            wait = began + planned.at_s - lab.clock.mono()
            if wait > 0:
                await lab.clock.sleep(wait)
            on_fault(planned)
            group.create_task(_named(lab, planned, kinds))


async def _one(lab: Lab, planned: Planned, kinds: Sequence[str]) -> None:
    if await inject(lab, planned):
        return
    for other in stand_ins(planned, kinds, lab.lease):
        if await inject(lab, other):
            lab.book.write(msgspec.structs.replace(lab.book.last[other.i], instead_of=planned.kind))
            return


async def _named(lab: Lab, planned: Planned, kinds: Sequence[str]) -> None:
    try:
        await _one(lab, planned, kinds)
    except Exception:
        print(f"chaos: the lab failed at fault {planned.i}, {planned.kind}", file=sys.stderr, flush=True)
        raise
