"""Check-up: every fault that can be made is found, by name, with a way to mend it; a healthy place has none."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from engine.client import Client, Depth, Finding
from engine.client.checkup_server import server_findings
from engine.declared import Limit, WhenFull
from engine.keys import SUFFIXES, prefix
from engine.store.audit import TYPES
from engine.store.producing import Entry
from engine.store.redis_store import RedisStore
from engine.store.server import Replica
from tests.store.seed import Hand, dead, enqueue
from tests.support.factory import body

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


async def only_after(client: Client, queue: str, depth: Depth, level: str) -> Finding:
    (finding,) = [one for one in await client.checkup(depth) if (one.subject, one.level) == (f"queue {queue}", level)]
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
    assert "written off: 1 job too many" in (await only_after(client, queue, Depth(write_off=True), "note")).what
    assert (await found(client, queue))[0].level == "ok"


async def test_work_without_a_worker_is_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    finding = await only(client, queue, "problem")
    assert finding.what == "1 job and no live worker"
    assert finding.mend == f"start one: engine run --queue {queue}"


async def test_jobs_that_nobody_can_run_are_a_problem(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue, "w1", "other")
    await enqueue(store, queue)
    assert "no live worker knows: 'greet'" in (await only(client, queue, "problem")).what


async def test_different_leases_of_live_workers_are_a_note(client: Client, store: RedisStore, queue: str) -> None:
    for worker, lease_ms in (("w1", 10_000), ("w2", 10_000), ("w3", 0)):
        await store.heartbeat(queue, worker, msgspec.msgpack.encode({"names": ["greet"], "lease_ms": lease_ms}))
    assert [one.level for one in await found(client, queue)] == ["ok"]
    await store.heartbeat(queue, "w3", msgspec.msgpack.encode({"names": ["greet"], "lease_ms": 1_000}))
    assert (await only(client, queue, "note")).what == "its live workers have different leases: 1s, 10s"


async def test_a_pause_over_work_is_a_warning(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    await enqueue(store, queue)
    await store.pause(queue, "token of +5511987654321 revoked")
    finding = await only(client, queue, "warning")
    assert "(token of +55•••••••••21 revoked) with 1 job pending" in finding.what
    assert finding.mend == f"engine resume {queue}"


@pytest.mark.parametrize(("closed_ms", "level"), [(HOUR // 2, "note"), (48 * HOUR, "warning")], ids=["short", "long"])
async def test_a_gate_is_told_with_its_end_and_how_to_open_it(
    client: Client, store: RedisStore, queue: str, closed_ms: int, level: str
) -> None:
    await alive(store, queue)
    await enqueue(store, queue)
    await store.gate(queue, closed_ms)
    (told,) = [one for one in await found(client, queue) if "gate" in one.what]
    assert (told.level, told.mend) == (level, f"engine resume {queue} opens it, when the limit is over already")
    assert ", until 2" in told.what
    assert (await client.resume(queue))[0].changed
    assert [one.level for one in await found(client, queue)] == ["ok"]
    assert len(await Hand(store, queue, "w1").step(want=1)) == 1


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
    assert "due since 1m" in (await only(client, queue, "problem")).what


async def test_rows_that_contradict_one_another_are_a_problem_and_mended_when_asked(
    client: Client, store: RedisStore, queue: str
) -> None:
    await alive(store, queue)
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await store.link.call("ZREM", f"{prefix(queue)}scheduled", job_id)
    problem = next(one for one in await found(client, queue) if one.level == "problem")
    assert problem.what == f"a scheduled or retrying job whose rows do not agree: {job_id}"
    assert problem.mend == "engine doctor --fix"
    told: list[int] = []
    mended = await only_after(client, queue, Depth(full=True, mend=True, on_progress=told.append), "note")
    assert mended.what.startswith("mended: a scheduled or retrying job whose rows do not agree")
    assert told == sorted(told)
    assert told[-1] > 0
    assert [one.level for one in await found(client, queue)] == ["ok"]


async def test_ordering_keys_are_not_told_for_they_may_be_phone_numbers(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    ids = await enqueue(store, queue, 2, ordering_key="+5511987654321")
    await store.link.call("XDEL", f"{prefix(queue)}ready:5", ids[0])
    findings = await client.checkup(Depth(mend=True, write_off=True))
    assert "mended: an ordering key held by a job that is gone, or whose row is no line; given to the next in line" in [
        one.what for one in findings
    ]
    assert not [one for one in findings if "98765" in one.what]


@pytest.mark.damaged
async def test_what_stands_in_damaged_rows_is_masked(client: Client, store: RedisStore, queue: str) -> None:
    for n, junk in enumerate(("+5511987654321", "token=hunter2", "a\nb", "x" * 500)):
        await store.link.call("HSET", f"{prefix(queue)}{('where', 'jobs')[n % 2]}", junk, "??")
    told = " ".join(one.what for one in await found(client, queue))
    assert "+55" in told
    assert "token=•••" in told
    assert not [secret for secret in ("98765", "hunter2", "a\nb", "x" * 100) if secret in told]


async def test_a_look_that_was_cut_short_says_so(client: Client, store: RedisStore, queue: str) -> None:
    await alive(store, queue)
    for _ in range(21):
        await enqueue(store, queue, 100, delay_ms=HOUR)
    assert (await only(client, queue, "note")).what == "of each structure its first 2,000 rows were looked at"
    assert [one.level for one in await client.checkup(Depth(full=True)) if one.subject == f"queue {queue}"] == ["ok"]


@pytest.mark.damaged
async def test_a_key_of_a_foreign_type_is_a_problem_and_the_rest_is_told_all_the_same(
    client: Client, store: RedisStore, queue: str
) -> None:
    await store.link.call("SET", f"{prefix(queue)}flags", "not ours")
    await enqueue(store, queue)
    problems = {one.what: one.mend for one in await found(client, queue) if one.level == "problem"}
    key = f"{prefix(queue)}flags"
    way_out = f"rename it out of the way: RENAME {key} foreign:{{{queue}}}:flags, then engine doctor --full --fix"
    assert problems[f"a key of it has a foreign type: {key}"] == way_out
    assert "1 job and no live worker" in problems


@pytest.mark.damaged
async def test_every_key_of_a_foreign_type_is_told_by_its_name(client: Client, store: RedisStore, queue: str) -> None:
    usurped = {"bell", "events", "done", "metrics", "ready:A"}
    for name in usurped:
        await store.link.call("SET", prefix(queue) + name, "not ours")
    told = [one.what.rpartition("}:")[2] for one in await found(client, queue) if "foreign type" in one.what]
    assert sorted(told) == sorted(usurped)


def test_a_type_is_known_of_every_kind_of_key() -> None:
    assert set(TYPES) == set(SUFFIXES)
    words = {"hash": "hash", "zset": "sorted set", "stream": "stream"}
    assert [name for name, kind in TYPES.items() if words[kind] not in SUFFIXES[name].partition(":")[0]] == []


@pytest.mark.parametrize("what_went", ["stream", "group"])
async def test_a_ready_stream_or_its_group_that_is_gone_is_a_problem_and_made_again_when_asked(
    client: Client, store: RedisStore, queue: str, what_went: str
) -> None:
    await alive(store, queue)
    await enqueue(store, queue)
    ready = f"{prefix(queue)}ready:5"
    await store.link.call(*(("DEL", ready) if what_went == "stream" else ("XGROUP", "DESTROY", ready, "w")))
    problems = {one.what: one.mend for one in await found(client, queue) if one.level == "problem"}
    assert problems["a ready stream in use that is gone, or whose group is: 5"] == "engine doctor --fix"
    assert any("1 job missing" in what for what in problems) == (what_went == "stream")
    mended = [one.what for one in await client.checkup(Depth(mend=True, write_off=True)) if one.subject == f"queue {queue}"]
    assert "mended: a ready stream in use that is gone, or whose group is: 5; made again" in mended
    assert [one.level for one in await found(client, queue)] == ["ok"]
    assert len(await Hand(store, queue, "w1").step(want=1)) == (what_went == "group")


JUNK = [
    ("HSET", "meta", "enqueued", "abc"),
    ("HSET", "meta", "retried", "1.5"),
    ("HSET", "meta", "gate", "junk"),
    ("HSET", "meta", "tags", "5zq"),
    ("HSET", "where", "not-an-id", "??"),
    ("HSET", "where", "1-1", "5:99999999999999999999999-1"),
    ("ZADD", "scheduled", "1", "zzz"),
    ("ZADD", "scheduled", "inf", "zzz"),
    ("ZADD", "retrying", "inf", "99999999999999999999999-1"),
]


@pytest.mark.parametrize("junk", JUNK, ids=" ".join)
async def test_rows_that_are_none_of_ours_are_a_problem_and_mended_when_asked(
    client: Client, store: RedisStore, queue: str, junk: tuple[str, ...]
) -> None:
    await alive(store, queue)
    await enqueue(store, queue)
    command, name, *rest = junk
    await store.link.call(command, prefix(queue) + name, *rest)
    assert "problem" in [one.level for one in await found(client, queue)]
    mended = [one for one in await client.checkup(Depth(mend=True, write_off=True)) if one.subject == f"queue {queue}"]
    assert "problem" not in [one.level for one in mended]
    assert [(one.level, one.what[:15]) for one in await found(client, queue)] == [("ok", "1 job pending, ")]


async def test_a_job_that_is_due_never_is_a_problem_and_due_now_when_mended(
    client: Client, store: RedisStore, queue: str
) -> None:
    await alive(store, queue)
    (job_id,) = await enqueue(store, queue, delay_ms=HOUR)
    await store.link.call("ZADD", f"{prefix(queue)}scheduled", "inf", job_id)
    assert "whose rows do not agree" in (await only(client, queue, "problem")).what
    await client.checkup(Depth(mend=True))
    assert [one.level for one in await found(client, queue)] == ["ok"]
    assert float(await store.link.call("ZSCORE", f"{prefix(queue)}scheduled", job_id)) <= await store.now_ms()


async def test_a_row_of_a_worker_that_can_not_be_read_is_no_live_worker(client: Client, store: RedisStore, queue: str) -> None:
    await enqueue(store, queue)
    await store.link.call("HSET", f"{prefix(queue)}workers", "w", "junk")
    assert (await only(client, queue, "problem")).what == "1 job and no live worker"
    assert (await store.sweep_rest(queue, HOUR, HOUR)).workers == 1


async def test_a_list_of_queues_of_a_foreign_type_is_a_problem_and_the_declared_ones_are_told(
    client: Client, store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueue(store, queue)
    foreign = f"{prefix(queue)}flags"  # the real one is every test's
    await store.link.call("SET", foreign, "not ours")
    monkeypatch.setattr("engine.store.reads.registry", lambda: foreign)
    findings = await client.checkup()
    await store.link.call("DEL", foreign)
    told = [one.what for one in findings if one.level == "problem" and one.subject == "server"]
    assert any(what.startswith("which queues there are can't be read") for what in told)
    assert "1 job and no live worker" in [one.what for one in findings if one.subject == f"queue {queue}"]


@pytest.mark.parametrize("name", ["jobs", "where", "workers", "keys"])
async def test_whichever_key_has_a_foreign_type_the_other_queues_are_told(
    client: Client, store: RedisStore, queue: str, name: str
) -> None:
    await enqueue(store, queue)
    await store.link.call("SET", prefix(queue) + name, "not ours")
    findings = await client.checkup()
    await store.link.call("DEL", prefix(queue) + name)
    problems = [one.what for one in findings if one.level == "problem" and one.subject == f"queue {queue}"]
    assert len([what for what in problems if what.startswith("a key of it has a foreign type")]) == 1
    assert [one for one in findings if one.subject == "server"]


@pytest.mark.parametrize("when_full", ["refuse", "drop-oldest"])
async def test_a_nearly_full_queue_is_a_warning(client: Client, store: RedisStore, queue: str, when_full: WhenFull) -> None:
    await alive(store, queue)
    limit = client.queues[queue].limit = Limit(10, when_full)
    await store.enqueue(queue, "p", 1, [Entry(body())] * 8, limit)
    assert [finding.level for finding in await found(client, queue)] == ["ok"]
    await store.enqueue(queue, "p", 2, [Entry(body(), delay_ms=HOUR)] * 3, limit)
    finding = await only(client, queue, "warning")
    word = "refused" if when_full == "refuse" else "dropped"
    assert finding.what == f"10 jobs wait of at most 10 (1 job {word} so far)"
    assert finding.mend.endswith("enqueue is refused" if when_full == "refuse" else "the oldest jobs are dropped")


async def test_dead_jobs_are_a_note(client: Client, store: RedisStore, queue: str) -> None:
    await dead(store, queue, 2)
    assert (await only(client, queue, "note")).what == "2 dead jobs"


LATE = Replica(where="10.0.0.2:6379", state="online", lag_seconds=30, behind_bytes=5)
KEEPS_UP = Replica(where="10.0.0.3:6379", state="online", lag_seconds=1, behind_bytes=5)
ONE_WANTED: dict[str, object] = {"connected_replicas": 1, "min_replicas_to_write": 1, "min_replicas_max_lag": 2}
"""Class replicated."""


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"is_aof_on": False}, "problem", "durability class memory: when it stops, every job is lost"),
        ({"appendfsync": "no"}, "problem", "appendfsync is no"),
        ({"appendfsync": None}, "ok", "everysec is assumed"),
        ({"appendfsync": "everysec"}, "ok", "durability class process"),
        ({"last_write_ok": False}, "problem", "can't write its append-only file"),
        ({"policy": "allkeys-lru", "maxmemory": 0}, "warning", "deletes jobs without a word"),
        ({"policy": "allkeys-lru", "maxmemory": 10**12}, "problem", "deletes jobs without a word"),
        ({"maxmemory": 1000, "used_memory": 950}, "problem", "95% of its maxmemory"),
        ({"maxmemory": 1000, "used_memory": 800}, "warning", "80% of its maxmemory"),
        ({"clock_ahead_ms": 2_000}, "warning", "2s ahead of"),
        ({"clock_ahead_ms": -90_000}, "problem", "1m30s behind"),
        ({"ping_ms": 25.0}, "warning", "a PING takes 25.0 ms"),
        ({"appendfsync": "always", "skips_fsync_on_rewrite": True}, "problem", "no-appendfsync-on-rewrite is yes"),
        ({"last_rewrite_ok": False}, "warning", "last rewrite of the append-only file failed"),
        ({"rewrites_aof": False}, "warning", "grows for ever"),
        ({"last_snapshot_ok": False}, "warning", "its last RDB snapshot failed"),
        ({"last_snapshot_ok": False, "stops_writes_without_snapshot": True}, "problem", "refuses every write"),
        ({"role": "slave"}, "problem", "it is a read-only replica"),
        ({"min_replicas_to_write": 1}, "problem", "min-replicas-to-write is 1 and 0 are connected"),
        ({"connected_replicas": 1}, "note", "cut off from its replicas it goes on"),
        ({"connected_replicas": 2, "min_replicas_to_write": 1}, "note", "1 of 2 replicas must have a write"),
        ({"connected_replicas": 1, "min_replicas_to_write": 1, "min_replicas_max_lag": 2}, "ok", "it loses up to 4 s of"),
        ({"replicas": (LATE,)}, "warning", "replica 10.0.0.2:6379 is 5 bytes behind and was last heard 30 s ago"),
        ({"replicas": (replace(LATE, state="wait_bgsave"),)}, "warning", "replica 10.0.0.2:6379 is wait_bgsave"),
        ({"replicas": (LATE, KEEPS_UP), "min_replicas_to_write": 1, "connected_replicas": 2}, "warning", "last heard 30 s ago"),
        ({"replicas": (LATE, KEEPS_UP), "min_replicas_to_write": 2, "connected_replicas": 2}, "problem", "1 of the 2 that must"),
        ({**ONE_WANTED, "replicas": (LATE,)}, "problem", "last heard 30 s ago; 0 of the 1 that must have each write keep up"),
        ({**ONE_WANTED, "replicas": (replace(LATE, lag_seconds=3),)}, "problem", "last heard 3 s ago; 0 of the 1 that must"),
        ({**ONE_WANTED, "replicas": (replace(KEEPS_UP, behind_bytes=2**25),)}, "problem", "33,554,432 bytes behind"),
        ({**ONE_WANTED, "replicas": (replace(KEEPS_UP, state="wait_bgsave"),)}, "problem", "is wait_bgsave; 0 of the 1"),
        ({**ONE_WANTED, "replicas": (KEEPS_UP,)}, "ok", "durability class replicated"),
        ({"connected_clients": 95, "maxclients": 100}, "warning", "95 of 100 connections are taken"),
        ({"flavour": "redis", "version": "7.4.5"}, "warning", "redis 7.4.5 has CVE-2025-49844"),
        ({"flavour": "valkey", "version": "8.1.4"}, "ok", "valkey 8.1.4"),
        ({"maxmemory": 0}, "note", "it has no maxmemory"),
    ],
)
async def test_what_the_server_gives_away_is_found(store: RedisStore, changed: dict[str, object], level: str, said: str) -> None:
    info = await store.server_info()
    healthy = replace(
        info, is_aof_on=True, appendfsync="always", policy="noeviction", ping_ms=0.1, clock_ahead_ms=0, maxmemory=10**12
    )
    assert {finding.level for finding in server_findings(healthy)} == {"ok"}
    findings = server_findings(replace(healthy, **changed))
    (finding,) = [one for one in findings if said in one.what]
    assert finding.level == level
    assert bool(finding.mend) == (level != "ok")


async def test_commands_that_our_user_may_not_call_are_a_problem(store: RedisStore) -> None:
    findings = server_findings(await store.server_info(), ["XADD", "XAUTOCLAIM"])
    assert "this user may not call XADD, XAUTOCLAIM: jobs that need it will fail" in [one.what for one in findings]
