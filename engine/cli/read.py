"""Read: stats, jobs, job, failures, workers, tail. They look and change nothing; all take --json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    Command,
    ExitCode,
    JsonFlag,
    QueueOption,
    answer,
    answer_fields,
    answer_json,
    answer_table,
    misuse,
    printable,
    say,
    seconds,
)
from .finding import with_client

if TYPE_CHECKING:
    from ..client import Client, JobLine, JobView, QueueView
    from ..job import State

DAY_SECONDS = 86_400.0


def stats(json: JsonFlag = False) -> ExitCode:
    """How many jobs are where."""
    view = with_client(lambda client: client.stats())
    if json:
        answer_json(view)
        return ExitCode.DONE
    columns = (
        "queue",
        "waiting",
        "active",
        "scheduled",
        "retrying",
        "blocked",
        "dead",
        "completed",
        "cancelled",
        "oldest",
        "workers",
        "",
    )
    answer_table(columns, [_stats_row(name, queue) for name, queue in view.queues.items()])
    redis = view.redis
    limit = f" of {redis.maxmemory_bytes / 1e6:.0f}" if redis.maxmemory_bytes else ""
    answer(
        f"{redis.flavour} {redis.version} at {redis.address}, durability {redis.durability}, "
        f"{redis.ping_ms:.2f} ms away, {redis.used_memory_bytes / 1e6:.1f}{limit} MB"
    )
    for name, queue in view.queues.items():
        if queue.difference:
            say(f"engine: the conservation law of queue {name!r} is off by {queue.difference} jobs: run engine doctor")
    return ExitCode.DONE


def _stats_row(name: str, queue: QueueView) -> list[object]:
    from ..durations import format_duration

    oldest = format_duration(queue.oldest_waiting_seconds) if queue.waiting else ""
    notes = []
    if queue.paused:
        until = f" until {queue.paused_until}" if queue.paused_until else ""
        notes.append(f"PAUSED{until}" + (f": {queue.pause_reason}" if queue.pause_reason else ""))
    elif queue.rate_limited_until:
        notes.append(f"rate limited until {queue.rate_limited_until}")
    if queue.max_waiting:
        is_full = queue.waiting + queue.scheduled + queue.retrying + queue.blocked >= queue.max_waiting
        notes.append(f"{'FULL: ' if is_full else ''}at most {queue.max_waiting:,} may wait")
    notes += [f"{n:,} {what}" for n, what in ((queue.refused, "refused"), (queue.dropped, "dropped")) if n]
    counts = (
        queue.waiting,
        queue.active,
        queue.scheduled,
        queue.retrying,
        queue.blocked,
        queue.dead,
        queue.completed,
        queue.cancelled,
    )
    return [name, *counts, oldest, queue.workers, "; ".join(notes)]


def jobs(
    state: Annotated[str | None, typer.Option("--state", "-s", metavar="STATE", help="Only jobs in this state.")] = None,
    queue: QueueOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only jobs of this handler.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", metavar="N", help="At most so many.")] = 50,
    cursor: Annotated[str, typer.Option("--cursor", metavar="CURSOR", help="Go on where a page before ended.")] = "",
    json: JsonFlag = False,
) -> ExitCode:
    """List jobs. What moves first comes first, what ended last comes last."""
    wanted = read_state(state)
    if limit < 1:
        misuse(f"--limit {limit} is no number of jobs: at least 1")

    async def act(client: Client) -> str:
        left, at = limit, cursor
        while True:
            page = await client.jobs(queue=queue, state=wanted, name=name, limit=min(left, 500), cursor=at)
            show(page.jobs)
            left, at = left - len(page.jobs), page.cursor
            if left <= 0 or not at:
                return at

    rows: list[list[object]] = []

    def show(found: list[JobLine]) -> None:
        for one in found:
            if json:
                answer_json(one)
            else:
                rows.append(
                    [one.id, one.state.value, one.name, f"{one.attempt}/{one.attempts or '?'}", one.enqueued_at, _note(one)]
                )

    after = with_client(act)
    if not json:
        answer_table(("id", "state", "name", "attempt", "enqueued", ""), rows)
    if after:
        say(f"more: --cursor '{after}'")
    return ExitCode.DONE


def _note(one: JobLine) -> str:
    error = f"{one.error.type}: {one.error.message}" if one.error else ""
    return (one.why or error or one.cancel_reason or one.raw or "")[:120]


def read_state(text: str | None) -> State | None:
    """A state by its name; BadInput names all of them."""
    if text is None:
        return None
    from ..job import State

    try:
        return State(text.lower())
    except ValueError:
        misuse(f"--state {text!r} is none: {', '.join(State)}")


def job(
    id: Annotated[str, typer.Argument(metavar="ID", help="The job's full id, such as messages/1763791234567-4.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show payload and result unmasked: they are people's messages.")
    ] = False,
    json: JsonFlag = False,
) -> ExitCode:
    """Tell a job's story and, while it waits, why."""
    view = with_client(lambda client: client.job(id, reveal=reveal))
    if json:
        answer_json(view)
        return ExitCode.DONE
    _tell(view)
    return ExitCode.DONE


