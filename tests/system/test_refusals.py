"""Refusals, said by real servers: what a producer is told and how soon, and that a worker lives through each and goes on after."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine import Engine, EnqueueUnknown, Settings, StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnreachable
from engine.events import ServerUnsafe, StoreDown, WorkerStarted
from engine.keys import prefix
from engine.store.patience import LONGEST_PAUSE, RARE_PAUSE
from tests.support.factory import lone_store
from tests.support.laws import assert_conserved
from tests.support.recorder import Recorder
from tests.support.running import eventually, running, until
from tests.support.servers import free_ports
from tests.system.promises.servers import OwnServer

pytestmark = pytest.mark.slow

ONCE = Retry(NoBackoff(), 0)
"""A script that is asked for again would run for ever."""
HASTY = 2.5
"""Seconds that an enqueue may take."""
LASTING, LASTING_RARE = 0.5, 3.5
"""Seconds that a trouble goes on after a producer has heard of it: the second long enough for who asks often to be seen."""
OFTEN = 10
"""Questions in vain, of a dozen callers in that time (measured: 2 of a log-in, 7 of a right)."""
SLACK = 1.5
"""Seconds that a busy machine may add to a time limit."""
SOON = LONGEST_PAUSE + 5.0
"""Seconds within which a worker goes on once a refusal has ended by itself; of a connection that it still had."""
RARELY = 2.5 * RARE_PAUSE + 5.0
"""The same where people must mend something, which it looks for rarely: one pause of a caller that was just told of another's
knock, and one of its own."""


class Admin:
    """Somebody at the server's console, on a connection that was there before the trouble."""

    def __init__(self, server: OwnServer) -> None:
        self.server = server
        self._client = redis.Redis(unix_socket_path=str(server.socket), single_connection_client=True, decode_responses=True)
        self._client.ping()
        self._thread: threading.Thread | None = None

    def __call__(self, *words: Any) -> Any:
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no annotation

    def loop_in_a_script(self) -> None:
        """A script that never ends, as somebody else's."""

        def run() -> None:
            other = redis.Redis(unix_socket_path=str(self.server.socket), socket_timeout=None, retry=ONCE)
            with suppress(redis.RedisError), other:
                other.eval("while true do end", 0)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        eventually(self._is_busy, "the script runs")

    def _is_busy(self) -> bool:
        try:
            self("PING")
        except redis.ResponseError:
            return True
        return False

    def kill_script(self) -> None:
        """End it."""
        self("SCRIPT", "KILL")
        assert self._thread is not None
        self._thread.join()

    def fail_a_save(self) -> None:
        """The server can't write its snapshot, as with a full disk."""
        (self.server.directory / "dump.rdb").mkdir()
        self("BGSAVE")
        eventually(lambda: self("INFO", "persistence")["rdb_last_bgsave_status"] == "err", "the save failed")

    def save(self) -> None:
        """It can again."""
        (self.server.directory / "dump.rdb").rmdir()
        self("BGSAVE")
        eventually(lambda: self("INFO", "persistence")["rdb_last_bgsave_status"] == "ok", "the save went well")

    def fill(self, keys: int) -> None:
        """Give the server something to load."""
        with self._client.pipeline(transaction=False) as many:
            for n in range(keys):
                many.set(f"k{n}", "x")
            many.execute()

    def close(self) -> None:
        """Leave."""
        self._client.close()

    def all_must_connect_anew(self) -> None:
        """End every other connection."""
        self("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@dataclass(frozen=True)
class Trouble:
    """One way in which a server says no."""

    code: str
    begin: Callable[[Admin], object]
    end: Callable[[Admin], object]
    error: type[StoreRefused] = StoreRefused
    says: str = ""
    user: str = ""
    """Who connects; the default user when nobody else."""
    asked: Callable[[Admin], int] | None = None
    """How often somebody asked in vain; only of those that people must mend, where nobody may ask often."""


def both(*acts: Callable[[Admin], object]) -> Callable[[Admin], object]:
    return lambda admin: [act(admin) for act in acts]


def say(*words: Any) -> Callable[[Admin], object]:
    return lambda admin: admin(*words)


PASSING = [
    Trouble("READONLY", say("REPLICAOF", "127.0.0.1", "1"), say("REPLICAOF", "NO", "ONE"), says="name the primary"),
    Trouble("MASTERDOWN", both(say("CONFIG", "SET", "replica-serve-stale-data", "no"), say("REPLICAOF", "127.0.0.1", "1")),
            say("REPLICAOF", "NO", "ONE"), says="lost its primary"),
    Trouble("BUSY", both(say("CONFIG", "SET", "busy-reply-threshold", "10"), Admin.loop_in_a_script), Admin.kill_script,
            says="long script"),
    Trouble("MISCONF", both(say("CONFIG", "SET", "save", "3600 1"), Admin.fail_a_save), Admin.save,
            says="can't write its data to disk"),
    Trouble("NOREPLICAS", say("CONFIG", "SET", "min-replicas-to-write", "1"), say("CONFIG", "SET", "min-replicas-to-write", "0"),
            says="min-replicas-to-write"),
]  # fmt: skip
RARE = [
    Trouble("NOAUTH", both(say("CONFIG", "SET", "requirepass", "new"), Admin.all_must_connect_anew),
            say("CONFIG", "SET", "requirepass", ""), StoreDenied, says="Check user, password and ACL",
            asked=lambda admin: int(admin("INFO", "stats")["total_connections_received"])),
    Trouble("WRONGPASS", both(say("ACL", "SETUSER", "somebody", "resetpass", ">new"), Admin.all_must_connect_anew),
            say("ACL", "SETUSER", "somebody", "resetpass", ">old"), StoreDenied, says="Check user, password and ACL",
            user="somebody:old", asked=lambda admin: sum(int(row["count"]) for row in admin("ACL", "LOG"))),
    Trouble("NOPERM", say("ACL", "SETUSER", "default", "-evalsha"), say("ACL", "SETUSER", "default", "+@all"), StoreDenied,
            says="evalsha", asked=lambda admin: sum(int(row["count"]) for row in admin("ACL", "LOG"))),
    Trouble("MAXCLIENTS", both(say("CONFIG", "SET", "maxclients", "1"), Admin.all_must_connect_anew),
            say("CONFIG", "SET", "maxclients", "1000"), says="raise maxclients",
            asked=lambda admin: int(admin("INFO", "stats")["rejected_connections"])),
]  # fmt: skip


class App:
    """A worker and a producer of one queue, in this process."""

    def __init__(self, url: str) -> None:
        self.engine = Engine(settings=Settings(redis_url=url, enqueue_timeout=HASTY))
        self.recorder = Recorder(self.engine.events)
        self.gate = asyncio.Event()

        @self.engine.queue("refusals").handler("do")
        async def do(n: int) -> None:
            if n == 0:
                await self.gate.wait()

        self.do = do

    async def is_refused(self, trouble: Trouble) -> None:
        """An enqueue is, in the trouble's words and in time."""
        if trouble.asked is not None:
            with suppress(StoreError):  # it may have left on a connection that had just been ended
                await self.do.enqueue(1)
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreRefused, match=trouble.says) as caught:
            await self.do.enqueue(1)
        took = asyncio.get_running_loop().time() - began
        assert (type(caught.value), caught.value.code) == (trouble.error, trouble.code)
        assert took <= (HASTY if trouble.asked is None else 0.0) + SLACK

    async def works(self, url: str, completed: int, within: float) -> None:
        """Another process enqueues a job, and so many are completed here in time."""
        other = Engine(settings=Settings(redis_url=url))
        async with asyncio.timeout(within), other:
            await other.queue("refusals").enqueue("do", 2)
            await until(lambda: other.client.counts("refusals"), lambda counts: counts.completed == completed, within)
            await assert_conserved(other.connection.store, "refusals")


