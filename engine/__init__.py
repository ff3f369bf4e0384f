"""A job engine on Redis Streams for Python (asyncio). The names in `__all__` are the public face; everything else may change."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .app import Engine
    from .backoff import Backoff, Exponential, Fixed
    from .clock import Clock
    from .config import Settings
    from .enqueuing import Handle
    from .errors import (
        AttemptTimeout,
        BadInput,
        BadName,
        BadPayload,
        BadTime,
        ConfigError,
        EngineClosed,
        EngineError,
        EnqueueUnknown,
        JobCancelled,
        JobDead,
        JobError,
        JobNotFound,
        LeaseLost,
        PayloadTooLarge,
        ProducerFull,
        QueueFull,
        Refused,
        ResultTimeout,
        StoreDenied,
        StoreError,
        StoreFull,
        StoreRefused,
        StoreUnanswered,
        StoreUnreachable,
        StoreUnsuitable,
        UnknownHandler,
        UnknownQueue,
        WrongState,
    )
    from .job import Job, State
    from .options import EnqueueOptions
    from .outcome import Discard, Outcome, PauseQueue, Policy, RateLimited, Retry, Snooze
    from .queue import Handler, Queue

__all__ = [
    "AttemptTimeout",
    "Backoff",
    "BadInput",
    "BadName",
    "BadPayload",
    "BadTime",
    "Clock",
    "ConfigError",
    "Discard",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EnqueueOptions",
    "EnqueueUnknown",
    "Exponential",
    "Fixed",
    "Handle",
    "Handler",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobError",
    "JobNotFound",
    "LeaseLost",
    "Outcome",
    "PauseQueue",
    "PayloadTooLarge",
    "Policy",
    "ProducerFull",
    "Queue",
    "QueueFull",
    "RateLimited",
    "Refused",
    "ResultTimeout",
    "Retry",
    "Settings",
    "Snooze",
    "State",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnanswered",
    "StoreUnreachable",
    "StoreUnsuitable",
    "UnknownHandler",
    "UnknownQueue",
    "WrongState",
    "__version__",
]

# Modules load when a name is first used: `engine --help` and `engine.embedded` need neither redis nor msgspec. Names that
# stand nowhere here are exceptions.
_HOMES = {
    "app": "Engine",
    "backoff": "Backoff Exponential Fixed",
    "clock": "Clock",
    "config": "Settings",
    "enqueuing": "Handle",
    "job": "Job State",
    "queue": "Handler Queue",
    "options": "EnqueueOptions",
    "outcome": "Discard Outcome PauseQueue Policy RateLimited Retry Snooze",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names.split()), "errors")
    value: object = getattr(import_module("." + home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
