"""Doctor: what is wrong with this server and this deployment, and how to mend it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import StoreRefused, StoreUnsuitable
from ..keys import shown
from .common import Command, ExitCode, JsonFlag, answer, answer_json, bar, misuse, printable, seconds
from .finding import with_client

if TYPE_CHECKING:
    from ..client import Client, Finding, StatsView

_MARKS = {"ok": "ok      ", "note": "note    ", "warning": "warning ", "problem": "PROBLEM "}


def doctor(
    max_oldest: Annotated[
        str | None, typer.Option("--max-oldest", metavar="DURATION", help="Unhealthy (exit 6) when a job has waited longer.")
    ] = None,
    max_dead: Annotated[
        int | None, typer.Option("--max-dead", metavar="N", help="Unhealthy (exit 6) with more dead jobs.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Look at every row of every queue, not at the first thousands.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Put rows right that contradict one another; changes no setting.")] = False,
    write_off: Annotated[
        bool, typer.Option("--write-off", help="Count jobs that are missing, after a loss of data, as removed.")
    ] = False,
    acl: Annotated[
        str | None, typer.Option("--acl", metavar="ROLE", help="Print the server's user for a producer, a worker or the web.")
    ] = None,
    json: JsonFlag = False,
) -> ExitCode:
    """What is wrong, and how to mend it.

    Looks at the server, every queue and its workers, and checks that no job is missing and no row contradicts another. Exit 0
    when all is well, 1 when not, 6 when a threshold is breached.
    """
    if acl is not None:
        return _print_user(acl, json=json)
    oldest = seconds(max_oldest, "--max-oldest")
    if max_dead is not None and max_dead < 0:
        misuse(f"--max-dead {max_dead} is no number of jobs: at least 0")

    from ..client import Depth

    async def act(client: Client) -> tuple[list[Finding], list[Finding]]:
        with bar("rows looked at") as advance:
            findings = await client.checkup(Depth(full=full, mend=fix, write_off=write_off, on_progress=advance))
        if oldest is None and max_dead is None:
            return findings, []
        try:
            return findings, _breaches(await client.stats(), oldest, max_dead)
        except StoreRefused:  # the findings say what is damaged
            if not any(finding.level == "problem" for finding in findings):
                raise
            return findings, []

    try:
        findings, breaches = with_client(act)
    except StoreUnsuitable as error:  # the engine won't even start on it; for a doctor that is a finding
        findings, breaches = [_unsuitable(str(error))], []
    findings.append(_installation())
    is_well = not any(finding.level == "problem" for finding in findings)
    if json:
        answer_json({"ok": is_well and not breaches, "findings": findings + breaches})
    else:
        for finding in breaches + findings:
            answer(f"{_MARKS[finding.level]}{printable(f'{finding.subject}: {finding.what}')}")
            if finding.mend:
                answer(f"        mend: {printable(finding.mend)}")
    if not is_well:
        return ExitCode.FAILURE
    return ExitCode.UNHEALTHY if breaches else ExitCode.DONE


def _print_user(role: str, *, json: bool) -> ExitCode:
    """The user of a role as a line of an ACL file. The password is a placeholder: ours to invent it is not."""
    from ..store.rights import ROLES, rules

    known = next((one for one in ROLES if one == role), None)
    if known is None:
        misuse(f"--acl {shown(role)} is no role: {', '.join(ROLES)}")
    if json:
        answer_json({"role": known, "user": f"engine-{known}", "rules": rules(known)})
    else:
        answer(f"user engine-{known} on >CHANGE-ME {rules(known)}")
    return ExitCode.DONE


def _breaches(stats: StatsView, oldest: float | None, max_dead: int | None) -> list[Finding]:
    """Queues over a threshold that the caller set."""
    from ..client import Finding
    from ..client.views import counted
    from ..durations import format_duration

    found = []
    for name, queue in stats.queues.items():
        if oldest is not None and queue.oldest_waiting_seconds > oldest:
            what = f"its oldest job has waited {format_duration(queue.oldest_waiting_seconds)}, over {format_duration(oldest)}"
            found.append(
                Finding(
                    level="problem", subject=f"queue {name}", what=what, mend="more workers or slots, or look why they are slow"
                )
            )
        if max_dead is not None and queue.dead > max_dead:
            what = f"{counted(queue.dead, 'dead job')}, over {max_dead}"
            found.append(Finding(level="problem", subject=f"queue {name}", what=what, mend=f"engine failures --queue {name}"))
    return found


def _installation() -> Finding:
    """What workers of this installation are fast by. RESP3 and hiredis can't be missing: the engine speaks nothing else."""
    from importlib.metadata import version

    import hiredis

    from ..client import Finding

    what = f"RESP3 through hiredis {hiredis.__version__}"
    try:
        import uvloop
    except ImportError:
        slow = f"{what} on asyncio's own loop: jobs run, slower than they could"
        if os.name != "nt":  # which has no uvloop
            return Finding(level="note", subject="this installation", what=slow, mend="pip install uvloop")
        return Finding(level="ok", subject="this installation", what=what)
    return Finding(level="ok", subject="this installation", what=f"{what} on uvloop {version(uvloop.__name__)}")


def _unsuitable(sentence: str) -> Finding:
    from ..client import Finding

    return Finding(level="problem", subject="server", what=sentence)


COMMANDS: dict[str, Command] = {"doctor": doctor}
