"""The embedded Valkey server: start it, share it with every process of its directory, stop it when the last one leaves.

Three flocks, each released by the kernel however its holder dies: on the directory itself, held by the *server* (it
inherits the descriptor), so that a live server is always seen and never joined by a second; on `users.lock`, shared by
all who use it, so that whoever can make it exclusive is the last; on `gate.lock`, while somebody starts or stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

from . import embedded_place as place
from . import embedded_process as process
from .clock import Clock
from .errors import ConfigError, EngineClosed, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

_STOP_SECONDS = 30.0
"""How long an ending server may take to write out its file; it normally takes 2 ms."""

_log = logging.getLogger(__name__)


class EmbeddedServer:
    """One use of the server in `directory` (default: `.engine` under the working directory).

    Any number of these, in any number of processes, share the one server: the first to start brings it up, the last to
    stop ends it. A killed process is no longer a user; when all were killed the server goes on, the next one to start
    adopts it and, leaving last, ends it. Starting again while started brings a server back that died in between.
    A forked child is a user only after its own `start`. `options` are more Valkey settings; they count for whoever
    brings the server up. `fsync="always"` loses nothing in a power cut; the strictest of the users holds for all. A start
    gives up after `start_timeout` seconds without progress; reading in a large file is progress.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        fsync: Literal["always", "everysec"] = "always",
        start_timeout: float = 10.0,
        clock: Clock | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory or Path(".engine")  # absolute from the first start on: asking the disk would block here
        self._fsync = fsync
        self._start_timeout = start_timeout
        self._clock = clock or Clock()
        self._options = dict(options or {})
        self._mutex = threading.Lock()
        self._starts = 0
        self._users_fd = -1
        self._owner = os.getpid()
        self._pid = 0
        self._address = Path()
        self._binary = Path()

    def __repr__(self) -> str:
        state = f"pid {self._pid}, started {self._starts} times here" if self._starts else "not started"
        return f"<EmbeddedServer {self.directory}: {state}>"

    @property
    def url(self) -> str:
        """`unix:///path/redis.sock?db=0`; the same after the server was killed and brought back. Raises EngineClosed."""
        self._require_started()
        return f"unix://{quote(os.fspath(self._address))}?db=0"

    @property
    def pid(self) -> int:
        """Process id of the server as of the last `start`. Raises EngineClosed."""
        self._require_started()
        return self._pid

    def start(self) -> Self:
        """Become a user of the directory's server, bringing it up if none is alive; blocks, some 40 ms for a cold start.

        Each call wants its own `stop`. In asyncio code use `async with`, which does this in a thread.

        Raises:
            ConfigError: no program for this platform, or the directory cannot be used. The sentence says what to change.
            StoreUnreachable: the server did not come up; nothing was started. The sentence has the last line of its log.
            StoreError: its data is damaged. The sentence says how to mend it.
        """
        if sys.platform == "win32":
            raise process.no_server_here()
        with self._mutex:
            if os.getpid() != self._owner:  # forked: the locks of the copy are the parent's
                self._starts, self._users_fd, self._owner = 0, -1, os.getpid()
            self._binary = process.find_binary()  # first, so that a platform without one gets no directory either
            if not self._starts:
                self.directory = place.absolute(self.directory)
            try:
                self._enter()
            except OSError as error:
                raise place.unusable(self.directory, error.strerror or str(error)) from error
        return self

    def stop(self) -> None:
        """Undo one `start`. The last user of all ends the server, after its data is on disk; blocks until it has ended.

        Does nothing when not started. Never raises for a server that would not end: it is logged, and adopted next time.
        """
        with self._mutex:
            if self._starts == 0:
                return
            self._starts -= 1
            if self._starts == 0:
                fd, self._users_fd = self._users_fd, -1
                try:
                    if os.getpid() == self._owner:
                        self._leave(fd)
                finally:
                    os.close(fd)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await _in_thread(self.start, undo=self.stop)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await _in_thread(self.stop)

    # --- entering ----------------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        place.prepare(self.directory)
        with self._gate():
            users = place.share(self.directory / place.USERS)
            if users is None:  # only who holds the gate makes this lock exclusive, and that is us
                raise place.unusable(self.directory, f"{place.USERS} is locked by another program")
            try:
                self._pid = self._find_or_bring_up()
            except BaseException:
                os.close(users)
                raise
            if self._starts:
                os.close(self._users_fd)  # the newer one holds even when the directory was removed and made again
            self._users_fd = users
            self._starts += 1

    def _find_or_bring_up(self) -> int:
        """Adopt the live server, or start one on the data; the server's pid. The gate is held."""
        for patience in self._patience():
            lock = place.seize_directory(self.directory)
            if lock is not None:
                try:
                    return self._bring_up(lock)
                finally:
                    os.close(lock)  # the server has its own copy by now
            self._address = place.recorded(self.directory)
            health = process.look(self._address)
            if health and not health.loading and self._adopt():
                return health.pid
            patience.saw(health)
        raise StoreUnreachable(
            f"a server is alive on {self.directory} but has not answered at {self._address} for {self._start_timeout:g} s: "
            f"end it with `kill $(cat {self.directory / process.PID})` (its data is kept) and try again"
        )

    def _adopt(self) -> bool:
        """Join a server somebody else brought up, with our durability if it has less; False when it is gone."""
        try:
            return self._fsync != "always" or process.ask(self._address, "CONFIG", "SET", "appendfsync", "always") == b"+OK"
        except OSError:
            return False

    def _bring_up(self, lock: int) -> int:
        self._address = place.clear_for(self.directory)
        settings = {"appendonly": "yes", "appendfsync": self._fsync, "save": "", "maxmemory-policy": "noeviction"}
        child, logged = process.spawn(self._binary, self.directory, self._address, {**settings, **self._options}, lock)
        try:
            for patience in self._patience():
                health = process.look(self._address)
                if health and not health.loading:
                    return health.pid
                code = child.poll()
                if code is not None:
                    how = "ended" if code >= 0 else f"was killed (signal {-code})"
                    raise process.failure(self.directory, self._binary, logged, f"{how} while starting")
                patience.saw(health)
            raise process.failure(self.directory, self._binary, logged, f"was not ready within {self._start_timeout:g} s")
        except BaseException:
            child.kill()  # nobody was served yet, so nothing is lost
            child.wait()
            raise

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _leave(self, users: int) -> None:
        """Give up our share; end the server when nobody else has one."""
        if not place.is_at(self.directory / place.USERS, users):
            # The directory was removed under us: what is at its path now is not ours to stop.
            if not process.terminate_own(self._pid):
                _log.warning("directory %s was removed under its embedded server (pid %d)", self.directory, self._pid)
            return
        try:
            with self._gate():
                if place.seize_shared(users):
                    self._end()
        except (StoreUnreachable, ConfigError, OSError) as error:
            _log.warning("the embedded server was left running; the next command adopts it: %s", error)

    def _end(self) -> None:
        process.shut_down(self._address, _STOP_SECONDS)
        for _ in self._patience():
            lock = place.seize_directory(self.directory)
            if lock is not None:
                place.remove_socket(self.directory, self._address)
                os.close(lock)
                process.reap()
                return
        _log.warning("the embedded server in %s (pid %d) has not ended; the next command adopts it", self.directory, self._pid)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _require_started(self) -> None:
        if not self._starts or os.getpid() != self._owner:
            raise EngineClosed(f"the embedded server in {self.directory} is not started in this process: call start() first")

    def _patience(self) -> Iterator[_Patience]:
        return iter(_Patience(self._clock, self._start_timeout))

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Only one process at a time starts or stops the server."""
        for patience in self._patience():
            gate = place.seize(self.directory / place.GATE)
            if gate is not None:
                break
            patience.saw(process.look(place.recorded(self.directory)))
        else:
            raise StoreUnreachable(
                f"another process has been starting or stopping the server in {self.directory} for {self._start_timeout:g} s: "
                f"try again, or find it with `fuser {self.directory / place.GATE}`"
            )
        try:
            yield
        finally:
            place.unlock(gate)


class _Patience:
    """Iterates, with short pauses, until `seconds` passed without progress."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._deadline_mono = clock.mono() + seconds
        self._loaded_bytes = 0

    def __iter__(self) -> Iterator[_Patience]:
        pause = 0.001
        while True:
            yield self
            if self._clock.mono() >= self._deadline_mono:
                return
            time.sleep(pause)  # Clock.sleep is for coroutines; this is a plain thread
            pause = min(pause * 1.15, 0.02)  # late by a seventh of the wait at most

    def saw(self, health: process.Health | None) -> None:
        """A server that reads in a large file is not stuck: each time it got on, the time starts afresh."""
        if health and health.loaded_bytes > self._loaded_bytes:
            self._loaded_bytes = health.loaded_bytes
            self._deadline_mono = self._clock.mono() + self._seconds


async def _in_thread(act: Callable[[], object], undo: Callable[[], object] | None = None) -> None:
    """Run `act` in a thread, to its end even when cancelled meanwhile: half a start would leave its locks behind.

    When cancelled, `undo` takes back what `act` did, and the cancellation goes on.
    """
    running = asyncio.get_running_loop().run_in_executor(None, act)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        running.result()
        return
    if running.exception() is None and undo is not None:
        await _in_thread(undo)
    raise cancelled
