"""Story: events as lines for a person who watches: when, where, what, and the job's id to look closer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from .. import events as e
from ..durations import format_duration
from ..masking import mask_text

_PLAIN, _DIM, _GREEN, _YELLOW, _RED = "\033[0m", "\033[2m", "\033[32m", "\033[33m", "\033[31m"


def _ms(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else format_duration(ms / 1000)


_WORDS: dict[type[e.Event], Callable[..., tuple[str, str]]] = {
    e.JobEnqueued: lambda v: (_DIM, f"enqueued, due in {_ms(v.delay_ms)}" if v.delay_ms else "enqueued"),
    e.JobStarted: lambda v: (_DIM, "started" if v.attempt == 1 else f"started, attempt {v.attempt}"),
    e.JobCompleted: lambda v: (_GREEN, f"completed in {_ms(v.run_ms)} after waiting {_ms(v.wait_ms)}"),
    e.JobRetried: lambda v: (_YELLOW, f"failed attempt {v.attempt}, again in {_ms(v.delay_ms)}: {v.error}"),
    e.JobSnoozed: lambda v: (_YELLOW, f"snoozed for {_ms(v.delay_ms)}: {v.reason}"),
    e.JobReleased: lambda v: (_YELLOW, "given back, attempt not used"),
    e.JobDied: lambda v: (_RED, f"dead ({v.reason}): {v.error}"),
    e.JobCancelled: lambda v: (_YELLOW, f"cancelled: {v.reason}"),
    e.HandlerStuck: lambda v: (_RED, "its handler does not end: left behind"),
    e.LeaseLost: lambda v: (_RED, "lease lost: another attempt owns it"),
    e.HandlerUnknown: lambda v: (_RED, "no handler of that name here: put back for 5 s"),
}
"""What is said of a job. Other events are told as their kind and fields."""


class Story:
    """Listens to a hub and writes a line an event. `close()` ends it."""

    def __init__(self, hub: e.Events, stream: TextIO | None = None) -> None:
        self._out = stream or sys.stderr
        self._colours = self._out.isatty()
        self.close = hub.subscribe(self._write, *e.ALL)

    def _write(self, event: e.Event) -> None:
        time = f"{datetime.fromtimestamp(event.at_ms / 1000, UTC).astimezone():%H:%M:%S}"
        if isinstance(event, e.JobEvent) and type(event) in _WORDS:
            colour, words = _WORDS[type(event)](event)
            line = f"{time}  {event.name:<22} {self._paint(colour, mask_text(words))}  {self._paint(_DIM, event.id)}"
        else:
            fields = {f: getattr(event, f) for f in event.__struct_fields__ if f != "at_ms"}
            rest = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if value is not None)
            line = f"{time}  {event.kind:<22} {mask_text(rest)}"
        print(line, file=self._out)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
