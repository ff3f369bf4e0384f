"""Sentinel: the topology is a real one. Its primary is killed, another one is promoted, the killed one comes back as a replica."""

from __future__ import annotations

import pytest

from bench.chaos.sentinel import Sentinels

pytestmark = pytest.mark.slow


async def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(server_kind: str) -> None:
    async with Sentinels(server_kind) as s:
        old = s.kill_primary()
        assert await s.promoted() < 10
        assert s.primary is not old
        await s.primary.ask("SET", "a", "b")
        await s.mend()
        assert (await old.ask("ROLE"))[0] == b"slave"
        assert await old.ask("GET", "a") == b"b"
