"""Lease keeper: renews what is held while it may be, and tells what is lost or asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import pytest

from engine import Clock
from engine.errors import StoreDenied, StoreRefused, StoreUnreachable
from engine.keys import prefix
from engine.services.holdings import Holdings
from engine.services.lease_keeper import LeaseKeeper, Renewed, Reports
from engine.store.claim import Claim
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from tests.support.factory import LEASE_MS, Hand, enqueue, lone_store, reclaim
from tests.support.fake_clock import FakeClock
from tests.support.faults import FaultyStore, Proxy
from tests.support.running import until


@dataclass
class Told:
    """What the keeper told."""

    lost: list[tuple[str, set[str]]] = field(default_factory=list)
    asked: list[tuple[str, set[str]]] = field(default_factory=list)
    blocked: list[tuple[float, str]] = field(default_factory=list)


class Bench:
    """A keeper under a fake clock, with claims that a worker by hand made."""

    def __init__(self, store: RedisStore, *queues: str) -> None:
        self.clock, self.told, self.holdings = FakeClock(), Told(), Holdings()
        self.store, self.queue, self.hand = store, queues[0], Hand(store, queues[0])
        self.keeper = LeaseKeeper(
            self.holdings,
            lambda: store,
            dict.fromkeys(queues, LEASE_MS),
            worker="w1",
            clock=self.clock,
            reports=reports(self.told),
        )

    async def hold(self, n: int) -> list[Claim]:
        """Claim and hold `n` jobs, their leases granted now by the fake clock."""
        await enqueue(self.store, self.queue, n)
        return await take(self.hand, n, self.clock, self.holdings)

    async def renew(self) -> Renewed:
        return await self.keeper.run_once(self.store)

    async def idle_ms(self, claim: Claim) -> int:
        ((_, _, idle, _),) = await self.store.link.call(
            "XPENDING", f"{prefix(self.queue)}ready:{claim.tag}", "w", claim.entry, claim.entry, 1
        )
        return int(idle)


async def take(hand: Hand, n: int, clock: Clock, holdings: Holdings) -> list[Claim]:
    """Claim and hold so many, their leases granted now by that clock."""
    claims = await hand.claim(n)
    for claim in claims:
        claim.renewed_mono = clock.mono()
        holdings.of(hand.queue)[claim.entry] = claim
    return claims


def reports(told: Told) -> Reports:
    return Reports(
        lost=lambda q, e: told.lost.append((q, e)),
        asked=lambda q, i: told.asked.append((q, i)),
        blocked=lambda s, w: told.blocked.append((s, w)),
    )


@pytest.fixture
def bench(store: RedisStore, queue: str) -> Bench:
    return Bench(store, queue)


async def test_nothing_is_asked_before_a_third_of_the_lease_has_passed(bench: Bench) -> None:
    await bench.hold(2)
    bench.clock.jump(LEASE_MS / 3000 - 0.01)
    assert await bench.renew() == Renewed()
    bench.clock.jump(0.02)
    assert await bench.renew() == Renewed(renewed=2)
    assert await bench.renew() == Renewed()
    assert bench.keeper.renewals == 2


async def test_running_and_prefetched_entries_are_renewed_together(bench: Bench) -> None:
    claims = await bench.hold(3)
    await bench.hand.lapse(*claims)
    claims[0].deadline_mono = bench.clock.mono() + 100
    bench.clock.jump(5)
    assert await bench.renew() == Renewed(renewed=3)
    assert [c.renewed_mono for c in claims] == [bench.clock.mono()] * 3
    for claim in claims:
        assert await bench.idle_ms(claim) < LEASE_MS
    assert (await reclaim(bench.store, bench.queue)).moved == 0


async def test_an_attempt_past_its_deadline_on_a_loop_that_turns_is_renewed_until_its_slot_gives_it_up(bench: Bench) -> None:
    late, other = await bench.hold(2)
    late.deadline_mono = bench.clock.mono() + 4
    bench.clock.jump(5)
    await bench.hand.lapse(late, other)
    assert await bench.renew() == Renewed(renewed=2)
    assert (await reclaim(bench.store, bench.queue)).moved == 0


async def test_jobs_in_an_answer_that_nobody_reads_are_renewed_while_a_handler_blocks_the_loop(bench: Bench) -> None:
    """The claim was answered, the loop stands still, and nobody holds what it gave us: neither lost nor anybody else's."""
    await enqueue(bench.store, bench.queue, 2)
    unread = await bench.hand.claim(2)
    await bench.hand.lapse(*unread)
    bench.holdings.ask(bench.queue, 2)
    await bench.renew()
    assert (await bench.idle_ms(unread[0])) > LEASE_MS  # the loop turns: it will read the answer
    bench.keeper._pinged_mono = bench.clock.mono()
    bench.clock.jump(LEASE_MS / 3000 + 0.1)
    await bench.renew()
    assert (await reclaim(bench.store, bench.queue)).moved == 0
    await bench.hand.lapse(*unread)
    await bench.renew()
    assert (await bench.idle_ms(unread[0])) > LEASE_MS  # not at each look
    bench.holdings.ask(bench.queue, 0)
    bench.clock.jump(LEASE_MS / 3000 + 0.1)
    await bench.renew()
    assert (await reclaim(bench.store, bench.queue)).moved == 2  # nothing was asked for, so there is nothing to read


