"""Run: start workers. `run` for one or more processes, `dev` for everything at once on one machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput
from .common import Command, ExitCode, Globals, misuse, seconds
from .finding import configured

if TYPE_CHECKING:
    from ..app import Engine
    from ..config import Settings

Queues = Annotated[
    list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Serve this queue; several times for several.")
]
Concurrency = Annotated[int | None, typer.Option("--concurrency", "-c", metavar="N", help="Jobs at once of each queue.")]


def run(
    queue: Queues = None,
    concurrency: Concurrency = None,
    slots: Annotated[int | None, typer.Option("--slots", metavar="N", help="Jobs at once of all queues together.")] = None,
    processes: Annotated[int, typer.Option("--processes", "-p", metavar="N", help="So many worker processes.")] = 1,
    burst: Annotated[bool, typer.Option("--burst", "-b", help="Leave when nothing is left to do.")] = False,
    drain_timeout: Annotated[
        str | None, typer.Option("--drain-timeout", metavar="DURATION", help="How long running jobs may take after SIGTERM.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Drain and end with 7 at so much memory, such as 512MiB.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a Python file here changes; for development.")
    ] = False,
) -> ExitCode:
    """Run workers for all queues, or those named. SIGTERM or Ctrl-C drains and leaves; a second one does not wait."""
    _check(concurrency, "--concurrency", 1000)
    _check(slots, "--slots", 10_000)
    _check(processes, "--processes", 256)
    drain = seconds(drain_timeout, "--drain-timeout")
    app = configured(_with_memory(max_memory))
    for name in queue or []:
        app.spec(name)  # an unknown one is told before any process is started
    if not app.queues:
        misuse("this application declares no queue: there is nothing to run")
    if reload and (burst or processes > 1):
        misuse("--reload is for one process that stays: leave out --burst and --processes")
    if reload:
        from .reload import same_command, supervise

        return supervise(same_command(without=["--reload"]), Path.cwd())
    if processes > 1:
        from ..fleet import run_processes
        from ..services.memory import check_memory, resident_bytes

        if app.settings.max_memory is not None:
            check_memory(app.settings.max_memory, resident_bytes())  # told here: a worker that can't start is started for ever
        return ExitCode(
            run_processes(_one_process(queue, concurrency, slots, drain_timeout, max_memory, burst=burst), processes, burst=burst)
        )
    from ..fleet import run_worker

    _logs(app)
    return ExitCode(run_worker(app, queues=queue or [], concurrency=concurrency, slots=slots, burst=burst, drain_timeout=drain))


def _one_process(
    queue: list[str] | None,
    concurrency: int | None,
    slots: int | None,
    drain_timeout: str | None,
    max_memory: str | None,
    *,
    burst: bool,
) -> list[str]:
    """The command of one worker of several."""
    command = [sys.executable, "-m", "engine.cli", "run"]
    if Globals.app:
        command += ["--app", Globals.app]
    for name in queue or []:
        command += ["--queue", name]
    options = {"--concurrency": concurrency, "--slots": slots, "--drain-timeout": drain_timeout, "--max-memory": max_memory}
    for flag, value in options.items():
        if value is not None:
            command += [flag, str(value)]
    return [*command, "--burst"] if burst else command


def _with_memory(text: str | None) -> Callable[[Settings], Settings]:
    """The settings with what --max-memory says in the place of ENGINE_MAX_MEMORY."""

    def change(settings: Settings) -> Settings:
        if text is None:
            return settings
        from dataclasses import replace

        from ..config_table import read_size

        try:
            return replace(settings, max_memory=read_size(text.strip()))
        except ValueError as error:
            raise BadInput(f"--max-memory {error}") from None

    return change


def _check(value: int | None, flag: str, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        misuse(f"{flag} {value} is not between 1 and {most}")


def _logs(app: Engine) -> None:
    from ..logs import EventLog, setup_logs

    setup_logs(app.settings.log_format, app.settings.log_level)
    EventLog(app.events, app.settings.log_level)


def _every_event(app: Engine) -> None:
    """A line an event, for a person who watches; a format or level that was set makes it a log instead."""
    if (app.settings.log_format, app.settings.log_level) != ("auto", "info"):
        _logs(app)
        return
    from ..logs import setup_logs
    from .story import Story

    setup_logs("human", "warning")  # what libraries have to say
    Story(app.events)


def dev(
    concurrency: Concurrency = None,
    traffic: Annotated[bool, typer.Option("--traffic/--no-traffic", help="Send the application's sample traffic.")] = True,
    for_: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Leave by itself after so long.")] = None,
) -> ExitCode:
    """Everything on this machine: server, worker, traffic.

    An embedded server, a worker for all queues, and the application's sample traffic if there is any. Never touches a
    configured server: REDIS_URL and REDIS_HOST are left aside.
    """
    _check(concurrency, "--concurrency", 1000)
    lasting = seconds(for_, "--for")
    app = configured(_at_home)
    _every_event(app)
    from .dev import everything

    return everything(app, concurrency, with_traffic=traffic, lasting=lasting)


def _at_home(settings: Settings) -> Settings:
    """The same settings on the embedded server: sample traffic must never reach a real one."""
    from dataclasses import replace

    return replace(settings, redis_url=None, env="development")


COMMANDS: dict[str, Command] = {"run": run, "dev": dev}
