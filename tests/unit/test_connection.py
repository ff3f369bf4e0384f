"""Connection: which servers are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from engine import Clock, Settings, StoreUnsuitable
from engine.connection import Connection
from engine.store.server import ServerInfo

GOOD = ServerInfo(
    flavour="redis",
    version="7.0.0",
    mode="standalone",
    role="master",
    run_id="r",
    uptime_seconds=1,
    connected_replicas=0,
    min_replicas_to_write=0,
    min_replicas_max_lag=10,
    replicas=(),
    is_aof_on=True,
    appendfsync="everysec",
    skips_fsync_on_rewrite=False,
    rewrites_aof=True,
    last_rewrite_ok=True,
    last_snapshot_ok=True,
    stops_writes_without_snapshot=False,
    last_write_ok=True,
    maxmemory=0,
    used_memory=1,
    policy="noeviction",
    connected_clients=1,
    maxclients=10_000,
    ping_ms=0.1,
    clock_ahead_ms=0,
)


def check(info: ServerInfo, **settings: Any) -> None:
    Connection(Settings(redis_url="redis://somewhere", **settings), clock=Clock()).check(info)


@pytest.mark.parametrize("flavour_version", [("redis", "7.0.0"), ("redis", "8.2.1"), ("valkey", "7.2.0"), ("valkey", "9.1.2")])
def test_new_enough_servers_are_taken(flavour_version: tuple[Any, str]) -> None:
    flavour, version = flavour_version
    check(replace(GOOD, flavour=flavour, version=version))


@pytest.mark.parametrize("flavour_version", [("redis", "6.2.14"), ("redis", "5.0"), ("valkey", "7.1.9")])
def test_an_old_server_is_named_with_what_is_needed(flavour_version: tuple[Any, str]) -> None:
    flavour, version = flavour_version
    with pytest.raises(StoreUnsuitable, match=f"{version}: too old, the engine needs Redis 7.0 or Valkey 7.2"):
        check(replace(GOOD, flavour=flavour, version=version))


@pytest.mark.parametrize(
    ("changes", "asked", "is_enough"),
    [
        ({"policy": "allkeys-lru", "maxmemory": 10**9}, "process", False),
        ({"policy": "allkeys-lru", "maxmemory": 10**9}, None, True),
        ({"policy": "allkeys-lru", "maxmemory": 0}, "process", True),
        ({"policy": "volatile-lru", "maxmemory": 10**9}, "process", True),
    ],
)
def test_a_server_that_deletes_jobs_is_refused_by_who_asks_for_durability(
    changes: dict[str, Any], asked: Any, is_enough: bool
) -> None:
    if is_enough:
        check(replace(GOOD, **changes), durability=asked)
    else:
        with pytest.raises(StoreUnsuitable, match=r"deletes jobs at its memory limit \(maxmemory-policy allkeys-lru\)"):
            check(replace(GOOD, **changes), durability=asked)


def test_a_replica_is_refused_with_the_way_out() -> None:
    with pytest.raises(StoreUnsuitable, match="read-only replica: name the primary in REDIS_URL"):
        check(replace(GOOD, role="slave"))


@pytest.mark.parametrize(
    ("asked", "changes", "is_enough"),
    [
        ("process", {}, True),
        ("disk", {}, False),
        ("disk", {"appendfsync": "always"}, True),
        ("memory", {"is_aof_on": False}, True),
        ("process", {"is_aof_on": False}, False),
        ("process", {"appendfsync": "no"}, False),
        ("disk", {"appendfsync": None}, False),
        ("replicated", {"appendfsync": "always"}, False),
        ("replicated", {"connected_replicas": 1, "min_replicas_to_write": 1}, True),
        ("replicated", {"connected_replicas": 1, "min_replicas_to_write": 1, "min_replicas_max_lag": 0}, False),
        ("process", {"connected_replicas": 1, "min_replicas_to_write": 1, "is_aof_on": False}, False),
        ("disk", {"connected_replicas": 1, "min_replicas_to_write": 1}, False),
    ],
)
def test_less_durability_than_asked_for_is_refused(asked: Any, changes: dict[str, Any], is_enough: bool) -> None:
    info = replace(GOOD, **changes)
    if is_enough:
        check(info, durability=asked)
    else:
        with pytest.raises(StoreUnsuitable, match=f"ENGINE_DURABILITY asks for '{asked}'"):
            check(info, durability=asked)
