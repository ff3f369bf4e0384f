"""Promise 11, bounded scripts: full bites stay short, nothing scans the key space, and at maxmemory only adding is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from engine import State, StoreFull
from engine.declared import Limit
from engine.producer import MOST_DROPPING
from engine.services.outbox import FULL
from engine.store.producing import Entry
from engine.store.scripts import script
from tests.support import factory
from tests.support.running import until
from tests.support.worker_main import Script

from .checks import assert_each_ended_once, rows
from .crew import Crew, numbered
from .servers import OwnServer
from .times import Times

pytestmark = pytest.mark.slow

ROUNDS = 10
BODY = factory.body(payload={"text": "x" * 300})


async def _enqueue(crew: Crew, turn: str, n: int, *, keys: bool = False, **entry: Any) -> list[str]:
    entries = [Entry(BODY, ordering_key=f"k{i % n}" if keys else "", **entry) for i in range(n)]
    return [one.id for one in await crew.store.enqueue(crew.queue, turn, 1, entries)]


async def test_full_bites_stay_under_two_milliseconds(own_crew: Crew) -> None:
    store, queue = own_crew.store, own_crew.queue
    times = Times(store.link.call)
    await times.begin()
    for turn in range(ROUNDS):
        hand = factory.Hand(store, queue, f"w{turn}")
        await times.known()
        await times.of("enqueue 100", _enqueue(own_crew, f"a{turn}", 100))
        claims = await times.of("claim 100", hand.claim(100))
        await _enqueue(own_crew, f"b{turn}", 100)
        for claim in claims:
            hand.settles.complete(claim)
        claims = factory.read(queue, await times.of("settle 100, claim 100", hand.step(100)))
        await times.of("renew 100", hand.renew(*claims))
        for claim in claims:
            hand.settles.bury(claim, b"i" * 500, "f00d", "attempts used up", claim.repacked())
        await hand.step()
        dead = [row.id for row in await rows(own_crew, State.DEAD)]
        await times.of("requeue 25", store.requeue(queue, dead[:25]))
        await times.of("sweep 50 dead", store.sweep_dead(queue, 10**15, limit=50))
        claims = await hand.claim(40)
        await hand.lapse(*claims)
        await times.of("reclaim 40", factory.reclaim(store, queue))
        await _enqueue(own_crew, f"c{turn}", 100, delay_ms=1)
        await times.of("promote 50", store.promote(queue, 50))
        while not (await store.obliterate(queue, force=True)).is_done:
            continue
    assert times.report() == {}


async def test_the_dearest_bites_stay_under_two_milliseconds_too(own_crew: Crew) -> None:
    """Ordering keys that all hand over, and failures only: the heaviest that a full outbox sends."""
    store, queue = own_crew.store, own_crew.queue
    times = Times(store.link.call)
    await times.begin()
    for turn in range(ROUNDS):
        hand = factory.Hand(store, queue, f"w{turn}")
        await times.known()
        await times.of("enqueue 100, each a key", _enqueue(own_crew, f"a{turn}", 100, keys=True))
        await times.of("enqueue 100, all blocked", _enqueue(own_crew, f"b{turn}", 100, keys=True))
        claims = await hand.claim(100)
        while hand.settles.weight < FULL:
            hand.settles.complete(claims.pop())
        claims = factory.read(queue, await times.of("settle a bite of handovers, claim 100", hand.step(100)))
        while hand.settles.weight < FULL:
            claim = claims.pop()
            hand.settles.retry(claim, 1, "OSError: no", claim.repacked(attempt=2))
        await times.of("settle a bite of failures, claim 100", hand.step(100))
        await times.of("promote 50 retrying", store.promote(queue, 50))
        while not (await store.obliterate(queue, force=True)).is_done:
            continue
        await _enqueue(own_crew, f"c{turn}", 50, keys=True)
        await _enqueue(own_crew, f"d{turn}", 50, keys=True)
        full = [Entry(BODY, ordering_key=f"n{i}") for i in range(MOST_DROPPING)]
        bite = store.enqueue(queue, f"e{turn}", 1, full, Limit(100, "drop-oldest"))
        made_room = await times.of("enqueue 20, 20 holders make room", bite)
        assert all(one.made_room for one in made_room)
        while not (await store.obliterate(queue, force=True)).is_done:
            continue
    assert times.report() == {}


async def test_five_hundred_endings_at_once_are_settled_in_bites(own_crew: Crew, own_server: OwnServer) -> None:
    """They end while the server does not answer, so all of them wait for the next call."""
    crew = own_crew
    call = crew.store.link.call
    await crew.start(concurrency=500, lease=30.0)
    gate = crew.gate()
    await crew.add(*(Script(n=n, plan=("gate, fail", "ok"), gate=gate) for n in range(500)))
    await crew.when(lambda c: c.active == 500)
    await call("CONFIG", "SET", "slowlog-log-slower-than", 500)
    await call("CONFIG", "SET", "slowlog-max-len", 1000)
    own_server.freeze()
    crew.open(gate)
    await until(crew.ends, lambda ends: len(ends) == 500)
    own_server.thaw()
    await crew.when(lambda c: c.completed == 500)
    log = await call("SLOWLOG", "GET", 1000)
    steps = [entry for entry in log if entry[3][0].upper() == b"EVALSHA" and entry[3][1] == script("step").sha.encode()]
    longest = max(_arguments(entry[3]) for entry in steps)
    print(f"500 failures at once: steps took {sorted(int(entry[2]) for entry in steps)} us, at most {longest} arguments")
    assert longest < 8 * 100  # eight a failure, and some counts


def _arguments(command: list[bytes]) -> int:
    """How many a command had; the log keeps 31 and says how many more there were."""
    more = re.fullmatch(rb"\.\.\. \((\d+) more arguments\)", command[-1])
    return len(command) - 1 + int(more[1]) if more else len(command)


async def test_no_command_scans_the_key_space(own_crew: Crew) -> None:
    crew = own_crew
    call = crew.store.link.call
    await call("CONFIG", "RESETSTAT")
    await crew.start()
    await crew.add(*numbered(50, "ok", keys=("a", "b")), *numbered(20, "fail", "ok", first=50), *numbered(5, "discard", first=70))
    await crew.add(Script(n=99), delay=0.2)
    await crew.all_ended()
    client = crew.app.client
    await client.stats()
    await client.jobs(queue=crew.queue)
    await client.retry_failed()
    await crew.all_ended()
    await client.clean(("completed", "dead", "cancelled"), 1.0)
    await crew.members[0].stop()
    used = await _commands(crew)
    assert used["evalsha"] > 10
    assert {"keys", "scan", "randomkey", "smembers", "sort"} & set(used) == set()


async def _commands(crew: Crew) -> dict[str, int]:
    info = (await crew.store.link.call("INFO", "commandstats")).decode()
    lines = [line.removeprefix("cmdstat_").partition(":") for line in info.splitlines() if line.startswith("cmdstat_")]
    return {name: int(rest.partition("calls=")[2].partition(",")[0]) for name, _, rest in lines}


async def test_at_maxmemory_adding_is_refused_and_everything_else_goes_on(own_crew: Crew) -> None:
    crew = own_crew
    call = crew.store.link.call
    scripts = [
        *numbered(20, "ok", keys=("a", "b", None)),
        *numbered(10, "fail", "ok", first=20),
        *numbered(5, "discard", first=30),
        *numbered(5, "snooze", "ok", first=35),
        *numbered(5, "result", first=40),
    ]
    ids = [handle.id for handle in await crew.add(*scripts)]
    ids += [handle.id for handle in await crew.add(*numbered(5, first=45), delay=0.5)]
    spare = (await crew.add(Script(n=60), delay=3600))[0].id
    await call("CONFIG", "SET", "maxmemory", 1)
    before = await crew.counts()
    with pytest.raises(StoreFull, match="maxmemory"):
        await crew.add(Script(n=99))
    assert (await crew.counts()).enqueued == before.enqueued
    doomed = await crew.start(die="before settle")
    assert await doomed.ended() == -9
    await crew.start()
    counts = await crew.when(lambda c: c.completed + c.dead == len(ids))
    assert (counts.completed, counts.dead) == (45, 5)
    assert counts.stalled > 0
    with pytest.raises(StoreFull):
        await crew.app.client.requeue(f"{crew.queue}/{(await rows(crew, State.DEAD))[0].id}")
    await crew.app.client.delete(spare)
    assert (await crew.counts()).removed == 1
    await assert_each_ended_once(crew, ids)
    await call("CONFIG", "SET", "maxmemory", 0)
    await crew.job("ok", n=99)
    await crew.when(lambda c: c.completed == 46)