async def live_through(kind: str, trouble: Trouble) -> None:
    """A worker with a job under way and a producer meet the trouble; the worker records it and goes on in time after its end."""
    with OwnServer(kind) as server:
        admin, url = Admin(server), server.url.replace("://", f"://{trouble.user}@" if trouble.user else "://")
        admin("ACL", "SETUSER", "somebody", "on", ">old", "~*", "&*", "+@all")
        app = App(url)
        async with app.engine, running(app.engine) as worker:
            await app.do.enqueue(0)
            await until(lambda: app.engine.client.counts("refusals"), lambda counts: counts.active == 1)
            before = trouble.asked(admin) if trouble.asked else 0
            await asyncio.to_thread(trouble.begin, admin)
            app.gate.set()  # its end can't be recorded
            await app.is_refused(trouble)
            down = await app.recorder.next(StoreDown, timeout=10)
            assert trouble.says in down.error
            await asyncio.sleep(LASTING if trouble.asked is None else LASTING_RARE)
            asked = trouble.asked(admin) - before if trouble.asked else 0
            await asyncio.to_thread(trouble.end, admin)
            await app.works(server.url, 2, SOON if trouble.asked is None else RARELY)
            assert asked <= OFTEN
            assert len(worker.pools) == 1
        admin.close()


