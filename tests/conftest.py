"""Fixtures for all rooms: one real server a run, a fresh queue name a test, and nothing left behind.

The server is the embedded Valkey, or Debian's Redis with `--server redis` (`make test-redis`). A missing server skips at home and
fails in CI (`CI=true`): a suite that tests nothing must not be green there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from engine import Clock, Engine, Settings
from engine.embedded import EmbeddedServer
from engine.store.link import Link
from engine.store.redis_store import RedisStore
from tests.support.laws import assert_conserved, assert_sound
from tests.support.planted import BY_NAME, planted
from tests.support.running import eventually

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started with `&` from a script: what we start would ignore Ctrl-C as well, and some tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", choices=("valkey", "redis"), default="valkey", help="which server the suite runs on")
    parser.addoption("--all-interleavings", action="store_true", help="go through the large set-ups too (many minutes)")
    parser.addoption("--planted", choices=sorted(BY_NAME), help="with this bug in the engine: the suite must turn red")


def missing(reason: str) -> None:
    """Skip at home, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def plant(request: pytest.FixtureRequest) -> Iterator[None]:
    """The bug that `--planted` asks for, in this process and not in those it starts."""
    name = request.config.getoption("--planted")
    with planted(name) if name else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> str:
    """`valkey` or `redis`."""
    return str(request.config.getoption("--server"))


@pytest.fixture(scope="session")
def server_url(server_kind: str) -> Iterator[str]:
    """A server for the whole run (of one pytest-xdist process), append-only file on."""
    with tempfile.TemporaryDirectory(prefix="jobs-") as directory:
        if server_kind == "valkey":
            with EmbeddedServer(Path(directory) / "data", fsync="everysec") as server:
                yield server.url
            return
        binary = shutil.which("redis-server")
        if binary is None:
            missing("redis-server is not installed: apt-get install redis-server")
        with redis_server(str(binary), directory) as url:
            yield url


class redis_server:
    """Debian's Redis on a unix socket in a directory of its own."""

    def __init__(self, binary: str, directory: str, *options: str) -> None:
        self._socket = f"{directory}/redis.sock"
        self._command = [
            *(binary, "--port", "0", "--unixsocket", self._socket, "--dir", directory, "--save", "", "--appendonly", "yes"),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no", *options),
        ]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)
        eventually(self._is_up, "redis-server listens")
        return f"unix://{self._socket}?db=0"

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "redis-server ended while starting"
        return os.path.exists(self._socket)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def clock() -> Clock:
    """Real time; tests that choose it make their own."""
    return Clock()


@pytest.fixture
async def store(server_url: str, clock: Clock) -> AsyncIterator[RedisStore]:
    """A store of the test's own."""
    store = RedisStore(Link(server_url, clock=clock), clock)
    yield store
    await store.close()


@pytest.fixture
async def queue(store: RedisStore, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A fresh queue name. Afterwards the conservation law is checked, no row may contradict another (but where the test leaves
    damage, which `damaged` says), and no key of it is left."""
    name = f"q-{uuid.uuid4().hex[:10]}"
    yield name
    await assert_conserved(store, name)
    if request.node.get_closest_marker("damaged") is None:
        await assert_sound(store, name)
    while not (await store.obliterate(name, force=True)).is_done:
        continue
    left = await store.link.call("KEYS", f"engine:{{{name}}}:*")
    assert not left, f"keys left after obliterate: {left}"


@pytest.fixture
def make_engine(server_url: str) -> Callable[..., Engine]:
    """An engine on the test's server; keyword arguments are settings."""

    def make(**settings: object) -> Engine:
        return Engine(settings=Settings(redis_url=server_url, **settings))  # type: ignore[arg-type]  # names checked by Settings itself

    return make


@pytest.fixture(autouse=True)
async def no_leaked_tasks() -> AsyncIterator[None]:
    """A test that leaves coroutines running fails."""
    before = asyncio.all_tasks()
    yield
    left = [t for t in asyncio.all_tasks() - before if not t.done() and t is not asyncio.current_task()]
    assert not left, f"left running: {left}"