def _tell(view: JobView) -> None:
    import msgspec

    def packed(value: Any) -> str | None:
        return None if value is None else printable(msgspec.json.encode(value).decode())

    progress = view.progress
    answer_fields(
        {
            "job": view.id,
            "name": view.name,
            "state": view.state.value,
            "why": view.why,
            "attempt": f"{view.attempt} of {view.attempts or '?'}" + (f", {view.stalls} stalls" if view.stalls else ""),
            "priority": view.priority,
            "ordering key": view.ordering_key,
            "organization": view.organization_id,
            "enqueued": view.enqueued_at,
            "due": view.due_at,
            "expires": view.expires_at,
            "started": view.started_at,
            "ended": view.ended_at,
            "ran for": f"{view.run_seconds:.3f} s" if view.run_seconds is not None else None,
            "worker": view.worker,
            "cancelled": view.cancel_reason,
            "progress": f"{progress.done} of {progress.total}" if progress else None,
            "steps done": ", ".join(view.steps),
            "result": packed(view.result),
            "payload": packed(view.payload),
            "raw": view.raw,
        }
    )
    if view.history:
        answer("")
        rows = [[one.attempt, one.outcome, one.started_at, one.ended_at, one.worker, one.error] for one in view.history]
        answer_table(("attempt", "outcome", "started", "ended", "worker", "error"), rows)
    if view.error is not None and view.error.traceback:
        answer(f"\n{view.error.reason or 'error'} (fingerprint {view.error.fingerprint})")
        for line in view.error.traceback.rstrip().splitlines():
            answer(f"  {printable(line)}")
    if view.log:
        answer("\nlog")
        for line in view.log:
            answer(f"  {printable(line)}")


def failures(
    queue: QueueOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only jobs of this handler.")] = None,
    error: Annotated[str | None, typer.Option("--error", metavar="TEXT", help="Part of the error, in any case.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="Died within, such as 1h.")] = None,
    json: JsonFlag = False,
) -> ExitCode:
    """Dead jobs, grouped by cause. The largest group comes first."""
    from ..client import Filter

    span = seconds(since, "--since")
    filters = Filter(queue=queue, name=name, error=error, since_ms=None if span is None else round(span * 1000))
    found = with_client(lambda client: client.failures(filters))
    if json:
        for group in found.groups:
            answer_json(group)
    else:
        rows = [
            [
                one.fingerprint,
                one.count,
                one.queue,
                ", ".join(one.names),
                f"{one.type}: {one.message}"[:80],
                one.last_at,
                one.samples[0],
            ]
            for one in found.groups
        ]
        answer_table(("fingerprint", "dead", "queue", "handlers", "error", "last", "sample"), rows)
    if found.is_cut:
        say(f"engine: only the newest {found.looked_at} dead jobs were looked at; narrow it down with --queue or --since")
    return ExitCode.DONE


def workers(queue: QueueOption = None, json: JsonFlag = False) -> ExitCode:
    """Who works on what, and who fell silent."""
    from ..durations import format_duration

    found = with_client(lambda client: client.workers(queue))
    if json:
        for one in found:
            answer_json(one)
        return ExitCode.DONE
    rows = [
        [
            one.worker,
            "alive" if one.is_alive else "silent",
            format_duration(one.seen_seconds_ago),
            one.host,
            one.pid,
            ", ".join(f"{serving.queue} {serving.held}/{serving.concurrency}" for serving in one.queues),
            one.version,
        ]
        for one in found
    ]
    answer_table(("worker", "state", "seen ago", "host", "pid", "queues (held/slots)", "version"), rows)
    return ExitCode.DONE


def tail(
    queue: Annotated[list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only these queues.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", metavar="N", help="Stop after so many events.")] = None,
    json: JsonFlag = False,
) -> ExitCode:
    """Follow what happens, until Ctrl-C."""
    if limit is not None and limit < 1:
        misuse(f"--limit {limit} is no number of events: at least 1")

    async def act(client: Client) -> None:
        from contextlib import aclosing

        seen = 0
        async with aclosing(client.tail(queue or [])) as events:
            async for event in events:
                if json:
                    answer_json(event)
                else:
                    answer(printable(f"{event.at}  {event.kind:<9}  {event.id or event.queue}  {event.detail or ''}".rstrip()))
                seen += 1
                if seen == limit:
                    return

    with_client(act)
    return ExitCode.DONE


COMMANDS: dict[str, Command] = {"stats": stats, "jobs": jobs, "job": job, "failures": failures, "workers": workers, "tail": tail}
