"""Server watch: each danger is told once, another replica's is another."""

from __future__ import annotations

from engine.clock import Clock
from engine.events import Events, ServerUnsafe
from engine.services.server_watch import ServerWatch
from engine.store.redis_store import RedisStore
from engine.store.server import ServerInfo
from tests.support.recorder import Recorder


async def test_a_second_replica_that_lags_is_told_and_the_first_one_with_another_figure_is_not(
    store: RedisStore, queue: str, clock: Clock
) -> None:
    behind = {"10.0.0.2:6379": 5}

    def judge(info: ServerInfo) -> list[tuple[str, str]]:
        return [(f"replica {where} is {n:,} bytes behind", "") for where, n in behind.items()]

    events = Events(clock)
    watch = ServerWatch(store, queue, judge, None, clock=clock, events=events)
    with Recorder(events) as recorder:
        await watch.run_once()
        behind |= {"10.0.0.2:6379": 7_000, "10.0.0.3:6379": 6}
        assert await watch.run_once() == 2
        told = [event.what for event in recorder.all(ServerUnsafe)]
    watch.stop()
    assert told == ["replica 10.0.0.2:6379 is 5 bytes behind", "replica 10.0.0.3:6379 is 6 bytes behind"]
