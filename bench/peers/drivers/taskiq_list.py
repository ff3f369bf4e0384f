"""taskiq on taskiq-redis' list broker, which takes a job from the list before it runs: a crash loses it."""

from __future__ import annotations

from typing import Any

from taskiq_redis import ListQueueBroker

from bench.peers.drivers import common, taskiq_shared

broker: Any = ListQueueBroker(common.redis_url())
parts = taskiq_shared.Parts("bench.peers.drivers.taskiq_list", broker)
scheduler = parts.scheduler

DRIVER = parts.driver(
    common.Setting("acknowledgement", "none", "this broker has none: a job is gone from Redis when it begins to run"),
)
