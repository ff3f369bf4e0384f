"""Logs: one line an event, for people or as JSON, with phone numbers, tokens and message bodies masked.

`setup_logs` is called once by the command line; importing this module configures nothing and does not load structlog.
Lines go to stderr, answers to stdout. Libraries that use the standard `logging` come out in the same form, masked too.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from . import events
from .clock import Clock
from .masking import mask_payload, mask_text

if TYPE_CHECKING:
    from structlog.typing import Processor

Format = Literal["auto", "human", "json"]
Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[type[events.Event], Level] = {
    # Every job has these, thousands a second: only on request.
    events.JobEnqueued: "debug",
    events.JobStarted: "debug",
    events.JobCompleted: "debug",
    events.JobsPromoted: "debug",
    # Planned, but somebody may want to know.
    events.JobRetried: "info",
    events.JobSnoozed: "info",
    events.JobReleased: "debug",
    events.JobCancelled: "info",
    events.QueueResumed: "info",
    events.Swept: "info",
    events.WorkerStarted: "info",
    events.WorkerDraining: "info",
    events.WorkerStopped: "info",
    events.StoreUp: "info",
    # Handled, but not as planned: look when they repeat.
    events.LeaseLost: "warning",
    events.HandlerStuck: "warning",
    events.JobsReclaimed: "warning",
    events.JobsDropped: "warning",
    events.HandlerUnknown: "warning",
    events.QueuePaused: "warning",
    events.ServerUnsafe: "warning",
    events.MemoryHigh: "warning",
    events.MemoryExceeded: "warning",
    events.LoopBlocked: "warning",
    # A job or the service is worse off until somebody acts.
    events.JobDied: "error",
    events.StoreDown: "error",
    events.ServiceFailed: "error",
    events.DataLoss: "error",
    events.ListenerFailed: "error",
}

_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class EventLog:
    """Writes events as log lines; subscribes only to what `level` lets through, so the hub's `wants` stays honest.

    A line about a job has `queue` and `job` (the full id). Call `setup_logs` before, `close()` to stop.
    """

    def __init__(self, hub: events.Events, level: Level = "info") -> None:
        self._log = _structlog().get_logger("engine")
        order = list(_COLOURS)
        kinds = [kind for kind, its_level in LEVELS.items() if order.index(its_level) >= order.index(level)]
        self.close = hub.subscribe(self._write, *kinds)

    def _write(self, event: events.Event) -> None:
        fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
        if isinstance(event, events.JobEvent):
            fields = {"queue": fields.pop("queue"), "job": fields.pop("id"), **fields}
        if isinstance(event, events.ListenerFailed):
            fields["on"] = fields.pop("event")  # `event` is where structlog keeps the name of the line
        getattr(self._log, LEVELS[type(event)])(event.kind, **fields)


def setup_logs(format: Format = "auto", level: Level = "info", stream: TextIO | None = None, clock: Clock | None = None) -> None:
    """Send every log line of this process to `stream` (stderr when None); may be called again, the last call holds.

    `auto` means `human` on a terminal and `json` elsewhere; `human` is coloured on a terminal only.
    """
    structlog = _structlog()
    out = _Unbreakable(sys.stderr if stream is None else stream)
    on_terminal = out.isatty()
    human = format == "human" or (format == "auto" and on_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _stamp(clock or Clock()),
        structlog.processors.format_exc_info,
        mask_line,
    ]
    render = human_line(colours=on_terminal) if human else json_line
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, out)),
        cache_logger_on_first_use=False,  # so that a later call holds for loggers that exist already
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shared, render],
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Foreign)]:
        root.removeHandler(handler)
    handler = _Foreign(out)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _structlog() -> ModuleType:
    """structlog, without rich: it loads that where it can, for tracebacks on a terminal, which here `human_line` writes. A sixth
    of what a worker's start takes the processor went into it."""
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system itself puts there for "there is none"
        try:
            return import_module("structlog")
        finally:
            del sys.modules["rich"]
    return import_module("structlog")


class _Unbreakable:
    """A stream that swallows its own failures: a job must not fail because nobody reads the log any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a broken pipe, a full disk, a closed file, an encoding without the character
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Foreign(logging.StreamHandler[_Unbreakable]):
    """Lines of other libraries; its type lets `setup_logs` find the one it put on the root logger before."""

    def handleError(self, record: logging.LogRecord) -> None:
        """A line whose arguments don't fit: say so, masked. The original would print them, and the traceback, as they are."""
        self.stream.write(mask_text(f"a log line of {record.name} can't be written: {record.msg!r}") + "\n")


# --- the steps of a line ---------------------------------------------------------------------------------------------


def _stamp(clock: Clock) -> Processor:
    def stamp(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """An event's own instant, else now."""
        line.setdefault("at_ms", clock.now_ms())
        return line

    return stamp


def mask_line(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask every text in the line, tracebacks included; plain numbers (sizes, instants, counts) stay."""
    for key, value in line.items():
        if isinstance(value, str):
            line[key] = mask_text(value)
        elif value is not None and not isinstance(value, (bool, int, float)):
            line[key] = mask_payload(value)
    return line


def json_line(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
    """One JSON object: `at` (ISO 8601, UTC), `level`, `event`, then the rest."""
    at = _at(line).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"at": at, "level": line.pop("level", method), "event": line.pop("event", "")}
    text = json.dumps({**head, **line}, ensure_ascii=False, default=lambda value: mask_text(repr(value)))
    # Lone surrogates, which no stream can write, become the \ud800 escapes that JSON knows.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def human_line(*, colours: bool) -> Processor:
    """One short line in local time: `09:23:14 warning lease.lost queue=messages job=messages/1763791234567-4`."""

    def paint(text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if colours else text

    def render(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
        level, event, trace = line.pop("level", method), line.pop("event", ""), line.pop("exception", None)
        time = f"{_at(line).astimezone():%H:%M:%S}"
        fields = [f"{key}={_value(value)}" for key, value in line.items() if value is not None]
        words = [time, paint(f"{level:<7}", _COLOURS.get(level, "")), paint(_plain(str(event)), _BOLD), *fields]
        text = " ".join(words)
        return text if not trace else "\n".join([text, *(f"    {_plain(row)}" for row in str(trace).splitlines())])

    return render


def _at(line: MutableMapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(line.pop("at_ms") / 1000, tz=UTC)


def _plain(text: str) -> str:
    """No line break or escape sequence of a payload reaches the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        value = ",".join(str(item) for item in value)
    text = _plain(str(value))
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', "'") + '"'