@pytest.mark.parametrize("troubles", [PASSING, RARE], ids=["that ends by itself", "that people must mend"])
async def test_a_refusal_is_told_in_its_words_and_in_time_and_lived_through(server_kind: str, troubles: list[Trouble]) -> None:
    """All at the same time, each with its own server: they take little but time."""
    asyncio.get_running_loop().set_debug(False)  # five servers and five workers at once
    async with asyncio.TaskGroup() as group:
        for trouble in troubles:
            group.create_task(live_through(server_kind, trouble), name=trouble.code)


async def test_at_maxmemory_an_enqueue_is_refused_at_once_while_running_jobs_are_recorded_and_waiting_ones_run(
    server_kind: str,
) -> None:
    full = Trouble(
        "OOM", say("CONFIG", "SET", "maxmemory", "1"), say("CONFIG", "SET", "maxmemory", "0"), StoreFull, says="maxmemory"
    )
    with OwnServer(server_kind) as server:
        admin, app = Admin(server), App(server.url)
        async with app.engine, running(app.engine, concurrency=1):
            await app.do.enqueue_many([0, 1, 2])
            await until(lambda: app.engine.client.counts("refusals"), lambda counts: counts.active == 1)
            full.begin(admin)
            await app.is_refused(full)
            app.gate.set()
            await until(lambda: app.engine.client.counts("refusals"), lambda counts: counts.completed == 3)
            assert app.recorder.all(StoreDown) == []
            full.end(admin)
            await app.works(server.url, 4, SOON)
        admin.close()


async def test_a_server_that_loads_its_data_for_long_is_waited_for(server_kind: str) -> None:
    """After a kill -9, as with a large append-only file: connections are let in, and every call is refused."""
    with OwnServer(server_kind, "--aof-use-rdb-preamble", "no") as server:
        admin, app = Admin(server), App(server.url)
        async with app.engine, running(app.engine):
            await app.do.enqueue(0)
            await until(lambda: app.engine.client.counts("refusals"), lambda counts: counts.active == 1)
            admin.fill(20_000)
            server.kill()
            app.gate.set()
            server.launch("--key-load-delay", "100")  # us a command, and it looks at its clients each 1,024 commands
            await until(lambda: asyncio.to_thread(server.is_loading), bool)
            with pytest.raises((StoreRefused, EnqueueUnknown), match=r"still loading its data|may have happened"):
                await app.do.enqueue(1)  # unknown when its last try was under way: it answers slowly now
            told = await app.recorder.next(StoreDown, timeout=10)
            ends = ("can't be reached", "did not answer", "loading")  # whichever of its calls met it first
            assert any(end in told.error for end in ends), told.error
            await until(lambda: asyncio.to_thread(server.is_up), bool)
            await app.works(server.url, 2, SOON)
        admin.close()


