"""Common: how every command ends and how it speaks. Exit codes, errors as one sentence, answers on stdout, talk on stderr.

Heavy imports (rich, the client, the store) are made inside functions, so that `engine --help` starts at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, NoReturn

import typer

from ..errors import (
    BadInput,
    ConfigError,
    EngineError,
    JobNotFound,
    Refused,
    ResultTimeout,
    StoreDenied,
    StoreRefused,
    StoreUnanswered,
    StoreUnreachable,
    StoreUnsuitable,
    UnknownHandler,
    UnknownQueue,
    WrongState,
)


class ExitCode(IntEnum):
    """How a command ended; docs/cli.md explains each."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    PARTIAL = 3
    REFUSED = 4
    NOT_FOUND = 5
    UNHEALTHY = 6
    OVER_MEMORY = 7
    UNREACHABLE = 69
    TIMED_OUT = 75
    BAD_CONFIG = 78
    INTERRUPTED = 130


Command = Callable[..., ExitCode]
"""A command's function: its parameters are its options, its first sentence is its help."""

_CODES: tuple[tuple[type[EngineError], ExitCode], ...] = (
    # The first class that fits wins, so children stand before their parents.
    (ConfigError, ExitCode.BAD_CONFIG),
    (StoreDenied, ExitCode.BAD_CONFIG),
    (StoreUnsuitable, ExitCode.BAD_CONFIG),
    (StoreUnreachable, ExitCode.UNREACHABLE),
    (StoreUnanswered, ExitCode.TIMED_OUT),
    (ResultTimeout, ExitCode.TIMED_OUT),
    (StoreRefused, ExitCode.REFUSED),
    (Refused, ExitCode.REFUSED),
    (WrongState, ExitCode.REFUSED),
    (JobNotFound, ExitCode.NOT_FOUND),
    (UnknownQueue, ExitCode.NOT_FOUND),
    (UnknownHandler, ExitCode.NOT_FOUND),
    (BadInput, ExitCode.USAGE),
    (EngineError, ExitCode.FAILURE),
)

_NOT_YET = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "MAXCLIENTS")


def code_of(error: EngineError) -> ExitCode:
    """The exit code that an error ends a command with."""
    if isinstance(error, StoreRefused) and error.code in _NOT_YET:
        return ExitCode.UNREACHABLE  # it is there, but not for us, not yet
    return next(code for kind, code in _CODES if isinstance(error, kind))


class Globals:
    """What the options before the command said; set once, by the root command."""

    app: str | None = None
    debug: bool = False


JsonFlag = Annotated[bool, typer.Option("--json", help="Answer as JSON, one line an item.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")]
QueueOption = Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help="Only this queue.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the job or queue.")]


# --- talking ---------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Talk: a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """A line of the answer, on stdout."""
    _write(text + "\n")


def answer_json(item: object) -> None:
    """One JSON document, one line, on stdout."""
    import msgspec

    _write(msgspec.json.encode(item).decode() + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        hush()
        raise typer.Exit(ExitCode.DONE) from None  # whoever reads us has seen enough


def hush() -> None:
    """Send the rest of stdout nowhere, so that Python's own last flush does not complain about a closed pipe."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def is_styled() -> bool:
    """True when stdout is a terminal that wants more than plain text."""
    return sys.stdout.isatty()


def answer_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings: a rich table on a terminal, aligned plain text elsewhere. Right-aligned where numbers are."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(row[at].replace(".", "", 1).isdigit() for row in cells) for at in range(len(columns))]
    if is_styled():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for heading, right in zip(columns, numeric, strict=True):
            table.add_column(heading, justify="right" if right else "left", overflow="fold")
        for row in cells:
            table.add_row(*(escape(cell) for cell in row))
        Console().print(table)
        return
    widths = [
        max(len(columns[at]), *(len(row[at]) for row in cells)) if cells else len(columns[at]) for at in range(len(columns))
    ]
    for row in [list(columns), *cells]:
        parts = [
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        answer("  ".join(parts).rstrip())


def answer_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one a line; what is empty is left out."""
    shown = {name: _cell(value) for name, value in fields.items() if value not in (None, "", [], ())}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        answer(f"{name.ljust(width)}  {value}")


def _cell(value: object) -> str:
    """A value as people read it, on one line and without control characters: names and texts come from outside."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return printable(str(value))


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or hide other text."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


# --- ending ----------------------------------------------------------------------------------------------------------


def fail(error: EngineError) -> ExitCode:
    """Say what went wrong, one sentence a line; with --debug the traceback as well. The code to end with."""
    if Globals.debug:
        import traceback

        traceback.print_exception(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        say(f"engine: {printable(line)}")
    return code_of(error)


def misuse(sentence: str) -> NoReturn:
    """End with a usage error."""
    raise BadInput(sentence)


def confirm(question: str, *, yes: bool, way_out: str = "--yes") -> None:
    """Go on when `yes` was given or somebody at the terminal agrees.

    Raises:
        Refused: nobody is there to ask, or they said no. Nothing was changed.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(f"{question.rstrip('?')}: nobody is here to ask, so say {way_out}; --dry-run only looks")
    if not typer.confirm(question, err=True):
        raise Refused("nothing was changed")


def worst_of(codes: Sequence[ExitCode]) -> ExitCode:
    """The code for several things of one kind: done, partial, or what all of them ended with."""
    if not codes or all(code is ExitCode.DONE for code in codes):
        return ExitCode.DONE
    return ExitCode.PARTIAL if ExitCode.DONE in codes else codes[0]


def seconds(text: str | None, what: str) -> float | None:
    """A duration option in seconds; BadTime names the option when it can't be read."""
    if text is None:
        return None
    from ..durations import parse_duration
    from ..errors import BadTime

    try:
        return parse_duration(text)
    except BadTime as error:
        raise BadTime(f"{what}: {error}") from None


def parse_rate(text: str) -> float:
    """Jobs a second in `50/s`, `600/m`, `1000/h` or a plain number.

    Raises:
        BadInput: it is none, or not over 0.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:/([smh]))?", text.strip())
    rate = float(found[1]) / {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]] if found else 0.0
    if not 0 < rate < float("inf"):
        raise BadInput(f"--rate {text!r} is no rate: write 50/s, 600/m or 1000/h")
    return rate


@contextmanager
def bar(noun: str) -> Iterator[Callable[[int], None]]:
    """Progress on stderr when that is a terminal; the function takes how many there are by now."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(f"{{task.completed:,.0f}} {noun}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        shown_bar = progress.add_task(noun, total=None)
        yield lambda count: progress.update(shown_bar, completed=count)
