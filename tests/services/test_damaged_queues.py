"""Damaged queues: a worker serves its other queues, goes on by itself where only rows are damaged, and says once what it can't read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from engine import Clock, Engine, StoreRefused
from engine.events import Events, ServiceFailed, StoreDown
from engine.keys import prefix
from engine.services import bell, rest
from engine.services.bell import Bell
from engine.services.heartbeat import Heartbeat
from engine.services.outage import Outage
from engine.store import patience
from engine.store.redis_store import RedisStore
from tests.support.damage import FUTURE, Damage, busy, damages, forget
from tests.support.factory import Hand, raw
from tests.support.recorder import Recorder
from tests.support.running import running, until


class Queues:
    """A queue for each damage, one that is sound, and a handler for all of them."""

    def __init__(self, engine: Engine, name: str, which: list[Damage]) -> None:
        self.damaged = {f"{name}-{n}": damage for n, damage in enumerate(which)}
        self.sound = f"{name}-sound"
        self.greet = {queue: engine.queue(queue).handler("greet")(_greet) for queue in (*self.damaged, self.sound)}


async def _greet(payload: dict[str, int]) -> str:
    """Nothing can go wrong here."""
    return "hello"


@asynccontextmanager
async def damaged(engine: Engine, store: RedisStore, name: str, which: list[Damage]) -> AsyncIterator[Queues]:
    """Queues with every key and jobs in each state, and then the damage."""
    queues = Queues(engine, name, which)
    try:
        async with engine:
            for queue in queues.greet:
                await busy(store, queue)
            for queue, damage in queues.damaged.items():
                await damage.do(store, queue)
            yield queues
    finally:
        for queue in queues.greet:
            await forget(store, queue)


def told(recorder: Recorder, queue: str) -> list[ServiceFailed]:
    """What was said of a queue."""
    return [one for one in recorder.all(ServiceFailed) if one.error.startswith(f"queue {queue!r}: ")]


async def test_a_worker_starts_over_keys_of_foreign_types_and_serves_the_sound_queue(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Heartbeat, "period", 0.5)
    monkeypatch.setattr(patience, "RARE_PAUSE", 0.3)
    engine = make_engine(drain_timeout=0.1)
    async with damaged(engine, store, queue, [one for one in damages() if one.is_foreign]) as queues:
        with Recorder(engine.events) as recorder:
            async with running(engine) as worker:
                for n in range(3):
                    await (await queues.greet[queues.sound].enqueue({"n": n})).result(timeout=5)

                async def said() -> set[str]:
                    return {damage.suffix for queue, damage in queues.damaged.items() if told(recorder, queue)}

                await until(said, lambda kinds: kinds >= {"meta", "ready:", "bell", "scheduled", "workers", "dead", "done"})
                await (await queues.greet[queues.sound].enqueue({"n": 3})).result(timeout=5)
                rows = await store.workers(queues.sound, await store.now_ms())
                assert [row.is_alive for row in rows if row.worker == worker.name] == [True]
            failed = recorder.all(ServiceFailed)
            assert recorder.all(StoreDown) == [], "the server was never away"
            assert [one.error for one in failed if "; `engine doctor` tells what is damaged" not in one.error] == []
            often = Counter((one.service, one.error.partition(": ")[0]) for one in failed)
            assert [one for one in failed if often[one.service, one.error.partition(": ")[0]] > 1] == []
            assert told(recorder, queues.sound) == []


@pytest.mark.parametrize("part", range(4))
async def test_a_worker_goes_on_by_itself_where_rows_are_damaged_or_a_key_is_gone(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "GLANCE", 0.5)  # a bell that can't be rung
    engine = make_engine()
    stopped: dict[str, str] = {}
    which = [one for one in damages() if not one.is_foreign][part::4]
    async with damaged(engine, store, queue, which) as queues, running(engine):
        for name, damage in queues.damaged.items():
            try:
                handle = await queues.greet[name].enqueue({"n": 1})
                await handle.result(timeout=1 if "paused" in damage.command else 5)
            except (StoreRefused, TimeoutError) as error:
                stopped[str(damage)] = type(error).__name__
    # a pause that can't be read is one; above an id from the future no job can be added before a worker or the doctor met it
    known = {"meta HSET paused abc": "ResultTimeout", f"ready: XADD {FUTURE} j rubbish": "StoreRefused"}
    assert stopped.items() <= known.items()


async def test_a_bell_of_a_foreign_type_makes_its_own_queue_deaf_and_no_other(
    store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(bell, "DEAF_SECONDS", 0.05)
    clock, other, rung, cancelled = Clock(), f"{queue}-other", list[str](), list[str]()
    events = Events(clock)
    ears = Bell(
        store, (queue, other), clock=clock, events=events, outage=Outage(clock, events), on_ring=rung.append,
        on_cancel=lambda queue, job_id: cancelled.append(job_id),
    )  # fmt: skip

    async def ring(name: str) -> None:
        """Ring, and wait until that is heard."""
        rung.clear()

        async def heard() -> list[str]:
            await raw(store, name, "XADD", "bell", "MAXLEN", "1", "*", "t", "x")
            return rung

        await until(heard, lambda names: name in names)

    await ears.begin()
    hearing = asyncio.ensure_future(ears.run())
    with Recorder(events) as recorder:
        await ring(queue)
        await raw(store, queue, "DEL", "bell")
        await raw(store, queue, "SET", "bell", "not ours")
        await ring(other)
        await recorder.next(ServiceFailed, service="Bell")
        for _ in range(3):
            await ring(other)
        await raw(store, other, "XADD", "control", "*", "x", "y")
        await raw(store, other, "XADD", "control", "*", "act", "cancel", "id", "1-1")

        async def asked() -> list[str]:
            return cancelled

        await until(asked, lambda ids: ids == ["1-1"])
        await raw(store, queue, "DEL", "bell")
        await ring(other)
        await ring(queue)
        assert len(told(recorder, queue)) == len(recorder.all(ServiceFailed)) == 1
        assert recorder.all(StoreDown) == []
    ears.stop()
    await ears.close()
    await hearing
    await forget(store, other)


@pytest.mark.parametrize("is_foreign", [False, True], ids=["a row of nobody's", "a foreign type"])
async def test_who_waits_for_an_end_hears_of_it_whatever_stands_where_ends_are_told(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str, is_foreign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RARE_PAUSE", 0.1)
    engine = make_engine()
    greet = engine.queue(queue).handler("greet")(_greet)
    async with engine:
        handle = await greet.enqueue({"n": 1})
        waiting = asyncio.ensure_future(handle.result(timeout=8))
        await until(lambda: raw(store, queue, "EXISTS", "flags"), bool)
        if is_foreign:
            await store.link.call("SET", f"{prefix(queue)}settled", "not ours")
        else:
            await raw(store, queue, "XADD", "settled", "*", "id", handle.id.partition("/")[2])
        async with running(engine):
            assert await waiting == "hello"
        await store.link.call("DEL", f"{prefix(queue)}settled")


async def test_a_suspect_of_a_sound_queue_runs_beside_a_damaged_one(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until its process holds nothing else and has asked for nothing: a call that waits for a mend asks for nothing."""
    monkeypatch.setattr(patience, "RARE_PAUSE", 0.3)
    engine, bad, sound = make_engine(drain_timeout=0.1), f"{queue}-bad", f"{queue}-sound"
    greet = {name: engine.queue(name).handler("greet")(_greet) for name in (bad, sound)}
    async with engine:
        suspect = await greet[sound].enqueue({"n": 0})
        (claim,) = await Hand(store, sound, "gone").claim(1)
        await store.link.call(
            "XCLAIM", prefix(sound) + f"ready:{claim.tag}", "w", "gone", 0, claim.entry, "IDLE", 60_000, "JUSTID"
        )
        assert (await store.reclaim(sound, "other", 10_000, 3, {}, limit=40, grace=False)).moved == 1
        await greet[bad].enqueue({"n": 1})
        await store.link.call("DEL", prefix(bad) + "scheduled")
        await store.link.call("SET", prefix(bad) + "scheduled", "not ours")
        try:
            async with running(engine):
                for n in range(3):
                    await (await greet[sound].enqueue({"n": n})).result(timeout=20)
                await suspect.result(timeout=20)
        finally:
            await forget(store, bad)
            await forget(store, sound)