async def test_a_cluster_that_does_not_serve_the_slot_is_waited_for(server_kind: str) -> None:
    (port,) = free_ports(1)
    options = ("--port", str(port), "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    with OwnServer(server_kind, *options) as server:
        admin = Admin(server)
        admin("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await asyncio.to_thread(eventually, lambda: "cluster_state:ok" in admin("CLUSTER", "INFO"), "the cluster is up")
        url = f"redis+cluster://127.0.0.1:{port}"
        app = App(url)
        async with app.engine, running(app.engine):
            await app.do.enqueue(0)
            await until(lambda: app.engine.client.counts("refusals"), lambda counts: counts.active == 1)
            slot = admin("CLUSTER", "KEYSLOT", prefix("refusals"))
            admin("CLUSTER", "DELSLOTS", slot)
            app.gate.set()
            with pytest.raises((StoreRefused, StoreUnreachable), match="slot"):
                await app.do.enqueue(1)
            assert "slot" in (await app.recorder.next(StoreDown, timeout=10)).error
            await asyncio.sleep(LASTING)
            admin("CLUSTER", "ADDSLOTS", slot)
            await app.works(url, 2, SOON)
        admin.close()


async def test_what_scripts_and_reads_meet_has_its_code(server_kind: str) -> None:
    """In each server's own words, which differ."""
    with OwnServer(server_kind) as server:
        admin = Admin(server)
        async with lone_store(server.url) as store:

            async def code(*words: Any) -> str:
                with pytest.raises(StoreRefused) as caught:
                    await store.link.call(*words)
                return caught.value.code

            await store.link.call("SET", "engine:{q}:text", "x")
            await store.link.call("XADD", "engine:{q}:stream", "1-1", "a", "b")
            assert await code("XREADGROUP", "GROUP", "w", "me", "STREAMS", "engine:{q}:stream", ">") == "NOGROUP"
            assert await code("EVAL", "return redis.call('XPENDING', KEYS[1], 'w')", 1, "engine:{q}:stream") == "NOGROUP"
            assert await code("XADD", "engine:{q}:text", "*", "a", "b") == "WRONGTYPE"
            assert await code("EVAL", "return redis.call('XLEN', KEYS[1])", 1, "engine:{q}:text") == "WRONGTYPE"
            assert await code("EVALSHA", "0" * 40, 0) == "NOSCRIPT"
            waiting = asyncio.ensure_future(code("XREAD", "BLOCK", 0, "STREAMS", "engine:{q}:stream", "$"))
            await until(lambda: asyncio.to_thread(admin, "INFO", "clients"), lambda info: info["blocked_clients"] == 1)
            admin("REPLICAOF", "127.0.0.1", "1")
            assert await waiting == "UNBLOCKED"
            assert await code("EVAL", "return redis.call('DEL', KEYS[1])", 1, "engine:{q}:text") == "READONLY"
        admin.close()


async def test_a_worker_says_at_its_start_what_the_server_keeps_and_what_is_unsafe(server_kind: str) -> None:
    with OwnServer(server_kind, "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as server:
        app = App(server.url)
        async with app.engine, running(app.engine):
            assert (await app.recorder.next(WorkerStarted)).durability == "disk"
            unsafe = await app.recorder.next(ServerUnsafe)
            assert "maxmemory-policy is allkeys-lru: at its memory limit it deletes jobs" in unsafe.what
            assert "noeviction" in unsafe.mend
        with pytest.raises(StoreRefused, match="deletes jobs at its memory limit"):
            async with Engine(settings=Settings(redis_url=server.url, durability="disk")):
                raise AssertionError("it was let in")


async def test_what_becomes_unsafe_while_a_worker_runs_is_told_once(server_kind: str) -> None:
    """The server comes back from an outage with other settings; nobody starts a worker for that."""
    with OwnServer(server_kind, "--maxmemory", "1gb") as server:
        app = App(server.url)
        async with app.engine, running(app.engine):
            await app.recorder.next(WorkerStarted)
            await asyncio.to_thread(server.kill)
            await app.recorder.next(StoreDown)
            server.launch("--maxmemory-policy", "allkeys-lru", "--appendfsync", "no")
            told = {(await app.recorder.next(ServerUnsafe, timeout=15)).what for _ in range(2)}
            assert {"maxmemory-policy is allkeys-lru" in what or "appendfsync is no" in what for what in told} == {True}
            await app.works(server.url, 1, SOON)
        assert len(app.recorder.all(ServerUnsafe)) == 2
