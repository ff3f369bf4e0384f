"""Caller: what an answer says of the leases it granted."""

from __future__ import annotations

import pytest

from engine import Clock
from engine.errors import StoreUnanswered
from engine.events import Events
from engine.services.caller import Answer, Caller
from engine.services.holdings import Holdings
from engine.services.outage import Outage
from engine.store.link import Link
from engine.store.settles import Settles
from tests.support.factory import enqueue, spec
from tests.support.faults import FaultyStore


class Ticking(Clock):
    """Every look is a second later than the one before."""

    seconds = 0.0

    def mono(self) -> float:
        self.seconds += 1.0
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        return None


@pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "answered after its reply was lost"])
async def test_a_lease_counts_from_the_first_sending_of_the_call_that_granted_it(
    server_url: str, queue: str, is_lost: bool
) -> None:
    store = FaultyStore(Link(server_url, clock=Clock()), Clock())
    clock = Ticking()
    events = Events(clock)
    caller = Caller(
        spec(queue),
        store,
        worker="w1",
        clock=clock,
        holdings=Holdings(),
        outage=Outage(clock, events),
        events=events,
        on_lost=lambda entries: None,
        is_gone=bool,
    )
    try:
        await enqueue(store, queue)
        if is_lost:
            store.fail("step", StoreUnanswered("its reply was lost"), after=True)
        before = clock.seconds
        answer = await caller.send(Settles(), 1)
        assert isinstance(answer, Answer)
        assert answer.reply.status == ("again" if is_lost else "ok")
        assert len(answer.reply.rows) == 1
        assert answer.sent_mono <= before + 2
    finally:
        await caller.close()
        await store.close()
