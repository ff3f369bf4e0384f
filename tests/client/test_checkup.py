"""Check-up: every fault that can be made is found, by name, with a way to mend it; a healthy place has none."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from engine.client import Client, Finding
from engine.client.checkup import server_findings
from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.store.seed import Hand, dead, enqueue

HOUR = 3_600_000


async def alive(store: RedisStore, queue: str, worker: str = "w1", *names: str) -> None:
    await store.heartbeat(
        queue, worker, msgspec.msgpack.encode({"host": "h1", "pid": 7, "concurrency": 5, "names": names or ("greet",)})
    )


async def found(client: Client, queue: str) -> list[Finding]:
    return [finding for finding in await client.checkup() if finding.subject == f"queue {queue}"]


async def only(client: Client, queue: str, level: str) -> Finding:
    (finding,) = [one for one in await found(client, queue) if one.level == level]
    return finding


async def test_a_healthy_queue_is_ok(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    await enqueue(store, queue, 2)
    await Hand(store, queue, "w1").step(want=1)
    (finding,) = await found(client, queue)
    assert (finding.level, finding.what) == ("ok", "2 jobs pending, 1 live worker, conservation exact")


async def test_a_lost_job_is_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    (job_id,) = await enqueue(store, queue)
    await store.link.call("XDEL", f"{prefix(queue)}ready:5", job_id)
    assert "1 job missing (enqueued: 1)" in (await only(client, queue, "problem")).what
    await store.link.call("HINCRBY", f"{prefix(queue)}meta", "removed", 2)
    assert "1 job too many" in (await only(client, queue, "problem")).what
    await store.link.call("HINCRBY", f"{prefix(queue)}meta", "removed", -1)  # the fixture holds the queue to the law


async def test_work_without_a_worker_is_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    finding = await only(client, queue, "problem")
    assert finding.what == "1 job and no live worker"
    assert finding.mend == f"start one: engine run --queue {queue}"


async def test_jobs_that_nobody_can_run_are_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue, "w1", "other")
    await enqueue(store, queue)
    assert "no live worker knows: 'greet'" in (await only(client, queue, "problem")).what


async def test_a_pause_over_work_is_a_warning(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    await enqueue(store, queue)
    await store.pause(queue, "token of +5511987654321 revoked")
    finding = await only(client, queue, "warning")
    assert "(token of +55•••••••••21 revoked) with 1 job pending" in finding.what
    assert finding.mend == f"engine resume {queue}"


async def test_jobs_of_a_gone_worker_that_nobody_takes_over_are_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    (claim,) = await Hand(store, queue, "gone").step(want=1)
    await alive(store, queue, "w1")
    assert [finding.level for finding in await found(client, queue)] == ["ok"]
    # What XINFO CONSUMERS calls idle can't be aged, so the patience is shortened instead: a lease of no time at all.
    client.queues[queue].lease_ms = -1_000_000
    assert "1 job still held by workers that are gone: gone" in (await only(client, queue, "problem")).what
    assert claim.id


async def test_jobs_that_nobody_promotes_are_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await store.link.call("ZADD", f"{prefix(queue)}scheduled", "XX", await store.now_ms() - 60_000, job_id)
    assert "due since 1m and nobody moves them" in (await only(client, queue, "problem")).what


async def test_dead_jobs_are_a_note(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 2)
    assert (await only(client, queue, "note")).what == "2 dead jobs"


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"is_aof_on": False}, "problem", "durability class memory: when it stops, every job is lost"),
        ({"appendfsync": "no"}, "problem", "appendfsync is no"),
        ({"appendfsync": None}, "ok", "everysec is assumed"),
        ({"appendfsync": "everysec"}, "ok", "durability class process"),
        ({"last_write_ok": False}, "problem", "can't write its append-only file"),
        ({"policy": "allkeys-lru"}, "warning", "deletes jobs without a word"),
        ({"policy": "allkeys-lru", "maxmemory": 10**12}, "problem", "deletes jobs without a word"),
        ({"maxmemory": 1000, "used_memory": 950}, "problem", "95% of its maxmemory"),
        ({"maxmemory": 1000, "used_memory": 800}, "warning", "80% of its maxmemory"),
        ({"clock_ahead_ms": 2_000}, "warning", "2s ahead of"),
        ({"clock_ahead_ms": -90_000}, "problem", "1m30s behind"),
        ({"ping_ms": 25.0}, "warning", "a PING takes 25.0 ms"),
    ],
)
async def test_what_the_server_gives_away_is_found(store: RedisStore, changed: dict[str, object], level: str, said: str) -> None:
    info = await store.server_info()
    healthy = replace(info, is_aof_on=True, appendfsync="always", policy="noeviction", ping_ms=0.1, clock_ahead_ms=0)
    assert {finding.level for finding in server_findings(healthy)} == {"ok"}
    findings = server_findings(replace(healthy, **changed))  # type: ignore[arg-type]  # fields by name, for the table above
    (finding,) = [one for one in findings if said in one.what]
    assert finding.level == level
    assert bool(finding.mend) == (level in ("warning", "problem"))