async def test_a_lost_lease_is_told_and_the_others_are_kept(bench: Bench) -> None:
    gone, kept = await bench.hold(2)
    await bench.hand.lapse(gone)
    await reclaim(bench.store, bench.queue)
    bench.clock.jump(5)
    assert await bench.renew() == Renewed(renewed=1, lost=1)
    assert bench.told.lost == [(bench.queue, {gone.entry})]
    assert kept.renewed_mono == bench.clock.mono()


async def test_what_was_settled_while_the_call_was_under_way_is_not_lost(bench: Bench) -> None:
    (claim,) = await bench.hold(1)

    class Settling(RedisStore):
        async def renew(self, queue: str, worker: str, entries: object) -> tuple[list[str], list[str]]:
            await bench.hand.complete(claim)
            bench.holdings.of(queue).pop(claim.entry)
            return await super().renew(queue, worker, [claim])

    bench.clock.jump(5)
    renewed = await bench.keeper.run_once(Settling(bench.store.link, bench.clock))
    assert renewed == Renewed()
    assert bench.told.lost == []


async def test_a_cancel_that_somebody_asked_for_is_told(bench: Bench) -> None:
    (claim,) = await bench.hold(1)
    await bench.store.cancel(bench.queue, claim.id, "why")
    bench.clock.jump(5)
    await bench.renew()
    assert bench.told.asked == [(bench.queue, {claim.id})]


async def test_trust_is_counted_from_the_moment_the_request_left(bench: Bench) -> None:
    (claim,) = await bench.hold(1)
    bench.clock.jump(5)
    asked_at = bench.clock.mono()

    class Slow(RedisStore):
        async def renew(self, queue: str, worker: str, entries: object) -> tuple[list[str], list[str]]:
            answer = await super().renew(queue, worker, [claim])
            bench.clock.jump(3)
            return answer

    await bench.keeper.run_once(Slow(bench.store.link, bench.clock))
    assert claim.renewed_mono == asked_at


async def _one_each(store: RedisStore, names: list[str]) -> Bench:
    """One job of each queue is held, the earlier the older its lease; all are due."""
    bench = Bench(store, *names)
    for name in names:
        await enqueue(store, name)
        await take(Hand(store, name), 1, bench.clock, bench.holdings)
        bench.clock.jump(0.1)
    bench.clock.jump(5)
    return bench


