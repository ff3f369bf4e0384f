"""The embedded server's place on disk: its private directory, where its socket goes, and the locks on its files.

`redis.sock` in the directory is the socket itself, or, where that path is too long for a socket, a symbolic link to one
in a private directory under the temporary directory. So the directory always tells where its server listens.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

from .errors import ConfigError

if sys.platform != "win32":
    import fcntl

GATE = "gate.lock"
USERS = "users.lock"
SOCKET = "redis.sock"
_SOCKET_PATH_BYTES = 100
"""Longest path a socket gets. The kernel's limit is 107 bytes on Linux and 103 on macOS."""
_OURS = {GATE, "appendonlydir"}
"""A directory with one of these holds an embedded server's data; `gate.lock` is the first file written."""
_IGNORE = "# Data, log and locks of the embedded Valkey of the job engine. Private to this machine: never commit it.\n*\n"


def absolute(directory: Path) -> Path:
    """`directory` with symbolic links followed, so that all names of one place are one place."""
    try:
        return Path(os.path.realpath(directory))
    except OSError as error:  # the working directory was removed
        raise unusable(directory, error.strerror or str(error)) from error


def unusable(directory: Path, problem: str) -> ConfigError:
    """The sentence for a directory that can't hold the server; `problem` says why not."""
    return ConfigError(
        f"the embedded server cannot use {directory}: {problem}; run from a directory of your own that you may write to, "
        "or set REDIS_URL to a Redis or Valkey server",
        setting="REDIS_URL",
    )


def prepare(directory: Path) -> None:
    """Make `directory` and the note in it that keeps it out of git; check that it is ours and private.

    Raises:
        ConfigError: another user's directory, or one with other people's files in it.
        OSError: it can't be made: read-only, disk full, a file in the way.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise unusable(directory, f"it belongs to user {found.st_uid} and this process runs as user {os.geteuid()}")
    names = set(os.listdir(directory))
    if names and not names & _OURS and stat.S_IMODE(found.st_mode) != 0o700:  # a private one may hold the application's files
        raise unusable(directory, "it holds files that are not an embedded server's")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)
    os.close(os.open(directory / GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    ignore = directory / ".gitignore"
    if not ignore.is_file() or not ignore.stat().st_size:  # empty: the disk was full last time
        ignore.write_text(_IGNORE)


# --- the socket ------------------------------------------------------------------------------------------------------


def recorded(directory: Path) -> Path:
    """Where the server of `directory` listens, if one is alive.

    Raises:
        ConfigError: the socket lies in a directory that others may enter; a stranger could answer there.
    """
    link = directory / SOCKET
    if not link.is_symlink():
        return link
    address = link.readlink()
    if os.path.lexists(address.parent):
        _require_private(address.parent)
    return address


def clear_for(directory: Path) -> Path:
    """Where the next server shall listen, with what a killed one left out of its way. Only while no server is alive."""
    link = directory / SOCKET
    address = _choose(directory)
    link.unlink(missing_ok=True)
    if address != link:
        with contextlib.suppress(FileExistsError):
            address.parent.mkdir(mode=0o700)
        _require_private(address.parent)
        link.symlink_to(address)
    return address


def remove_socket(directory: Path, address: Path) -> None:
    """Remove what an ended server leaves: its socket, and the link and directory of one outside. Only after its end."""
    address.unlink(missing_ok=True)
    link = directory / SOCKET
    if address != link:
        link.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # an empty directory left behind does no harm
            address.parent.rmdir()


def _choose(directory: Path) -> Path:
    link = directory / SOCKET
    if len(os.fsencode(link)) <= _SOCKET_PATH_BYTES:
        return link
    from hashlib import sha256  # needed for deep directories only
    from tempfile import gettempdir

    found = directory.stat()
    # The inode is part of the name: a directory moved away with its server alive must not share a name with the next
    # directory at its old path.
    identity = f"{directory}:{found.st_dev}:{found.st_ino}"
    name = f"engine-{os.geteuid()}-{sha256(os.fsencode(identity)).hexdigest()[:16]}"
    if link.is_symlink() and link.readlink().parent.name == name:
        return link.readlink()  # running clients know this one, even if the temporary directory is now another
    for base in (gettempdir(), "/tmp"):
        address = Path(base, name, SOCKET)
        if len(os.fsencode(address)) <= _SOCKET_PATH_BYTES:
            break
    return address


def _require_private(directory: Path) -> None:
    found = directory.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return
    raise ConfigError(
        f"the embedded server's socket would lie in {directory}, which is not private to this user (owner {found.st_uid}, "
        f"mode {stat.S_IMODE(found.st_mode):o}): remove it, or set REDIS_URL to a Redis or Valkey server",
        setting="REDIS_URL",
    )


# --- locks -----------------------------------------------------------------------------------------------------------


def share(path: Path) -> int | None:
    """Lock the file `path`, made if missing, together with others; the descriptor, or None while it is locked alone."""
    return _locked(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_SH)


def seize(path: Path) -> int | None:
    """Lock the file `path`, made if missing, alone; the descriptor, or None while anybody has it locked."""
    return _locked(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)


def seize_directory(directory: Path) -> int | None:
    """Lock `directory` itself alone: a lock that nobody can remove as a stray file. None while a server is alive."""
    return _locked(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_EX)


def seize_shared(fd: int) -> bool:
    """Make a shared lock exclusive; False when others share it, and then our share may be gone as well."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go of a lock. Closing alone would not do if a fork in another thread had copied the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def is_at(path: Path, fd: int) -> bool:
    """Whether `fd` is still the file at `path`; false after its directory was removed or replaced."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except OSError:
        return False


def _locked(fd: int, how: int) -> int | None:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
