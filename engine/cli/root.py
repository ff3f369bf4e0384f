"""Root: the families of commands under one `engine`, and how a command that raised ends."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..errors import EngineError
from . import doctor, enqueue, read, repair, run
from .common import Command, ExitCode, Globals, fail, hush, printable, say

COMMANDS: dict[str, Command] = {
    **run.COMMANDS,
    **enqueue.COMMANDS,
    **read.COMMANDS,
    **repair.COMMANDS,
    **doctor.COMMANDS,
}
"""Every command, in the order in which help lists them."""


def run_command(args: list[str]) -> int:
    """Run one command; its exit code. Whatever it raises on purpose becomes one sentence on stderr."""
    args = _globals_first(args)
    try:
        code = _built(_chosen(args))(args=args, prog_name="engine", standalone_mode=False)
        sys.stdout.flush()
        return int(code or ExitCode.DONE)
    except EngineError as error:
        return fail(error)
    except typer.TyperException as error:  # a wrong option, a missing argument, an unknown command
        say(f"engine: {printable(error.format_message())}")
        context = getattr(error, "ctx", None)
        if context is not None:
            say(f"Try '{context.command_path} --help'.")
        return error.exit_code
    except typer.Abort:  # end of input where a yes or no was asked
        say("engine: nothing was changed")
        return ExitCode.REFUSED
    except BrokenPipeError:  # on the last flush
        hush()
        return ExitCode.DONE


def _built(chosen: str | None) -> typer.Typer:
    """All commands by name and help, but only the chosen one with its options: reading all of them doubles the start."""
    commands = typer.Typer(
        name="engine",
        help="A job engine on Redis Streams. The application is found by --app, else ENGINE_APP, else handlers:engine.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich would take longer to load than everything else
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    commands.callback()(_root)
    for name, function in COMMANDS.items():
        if name == chosen:
            commands.command(name)(function)
        else:
            commands.command(name, help=function.__doc__)(_not_chosen)
    return commands


def _root(
    app: Annotated[
        str | None,
        typer.Option("--app", "-A", metavar="MODULE:ATTRIBUTE", help="The application; may stand after the command too."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    Globals.app, Globals.debug = app, debug


def _not_chosen() -> None:
    """Stands for a command that this run is not about."""


def _chosen(args: list[str]) -> str | None:
    """The command's word: the first that is no option, nor the value of --app."""
    words = iter(args)
    for word in words:
        if word in ("--app", "-A"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _globals_first(args: list[str]) -> list[str]:
    """Move --app and --debug to the front, so that they may stand anywhere before a lone `--`."""
    front, rest = [], []
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--":
            rest += args[at:]
            break
        if word == "--debug" or word.startswith("--app="):
            front.append(word)
        elif word in ("--app", "-A") and at + 1 < len(args):
            front += args[at : at + 2]
            at += 1
        else:
            rest.append(word)
        at += 1
    return front + rest
