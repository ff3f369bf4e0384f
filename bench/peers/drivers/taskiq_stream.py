"""taskiq on taskiq-redis' stream broker. The worker is the `taskiq worker` command, delays need `taskiq scheduler` beside it."""

from __future__ import annotations

from typing import Any

from taskiq_redis import RedisStreamBroker

from bench.peers.drivers import common, taskiq_shared

broker: Any = RedisStreamBroker(common.redis_url())
parts = taskiq_shared.Parts("bench.peers.drivers.taskiq_stream", broker)
scheduler = parts.scheduler

DRIVER = parts.driver(
    common.Setting("idle_timeout", "10 min (default)", "decides how soon a lost job comes back"),
    common.Setting("maxlen", "None (default)", "a bound would drop jobs that wait; so the stream keeps every job ever sent"),
)
