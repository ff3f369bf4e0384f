"""Repair: retry-failed, clean, pause, resume, cancel, promote, delete, requeue. They change things, and say what."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EngineError
from .common import (
    Command,
    DryRunFlag,
    ExitCode,
    JsonFlag,
    QueueOption,
    ReasonOption,
    YesFlag,
    answer,
    answer_json,
    code_of,
    confirm,
    fail,
    misuse,
    parse_rate,
    say,
    seconds,
    worst_of,
)
from .finding import with_client

if TYPE_CHECKING:
    from ..client import ActView, BulkView, Client, PauseView, Progress

ASK_FROM = 100
"""Dead jobs that may be retried without asking; more is worth a second look."""

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Full ids, such as messages/1763791234567-4.")]
QueueArgument = Annotated[str | None, typer.Argument(metavar="QUEUE", help="Which queue; or --all.")]
AllFlag = Annotated[bool, typer.Option("--all", help="Every queue.")]


# --- many jobs -------------------------------------------------------------------------------------------------------


def retry_failed(
    queue: QueueOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only jobs of this handler.")] = None,
    error: Annotated[
        str | None, typer.Option("--error", metavar="TEXT", help="Only with this in the error, in any case.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="HEX", help="Only of this cause; see failures.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="Only what died within, such as 1h.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", metavar="N", help="At most so many, the oldest first.")] = None,
    rate: Annotated[str, typer.Option("--rate", metavar="RATE", help="How fast: 50/s, 600/m.")] = "50/s",
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> ExitCode:
    """Give dead jobs a fresh set of attempts. Only what is dead now: what dies again stays dead."""
    from ..client import Filter
    from ..client.views import counted

    span, pace = seconds(since, "--since"), parse_rate(rate)
    since_ms = None if span is None else round(span * 1000)
    filters = Filter(queue=queue, name=name, error=error, fingerprint=fingerprint, since_ms=since_ms)

    async def act(client: Client) -> BulkView:
        found = await client.retry_failed(filters, rate=pace, limit=limit, dry_run=True)
        if dry_run or not found.matched:
            return found
        confirm(f"Retry {counted(found.matched, 'dead job')}?", yes=yes or found.matched <= ASK_FROM)
        with _bar("retrying", found.matched) as on_progress:
            return await client.retry_failed(filters, rate=pace, limit=limit, on_progress=on_progress)

    return _bulk_answer(with_client(act), "retried", as_json=json)


def clean(
    age: Annotated[str, typer.Option("--age", metavar="DURATION", help="Only what ended longer ago, such as 7d.")],
    state: Annotated[
        list[str] | None,
        typer.Option("--state", "-s", metavar="STATE", help="completed, cancelled or dead; default: the first two."),
    ] = None,
    queue: QueueOption = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> ExitCode:
    """Drop records of jobs that ended long ago. Dead jobs only when named: --state dead."""
    from ..client.bulk import CleanState
    from ..client.views import counted

    names: dict[str, CleanState] = {"completed": "completed", "cancelled": "cancelled", "dead": "dead"}
    for one in state or []:
        if one not in names:
            misuse(f"--state {one!r} can't be cleaned: {', '.join(names)}")
    states = tuple(names[one] for one in (state or ["completed", "cancelled"]))
    if age.strip().replace(".", "", 1).isdigit():
        misuse(f"--age {age} has no unit: {age}d, {age}h or {age}s?")  # seven seconds meant as seven days would drop nearly all
    age_seconds = seconds(age, "--age") or 0.0

    async def act(client: Client) -> BulkView:
        found = await client.clean(states, age_seconds, queue=queue, dry_run=True)
        if dry_run or not found.matched:
            return found
        confirm(f"Drop {counted(found.matched, 'job')} ({', '.join(states)}) that ended more than {age} ago?", yes=yes)
        with _bar("cleaning", found.matched) as on_progress:
            return await client.clean(states, age_seconds, queue=queue, on_progress=on_progress)

    return _bulk_answer(with_client(act), "cleaned", as_json=json)


def _bulk_answer(view: BulkView, verb: str, *, as_json: bool) -> ExitCode:
    from ..client.views import counted

    if as_json:
        answer_json(view)
    elif view.dry_run and view.matched:
        answer(
            f"{counted(view.matched, 'job')} would be {verb}: "
            + ", ".join(f"{queue} {n}" for queue, n in view.by_queue.items() if n)
        )
        for one in view.samples:
            answer(f"  {one}")
    elif not view.matched:
        answer("nothing to do")
    else:
        answer(
            f"{view.done} jobs {verb}" + (f", {view.skipped} skipped (changed meanwhile, or unreadable)" if view.skipped else "")
        )
    return ExitCode.PARTIAL if view.skipped else ExitCode.DONE


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on stderr when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    with RichProgress(console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task(what, total=total)
        yield lambda progress: bar.update(line, completed=progress.done)


# --- queues ----------------------------------------------------------------------------------------------------------


def pause(
    queue: QueueArgument = None,
    all_queues: AllFlag = False,
    reason: ReasonOption = "",
    for_time: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Resume by itself after, such as 30m.")
    ] = None,
    json: JsonFlag = False,
) -> ExitCode:
    """Stop a queue from starting jobs; what runs goes on. Without --reason, the reason and end of an earlier pause stand."""
    chosen = _one_or_all(queue, all_queues)
    span = seconds(for_time, "--for")
    return _paused_answer(with_client(lambda client: client.pause(chosen, reason, span)), as_json=json)


def resume(queue: QueueArgument = None, all_queues: AllFlag = False, json: JsonFlag = False) -> ExitCode:
    """Let a paused or rate-limited queue start jobs again."""
    chosen = _one_or_all(queue, all_queues)
    return _paused_answer(with_client(lambda client: client.resume(chosen)), as_json=json)


def _one_or_all(queue: str | None, all_queues: bool) -> str | None:
    if (queue is None) != all_queues:
        misuse("name one QUEUE, or say --all")
    return queue


def _paused_answer(views: list[PauseView], *, as_json: bool) -> ExitCode:
    for view in views:
        if as_json:
            answer_json(view)
            continue
        reason = f" ({view.reason})" if view.reason else ""
        until = f" until {view.until}" if view.until else ""
        already = "" if view.changed else ", as it was"
        answer(f"{view.queue} is {'paused' if view.paused else 'running'}{reason}{until}{already}")
    return ExitCode.DONE


# --- single jobs -----------------------------------------------------------------------------------------------------


def cancel(ids: Ids, reason: ReasonOption = "", json: JsonFlag = False) -> ExitCode:
    """End jobs without running them. An active one is stopped by its worker."""
    return _each(ids, lambda client, one: client.cancel(one, reason), as_json=json)


def promote(ids: Ids, json: JsonFlag = False) -> ExitCode:
    """Make scheduled or retrying jobs runnable now."""
    return _each(ids, lambda client, one: client.promote(one), as_json=json)


def delete(ids: Ids, reason: ReasonOption = "", json: JsonFlag = False) -> ExitCode:
    """Take jobs away, in any state but active."""
    return _each(ids, lambda client, one: client.delete(one, reason), as_json=json)


def requeue(ids: Ids, json: JsonFlag = False) -> ExitCode:
    """Give these dead jobs a fresh set of attempts."""
    return _each(ids, lambda client, one: client.requeue(one), as_json=json)


def _each(ids: list[str], act: Callable[[Client, str], Awaitable[ActView]], *, as_json: bool) -> ExitCode:
    """One act on each id; a refusal of one does not keep the others from theirs."""

    async def run(client: Client) -> list[ExitCode]:
        codes = []
        for one in ids:
            try:
                view = await act(client, one)
            except EngineError as error:
                codes.append(fail(error))
                if code_of(error) in (ExitCode.UNREACHABLE, ExitCode.TIMED_OUT):
                    break  # the others would wait for the same
                continue
            codes.append(ExitCode.DONE)
            if as_json:
                answer_json(view)
            else:
                answer(f"{view.id} {_WORDS.get(view.outcome, view.outcome)}")
        return codes

    codes = with_client(run)
    if len(codes) < len(ids):
        say(f"engine: {len(ids) - len(codes)} more were not tried")
    return worst_of(codes)


_WORDS = {"requested": "is active: its worker was asked to stop it"}


COMMANDS: dict[str, Command] = {
    "retry-failed": retry_failed,
    "clean": clean,
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "promote": promote,
    "delete": delete,
    "requeue": requeue,
}
