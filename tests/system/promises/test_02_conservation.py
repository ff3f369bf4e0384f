"""Promise 2, conservation: at every instant of a run full of faults the counts add up, and afterwards each job ended once.

Also promise 5 under the same faults: nothing of one key overtook another.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal

import pytest

from engine import StoreError
from tests.support.laws import assert_conserved
from tests.support.running import until
from tests.support.worker_main import Script

from .checks import assert_each_ended_once, assert_in_order
from .crew import Crew, numbered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PLANS = (
    ("ok",),
    ("ok",),
    ("fail", "ok"),
    ("snooze", "ok"),
    ("retry", "fail", "ok"),
    ("discard",),
    ("limit job", "ok"),
    ("result",),
)
FAULTS = ("kill", "term", "freeze", "flush scripts", "cut", "kill", "freeze", "kill")


async def _watch(crew: Crew, looks: list[int]) -> None:
    """Look at the law again and again, until cancelled."""

    async def look() -> None:
        with contextlib.suppress(StoreError):  # cut by a fault of this test
            await assert_conserved(crew.store, crew.queue)
            looks[0] += 1

    await until(look, lambda _: False, timeout=120.0, every=0.005)


async def test_the_counts_add_up_at_every_instant_whatever_breaks(crew: Crew) -> None:
    chance = random.Random(7)
    ids: list[str] = []
    looks = [0]
    watching = asyncio.create_task(_watch(crew, looks))
    for _ in range(3):
        await crew.start()
    for fault in FAULTS:
        scripts = [
            Script(n=len(ids) + i, plan=chance.choice(PLANS), seconds=0.02, key=chance.choice((None, "a", "b", "c", "d")))
            for i in range(40)
        ]
        ids += [handle.id for handle in await crew.add(*scripts)]
        ids += [handle.id for handle in await crew.add(*numbered(10, "ok", first=len(ids)), delay=0.3)]
        done = (await crew.counts()).completed
        await crew.completed(done + 5)
        await _break(crew, fault, chance)
    counts = await crew.all_ended(30)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert looks[0] > 200
    assert counts.completed + counts.dead == len(ids) == 400
    await assert_each_ended_once(crew, ids)
    await assert_in_order(crew)
    assert counts.stalled > 0, "no lease ran out: the faults did not bite"


async def _break(crew: Crew, fault: str, chance: random.Random) -> None:
    alive = [m for m in crew.members if m.process.poll() is None]
    victim = chance.choice(alive)
    match fault:
        case "kill":
            victim.kill()
            crew.launch()
        case "term":
            assert await victim.stop() == 0
            crew.launch()
        case "freeze":
            victim.signal(signal.SIGSTOP)
            stalled = (await crew.counts()).stalled
            await crew.when(lambda c: c.stalled > stalled or not c.active, timeout=6)
            victim.signal(signal.SIGCONT)
        case "flush scripts":
            await crew.store.link.call("SCRIPT", "FLUSH")
        case "cut":
            await crew.store.link.patient(
                lambda: crew.store.link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), timeout=5.0
            )
