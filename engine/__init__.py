"""A job engine on Redis Streams for Python (asyncio). The names in `__all__` are the public face; everything else may change."""

from __future__ import annotations

__version__ = "0.1.0"

from .app import Engine, Handler, Queue
from .backoff import Exponential, Fixed
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
from .outcome import Discard, PauseQueue, RateLimited, Retry, Snooze

__all__ = [
    "AttemptTimeout",
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
    "PauseQueue",
    "PayloadTooLarge",
    "Queue",
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
