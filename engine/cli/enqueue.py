"""Enqueue: put one job into a queue, or a stream of them (NDJSON), by the name of their handler."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput, EngineError, QueueFull, UnknownHandler
from .common import Command, ExitCode, JsonFlag, answer, answer_json, bar, fail, misuse, printable, say, seconds
from .finding import with_app

if TYPE_CHECKING:
    from ..app import Engine
    from ..client import Client, Handle
    from ..options import EnqueueOptions

CHUNK = 100
"""Lines sent together: what one call of the enqueue script takes."""

MOST_COMPLAINTS = 20
"""Bad lines told one by one; the rest are only counted."""

BULK_ENDINGS = (".ndjson", ".jsonl")


def enqueue(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Where to.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The handler's name, such as process-message.")],
    data: Annotated[
        str,
        typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="The payload; @FILE reads it, - reads NDJSON: a job a line."),
    ],
    delay: Annotated[str | None, typer.Option("--delay", metavar="DURATION", help="Not before, such as 10s or 2h.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Not before, such as 2026-11-23T09:00:00-03:00.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", metavar="1-9", help="1 is served first.")] = None,
    attempts: Annotated[int | None, typer.Option("--attempts", metavar="N", help="The most starts it gets.")] = None,
    dedup_key: Annotated[str | None, typer.Option("--dedup-key", metavar="KEY", help="Once only within the window.")] = None,
    dedup_window: Annotated[str | None, typer.Option("--dedup-window", metavar="DURATION", help="How long that is.")] = None,
    ordering_key: Annotated[str | None, typer.Option("--ordering-key", metavar="KEY", help="One at a time, in order.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="DURATION", help="How long one attempt may run.")] = None,
    expires_after: Annotated[
        str | None, typer.Option("--expires-after", metavar="DURATION", help="Cancel if not started by then.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where no such queue or handler is known.")] = False,
    json: JsonFlag = False,
) -> ExitCode:
    """Enqueue a job, or a stream of them.

    With --data - (or @FILE.ndjson) every line is a payload, and every line becomes a job.
    """
    options = _options(
        delay=delay,
        at=at,
        priority=priority,
        attempts=attempts,
        dedup_key=dedup_key,
        dedup_window=dedup_window,
        ordering_key=ordering_key,
        timeout=timeout,
        expires_after=expires_after,
    )
    is_bulk = data == "-" or (data.startswith("@") and data.endswith(BULK_ENDINGS))
    if is_bulk and dedup_key is not None:
        misuse("--dedup-key with many jobs would keep only the first: leave it out, the handler's own dedup key applies")
    if is_bulk:
        with _lines(data) as stream:
            return with_app(lambda app: _bulk(app, queue, name, stream, options, force=force, as_json=json))
    payload = _payload(data)

    async def act(app: Engine) -> ExitCode:
        await _check(app, queue, name, force=force)
        _show(queue, name, await app.client.enqueue(queue, name, payload, options), as_json=json)
        return ExitCode.DONE

    return with_app(act)


def _options(
    *,
    delay: str | None,
    at: str | None,
    dedup_window: str | None,
    timeout: str | None,
    expires_after: str | None,
    **plain: Any,
) -> EnqueueOptions:
    from ..clock import Clock
    from ..durations import parse_when
    from ..options import EnqueueOptions

    return EnqueueOptions(
        delay=seconds(delay, "--delay") or 0.0,
        at=None if at is None else parse_when(at, Clock().now_ms()),
        dedup_window=seconds(dedup_window, "--dedup-window"),
        timeout=seconds(timeout, "--timeout"),
        expires_after=seconds(expires_after, "--expires-after"),
        **plain,
    )


def _payload(data: str) -> Any:
    """What --data says, as plain values.

    Raises:
        BadInput: no such file, or no JSON.
    """
    if not data.startswith("@"):
        return _parsed(data.encode("utf-8", "surrogateescape"), "--data")
    path = Path(data[1:])
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"--data @{path}: {error.strerror}") from error


def _parsed(text: bytes, where: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{where} is no JSON: {error}") from error


async def _check(app: Engine, queue: str, name: str, *, force: bool) -> None:
    """Refuse a queue that nobody declared or ever used, and a handler that its queue, declared here, does not have.

    Raises:
        UnknownQueue, UnknownHandler: with the nearest name there is.
    """
    from ..client.footing import nearest
    from ..keys import check_job_name, shown

    check_job_name(name)
    if force:
        return
    await app.client.check_known(queue)
    spec = app.queues.get(queue)
    if spec is not None and name not in spec.handlers:
        hint = nearest(name, list(spec.handlers))
        raise UnknownHandler(f"queue {queue!r} has no handler {shown(name)}; {hint} (--force enqueues it all the same)")


def _show(queue: str, name: str, handle: Handle, *, as_json: bool) -> None:
    if as_json:
        answer_json({"id": handle.id, "queue": queue, "name": name, "duplicate": handle.duplicate})
    else:
        answer(handle.id)
        if handle.duplicate:
            say("engine: a job with this dedup key was there already; this is its id")


# --- in bulk ---------------------------------------------------------------------------------------------------------


class _Bulk:
    """Counts what became of the lines."""

    def __init__(self) -> None:
        self.lines = self.done = self.duplicates = self.bad = 0
        self.through = 0  # the last line that is settled, for who must go on after an error

    def took(self, handles: Sequence[Handle]) -> None:
        self.done += len(handles)
        self.duplicates += sum(handle.duplicate for handle in handles)

    def complain(self, line: int, error: BadInput) -> None:
        self.bad += 1
        if self.bad <= MOST_COMPLAINTS:
            say(f"engine: line {line}: {printable(str(error))}")
        elif self.bad == MOST_COMPLAINTS + 1:
            say("engine: more bad lines follow; they are counted, not shown")

    def __str__(self) -> str:
        from ..client.views import counted

        duplicates = f", {self.duplicates:,} of them duplicates" if self.duplicates else ""
        bad = f", {counted(self.bad, 'line')} refused" if self.bad else ""
        return f"{counted(self.done, 'job')} enqueued{duplicates}{bad}"


@contextmanager
def _lines(data: str) -> Iterator[IO[bytes]]:
    if data == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(data[1:]).open("rb")  # noqa: SIM115  # closed below; its own error is told apart from the reader's
    except OSError as error:
        raise BadInput(f"--data {data}: {error.strerror}") from error
    with stream:
        yield stream


async def _bulk(
    app: Engine, queue: str, name: str, stream: IO[bytes], options: EnqueueOptions, *, force: bool, as_json: bool
) -> ExitCode:
    await _check(app, queue, name, force=force)
    total = _Bulk()
    try:
        with bar("lines") as advance:
            for chunk in _chunks(stream, total, _longest(app, queue)):
                try:
                    handles = await _send(app.client, queue, name, chunk, options, total)
                except QueueFull as error:
                    _show_many(queue, name, [handle for handle in error.results if handle is not None], as_json=as_json)
                    raise
                _show_many(queue, name, handles, as_json=as_json)
                total.through = chunk[-1][0]
                advance(total.lines)
    except (EngineError, KeyboardInterrupt) as error:
        say(f"engine: stopped: {total}; go on with line {total.through + 1}")
        if isinstance(error, QueueFull) and total.done:
            fail(error)
            return ExitCode.PARTIAL
        raise
    if as_json:
        say(f"engine: {total}")
    else:
        answer(str(total))
    if not total.bad:
        return ExitCode.DONE
    return ExitCode.PARTIAL if total.done else ExitCode.USAGE


def _show_many(queue: str, name: str, handles: Sequence[Handle], *, as_json: bool) -> None:
    for handle in handles if as_json else ():
        answer_json({"id": handle.id, "queue": queue, "name": name, "duplicate": handle.duplicate})


def _longest(app: Engine, queue: str) -> int:
    """Bytes of a line that may hold a payload: JSON takes up to six for one, and may be spaced out."""
    spec = app.queues.get(queue)
    return 8 * (spec.max_payload if spec else app.settings.max_payload) + 4096


def _each_line(stream: IO[bytes], most: int) -> Iterator[bytes | None]:
    """Line by line; None for one that is too long, which is never held."""
    while raw := stream.readline(most + 1):
        if len(raw) <= most or raw.endswith(b"\n"):
            yield raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(most + 1)
        yield None


def _chunks(stream: IO[bytes], total: _Bulk, longest: int) -> Iterator[list[tuple[int, Any]]]:
    """(line number, payload) in chunks; empty lines are nothing, bad ones are told and left out."""
    chunk: list[tuple[int, Any]] = []
    for raw in _each_line(stream, longest):
        total.lines += 1
        line = b"" if raw is None else raw.strip()
        try:
            if raw is None:
                raise BadInput(f"it is longer than {longest:,} bytes, and so is no payload of this queue")
            if line:
                chunk.append((total.lines, _parsed(line, "it")))
        except BadInput as error:
            total.complain(total.lines, error)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _send(
    client: Client, queue: str, name: str, chunk: list[tuple[int, Any]], options: EnqueueOptions, total: _Bulk
) -> list[Handle]:
    """Enqueue a chunk; when a payload in it does not fit its handler, one by one, so that only that line is left out."""
    try:
        handles = list(await client.enqueue_many(queue, name, [payload for _, payload in chunk], options))
        total.took(handles)
        return handles
    except QueueFull as error:
        total.took([handle for handle in error.results if handle is not None])
        total.through = chunk[error.results.index(None)][0] - 1
        raise
    except BadInput:
        handles = []
    for line, payload in chunk:
        try:
            handle = await client.enqueue(queue, name, payload, options)
        except BadInput as error:
            total.complain(line, error)
        except QueueFull as error:
            error.results, total.through = handles, line - 1
            raise
        else:
            total.took([handle])
            handles.append(handle)
    return handles


COMMANDS: dict[str, Command] = {"enqueue": enqueue}
