"""Processes that use an embedded server, to be told what to do, killed and waited for, and the room they live in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine import embedded_place as place
from engine import embedded_process as process

_PROGRAM = """
import sys
from pathlib import Path
from urllib.parse import unquote
from engine.embedded import EmbeddedServer
from engine.embedded_process import ask

def say(word):
    print(word, flush=True)

say("here")
sys.stdin.readline()
with EmbeddedServer(Path(sys.argv[1])) as server:
    say(server.pid)
    address = Path(unquote(server.url.removeprefix("unix://").partition("?")[0]))
    try:
        for line in sys.stdin:
            if line.strip() == "leave":
                break
            say(ask(address, *line.split()).decode())
    except KeyboardInterrupt:
        say(ask(address, "SET", "drained", "yes").decode())
say("left")
"""


def server_is_alive(directory: Path) -> bool:
    """Whether a server holds the lock on `directory`."""
    if not directory.exists():
        return False
    lock = place.seize_directory(directory)
    if lock is None:
        return True
    os.close(lock)
    return False


class User:
    """A process that uses the server of `directory` from `start` to `leave`."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, for Ctrl-C
        )
        self.server_pid = 0

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        """Have one command sent to the server; its reply."""
        self.tell(line)
        return self.hear()

    def arrive(self) -> User:
        """Wait until the process is ready to start the server, which it does on `go`."""
        assert self.hear() == "here"
        return self

    def started(self) -> User:
        self.server_pid = int(self.hear())
        return self

    def leave(self) -> None:
        self.tell("leave")
        assert self.hear() == "left"
        assert self.process.wait(10) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


class Room:
    """A directory, the users of its server, and the check that nothing is left when they have gone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / ".engine"
        self._users: list[User] = []

    def waiting_user(self) -> User:
        self._users.append(User(self.directory))
        return self._users[-1]

    def user(self) -> User:
        user = self.waiting_user().arrive()
        user.tell("go")
        return user.started()

    @property
    def alive(self) -> bool:
        return server_is_alive(self.directory)

    def close(self) -> None:
        for user in self._users:
            user.kill()
            for pipe in (user.process.stdin, user.process.stdout):
                if pipe is not None:
                    pipe.close()
        left = [path.parent for path in [*self.root.rglob(place.GATE)] if server_is_alive(path.parent)]
        for directory in left:
            process.shut_down(place.recorded(directory), 10.0)
        process.reap()
        assert not left, f"a server was left running in {left}"
