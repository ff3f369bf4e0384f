"""The first application: WhatsApp for small businesses. Builds the engine and declares its three queues.

`engine run` and `engine dev` find it as `handlers:engine`. What the handlers need from outside comes from `resources.py`.
"""

from __future__ import annotations

from engine import Engine, Exponential

engine: Engine = Engine()

messages_queue = engine.queue(
    "messages",
    priority=1,  # a person waits for the answer
    concurrency=5,
    attempts=3,
    backoff=Exponential(initial=2.0),
    timeout=30.0,
    keep_dead_for="7d",
)
automations_queue = engine.queue(
    "automations", priority=3, attempts=2, backoff=Exponential(initial=2.0), timeout=60.0, keep_dead_for="7d"
)
campaigns_queue = engine.queue(
    "campaigns", priority=5, attempts=2, backoff=Exponential(initial=5.0), timeout=300.0, keep_dead_for="7d"
)

from . import automations, campaigns, messages, resources  # noqa: E402 - they register on the engine and the queues above
from .sample import sample_traffic  # noqa: E402 - it imports the payloads and stores of the handlers above

__all__ = [
    "automations",
    "automations_queue",
    "campaigns",
    "campaigns_queue",
    "engine",
    "messages",
    "messages_queue",
    "resources",
    "sample_traffic",
]