async def test_the_oldest_lease_is_renewed_first(store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names, renewed, renew = [f"{queue}-{n}" for n in (3, 1, 0, 2)], list[str](), store.renew
    bench = await _one_each(store, names)
    bench.holdings._by_queue = dict(sorted(bench.holdings._by_queue.items()))

    async def note(name: str, worker: str, claims: list[Claim]) -> tuple[list[str], list[str]]:
        renewed.append(name)
        return await renew(name, worker, claims)

    monkeypatch.setattr(store, "renew", note)
    assert await bench.renew() == Renewed(renewed=4)
    assert renewed == names


async def test_a_queue_whose_renewal_is_refused_keeps_no_other_from_its_own(store: RedisStore, queue: str) -> None:
    faulty = FaultyStore(store.link, Clock())
    bench = await _one_each(faulty, [f"{queue}-{n}" for n in range(4)])
    refused = faulty.fail("renew", StoreRefused("its data is damaged", code="WRONGTYPE"))
    with pytest.raises(StoreRefused, match="damaged"):
        await bench.renew()
    assert refused() == 1
    assert bench.keeper.renewals == 3
    assert await bench.renew() == Renewed(), "it is left alone for a while"
    bench.clock.jump(8)
    assert await bench.renew() == Renewed(renewed=4)


async def test_a_queue_that_is_refused_for_good_makes_no_others_renewal_late(
    server_url: str, store: RedisStore, queue: str
) -> None:
    """The pause after damage or a missing right is longer than many leases."""
    names, clock, holdings = [f"{queue}-{n}" for n in range(2)], Clock(), Holdings()

    class Refusing(RedisStore):
        async def renew(self, queue: str, worker: str, claims: Iterable[Claim]) -> tuple[list[str], list[str]]:
            if queue == names[0]:
                raise StoreDenied("no right to it", code="NOPERM")
            return await super().renew(queue, worker, claims)

    keeper = LeaseKeeper(
        holdings,
        lambda: Refusing(Link(server_url, clock=clock), clock),
        dict.fromkeys(names, 600),
        worker="w1",
        clock=clock,
        reports=reports(Told()),
    )
    for name in names:
        await enqueue(store, name)
        await take(Hand(store, name), 1, clock, holdings)

    async def renewals() -> int:
        return keeper.renewals

    keeper.start()
    try:
        await until(renewals, lambda n: n >= 3, 4.0)
    finally:
        await keeper.stop()


async def test_a_node_of_a_cluster_that_is_away_costs_the_other_nodes_no_lease(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queues are the oldest soon, and so the first in each pass."""
    monkeypatch.setattr(Link, "is_cluster", True)
    names = [f"{queue}-{n}" for n in range(10)]
    faulty = FaultyStore(store.link, Clock())
    bench = await _one_each(faulty, names)
    away = faulty.fail("renew", StoreUnreachable("node 1 is away"), times=9)
    with pytest.raises(StoreUnreachable):
        await bench.renew()
    assert (away(), bench.keeper.renewals) == (9, 1)


@pytest.mark.parametrize(("many", "at_once"), [(80, 10), (264, 32)])
async def test_many_queues_of_a_server_far_away_are_renewed_side_by_side(
    server_url: str, store: RedisStore, queue: str, many: int, at_once: int
) -> None:
    """One call after the other, a pass over 100 queues 20 ms away took longer than their leases of 2 s, and all were lost."""
    now = most = 0

    class Counted(RedisStore):
        async def renew(self, queue: str, worker: str, claims: Iterable[Claim]) -> tuple[list[str], list[str]]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return await super().renew(queue, worker, claims)
            finally:
                now -= 1

    bench = await _one_each(store, [f"{queue}-{n}" for n in range(many)])
    async with Proxy(server_url) as proxy, lone_store(proxy.url) as far:
        await far.link.call("PING")
        proxy.slow(0.01)
        assert await bench.keeper.run_once(Counted(far.link, bench.clock)) == Renewed(renewed=many)
        assert (most, proxy.came) == (at_once, at_once), "calls, and connections for them"


@dataclass
class Blocked:
    """A keeper in its thread, a claim whose handler is the test itself, another beside it, and the main loop blocked by the test."""

    keeper: LeaseKeeper
    at_it: Claim
    beside: Claim
    told: list[str] = field(default_factory=list)

    def block(self, seconds: float) -> int:
        """Keep the loop from turning for so long; how often the keeper renewed meanwhile."""
        before, deadline = self.keeper.renewals, time.monotonic() + seconds
        while time.monotonic() < deadline:  # on purpose without an await
            threading.Event().wait(0.01)
        return self.keeper.renewals - before


@pytest.fixture
async def blocked(server_url: str, store: RedisStore, queue: str) -> AsyncIterator[Blocked]:
    clock, holdings = Clock(), Holdings()
    await enqueue(store, queue, 2)
    claims = await Hand(store, queue).claim(2)
    for claim in claims:
        claim.renewed_mono = clock.mono()
        holdings.of(queue)[claim.entry] = claim
    told: list[str] = []
    keeper = LeaseKeeper(
        holdings,
        lambda: RedisStore(Link(server_url, clock=clock), clock),
        {queue: 1000},
        worker="w1",
        clock=clock,
        reports=Reports(lost=lambda q, e: None, asked=lambda q, i: None, blocked=lambda s, where: told.append(where)),
    )
    claims[0].slot = asyncio.current_task()
    yield Blocked(keeper, claims[0], claims[1], told)
    await keeper.stop()
    assert "off" in repr(keeper)


async def test_its_thread_renews_while_the_loop_is_blocked_and_names_who_blocks_it(
    blocked: Blocked, store: RedisStore, queue: str
) -> None:
    blocked.at_it.slot = asyncio.current_task()
    blocked.at_it.deadline_mono = Clock().mono() + 60
    blocked.beside.deadline_mono = Clock().mono() + 0.1  # it can't end while another blocks the loop: not its fault
    blocked.keeper.start()
    assert blocked.block(2.0) >= 4
    assert (await store.reclaim(queue, "r", 1500, 3, {}, grace=False)).moved == 0
    assert blocked.at_it.full_id in blocked.told[0]


async def test_once_the_time_of_who_blocks_the_loop_is_up_nothing_is_renewed_any_more(blocked: Blocked) -> None:
    blocked.at_it.slot = asyncio.current_task()
    blocked.at_it.deadline_mono = Clock().mono() + 1.2
    blocked.keeper.start()
    assert blocked.block(1.2) >= 2
    blocked.block(0.3)  # a pass may have been under way
    assert blocked.block(1.0) == 0, "who else this process holds would wait for ever for a loop that may never turn again"


async def test_code_that_is_no_handlers_may_block_the_loop_for_ten_leases(blocked: Blocked) -> None:
    blocked.at_it.deadline_mono = Clock().mono() + 0.1
    blocked.at_it.slot = None
    blocked.keeper.start()
    assert blocked.block(2.0) >= 4
