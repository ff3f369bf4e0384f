"""Shapes: the records that people, pages and JSON see. Their field names are the contract of `--json`.

Instants are ISO 8601 in UTC, durations seconds, sizes bytes. More fields may come, none is renamed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..job import State


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the handler that did not complete, or a stall (outcome `stalled`: its worker was lost)."""

    attempt: int
    started_at: str | None
    ended_at: str | None
    outcome: str
    error: str | None
    worker: str | None


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is dead or was tried again."""

    type: str
    message: str
    traceback: str | None = None
    fingerprint: str | None = None
    reason: str | None = None


class ProgressView(msgspec.Struct, frozen=True):
    """How far a handler said it is."""

    done: int
    total: int


class JobLine(msgspec.Struct, frozen=True, kw_only=True):
    """A job as lists have it."""

    id: str
    queue: str
    name: str
    """'' when the entry can't be read; `raw` shows it then"""
    state: State
    attempt: int
    """The attempt that runs, ran last, or comes next"""
    attempts: int | None
    """The most it gets; None when neither the job nor this application says"""
    stalls: int
    priority: int
    ordering_key: str | None
    organization_id: str | None = None
    enqueued_at: str | None
    due_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    expires_at: str | None = None
    timeout: float | None = None
    run_seconds: float | None = None
    worker: str | None = None
    error: ErrorView | None = None
    why: str | None = None
    """While it waits: what for"""
    cancel_reason: str | None = None
    result: Any = None
    payload: Any = None
    raw: str | None = None


class JobView(JobLine, frozen=True, kw_only=True):
    """A job with its whole story."""

    history: tuple[AttemptView, ...] = ()
    progress: ProgressView | None = None
    steps: tuple[str, ...] = ()
    """Durable steps that are done"""
    log: tuple[str, ...] = ()


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a queue are where. enqueued = waiting + ... + removed (`difference` 0)."""

    enqueued: int
    waiting: int
    active: int
    scheduled: int
    retrying: int
    blocked: int
    completed: int
    dead: int
    cancelled: int
    removed: int
    paused: bool
    oldest_waiting_seconds: float
    workers: int
    pause_reason: str | None
    paused_until: str | None
    rate_limited_until: str | None
    difference: int
    retried: int
    stalled: int
    priority: int | None
    concurrency: int | None
    max_waiting: int | None
    """Most jobs that may wait, scheduled, retrying and blocked ones included; None without a limit, or when this application
    does not declare the queue"""
    when_full: str | None
    refused: int
    """Never enqueued: the queue was full"""
    dropped: int
    """Of the removed ones: the oldest, to make room"""


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """The server under the queues."""

    flavour: str
    version: str
    role: str
    durability: str
    ping_ms: float
    used_memory_bytes: int
    maxmemory_bytes: int
    policy: str
    connected_replicas: int
    address: str


class StatsView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance; `engine stats --json`."""

    queues: dict[str, QueueView]
    redis: ServerView


class ServingView(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does for one queue."""

    queue: str
    concurrency: int
    held: int
    names: tuple[str, ...]


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process. `is_alive` false: no heartbeat for 15 s."""

    worker: str
    host: str
    pid: int
    version: str
    is_alive: bool
    seen_at: str | None
    seen_seconds_ago: float
    started_at: str | None
    queues: tuple[ServingView, ...]
