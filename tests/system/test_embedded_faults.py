"""The embedded server when things break: kills, orphans, silence, damage.

Each ends in recovery or in one sentence that says what to do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from engine import embedded_place as place
from engine import embedded_process as process
from engine.embedded import EmbeddedServer
from engine.errors import StoreError, StoreUnreachable
from tests.support.running import eventually

from .embedded_users import Room

pytestmark = pytest.mark.timeout(60)


def ask(server: EmbeddedServer, *words: str) -> str:
    return process.ask(place.recorded(server.directory), *words, timeout=10.0).decode()


def kill_server(room: Room, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not room.alive, "the killed server is gone")


# --- kills -----------------------------------------------------------------------------------------------------------


def test_a_killed_user_leaves_nothing_stuck(room: Room) -> None:
    starter, other = room.user(), room.user()
    starter.kill()
    assert other.ask("SET k v") == "+OK"
    other.leave()
    assert not room.alive


def test_when_all_users_are_killed_the_next_command_adopts_the_orphan_and_ends_it(room: Room) -> None:
    first, second = room.user(), room.user()
    assert first.ask("SET k v") == "+OK"
    first.kill()
    second.kill()
    assert room.alive
    with EmbeddedServer(room.directory) as server:
        assert server.pid == first.server_pid
        assert ask(server, "GET", "k") == "v"
    assert not room.alive


def test_a_user_killed_while_it_brings_the_server_up_leaves_a_server_that_is_adopted(room: Room) -> None:
    for _ in range(5):
        user = room.waiting_user().arrive()
        user.tell("go")
        eventually(lambda: room.alive, "the server holds its lock")
        user.kill()
        with EmbeddedServer(room.directory) as server:
            assert ask(server, "PING") == "+PONG"
        assert not room.alive


def test_after_a_kill_of_the_server_every_acknowledged_write_is_back(room: Room) -> None:
    with EmbeddedServer(room.directory) as server:
        for n in range(200):
            assert ask(server, "RPUSH", "list", str(n)) == f":{n + 1}"
        kill_server(room, server.pid)
    with EmbeddedServer(room.directory) as server:
        assert ask(server, "LLEN", "list") == ":200"


def test_starting_again_brings_back_a_server_that_died_under_its_users_at_the_same_address(room: Room) -> None:
    user = room.user()
    with EmbeddedServer(room.directory) as server:
        url = server.url
        kill_server(room, server.pid)
        server.start()
        assert server.url == url
        assert user.ask("SET k v") == "+OK"
        server.stop()
        user.leave()
        assert room.alive
    assert not room.alive


def test_a_server_killed_while_it_rewrites_its_file_comes_back_after_its_child_has_gone(room: Room) -> None:
    slow = {"rdb-key-save-delay": "20000"}  # microseconds a key: the child would take 4 s
    with EmbeddedServer(room.directory, options=slow) as server:
        for n in range(200):
            ask(server, "SET", f"k{n}", "v")
        ask(server, "BGREWRITEAOF")
        eventually(lambda: "aof_rewrite_in_progress:1" in ask(server, "INFO", "persistence"), "the rewrite is running")
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert ask(server, "DBSIZE") == ":200"
        server.stop()


def test_what_a_killed_server_left_never_makes_us_harm_a_stranger(room: Room) -> None:
    user = room.user()
    user.kill()
    kill_server(room, user.server_pid)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (room.directory / process.PID).write_text(f"{stranger.pid}\n")  # its number was given away again
    assert (room.directory / place.SOCKET).is_socket()
    with EmbeddedServer(room.directory) as server:
        assert server.pid != stranger.pid
    assert stranger.poll() is None
    stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_a_directory_removed_under_its_user_leaves_no_server_behind(room: Room) -> None:
    with EmbeddedServer(room.directory) as removed:
        os.kill(removed.pid, 0)
        shutil.rmtree(room.directory)
        with EmbeddedServer(room.directory) as fresh:
            assert fresh.pid != removed.pid
            removed.stop()
            assert ask(fresh, "PING") == "+PONG"

    def is_gone() -> bool:
        process.reap()
        return removed._pid not in process._children

    eventually(is_gone, "the server of the removed directory ended")


# --- slow and silent servers -----------------------------------------------------------------------------------------


def test_a_server_that_still_reads_its_data_is_waited_for_longer_than_the_timeout(room: Room) -> None:
    with EmbeddedServer(room.directory) as server:
        pipeline = redis.Redis.from_url(server.url).pipeline(transaction=False)
        for n in range(4000):
            pipeline.set(f"k{n}", "v" * 100)
        pipeline.execute()
        kill_server(room, server.pid)
        loading = {"key-load-delay": "300"}  # microseconds a key: 1.2 s in all; it answers after each 1024
        with EmbeddedServer(room.directory, start_timeout=0.6, options=loading) as slow:
            assert ask(slow, "DBSIZE") == ":4000"


def test_a_server_that_does_not_answer_is_named_and_not_replaced(room: Room) -> None:
    with EmbeddedServer(room.directory) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnreachable, match=r"has not answered .* for 0.2 s: end it with `kill \$\(cat .*valkey.pid"):
                EmbeddedServer(room.directory, start_timeout=0.2).start()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert int((room.directory / process.PID).read_text()) == server.pid
        assert ask(server, "PING") == "+PONG"


def test_a_start_that_others_hold_up_ends_in_a_sentence(room: Room) -> None:
    with EmbeddedServer(room.directory):
        gate = place.seize(room.directory / place.GATE)
        assert gate is not None
        with pytest.raises(StoreUnreachable, match=r"another process has been starting or stopping .* for 0.1 s"):
            EmbeddedServer(room.directory, start_timeout=0.1).start()
        place.unlock(gate)


def test_nobody_joins_a_server_that_the_last_user_is_ending(room: Room) -> None:
    user = room.user()
    os.kill(user.server_pid, signal.SIGSTOP)  # its end takes as long as the test wants
    user.tell("leave")

    def is_leaving() -> bool:
        gate = place.seize(room.directory / place.GATE)
        if gate is not None:
            place.unlock(gate)
        return gate is None

    eventually(is_leaving, "the last user is at the gate")
    with pytest.raises(StoreUnreachable, match="another process has been starting or stopping"):
        EmbeddedServer(room.directory, start_timeout=0.1).start()
    os.kill(user.server_pid, signal.SIGCONT)
    with EmbeddedServer(room.directory) as server:
        assert server.pid != user.server_pid
    assert user.hear() == "left"


def test_a_server_that_ends_while_starting_is_quoted(room: Room) -> None:
    with pytest.raises(StoreUnreachable) as caught:
        EmbeddedServer(room.directory, options={"maxmemory": "plenty"}).start()
    log = room.directory / process.LOG
    assert 'ended while starting; its last words: "argument must be a memory value"' in str(caught.value)
    assert f"(log: {log})" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not room.alive
    with EmbeddedServer(room.directory) as server:  # and the next one is free to start
        assert server.pid


# --- damage ----------------------------------------------------------------------------------------------------------


def grow_file(room: Room) -> Path:
    with EmbeddedServer(room.directory) as server:
        for n in range(10):
            ask(server, "SET", f"k{n}", "v")
    return room.directory / "appendonlydir" / "appendonly.aof.1.incr.aof"


def test_a_torn_end_of_the_file_is_cut_off(room: Room) -> None:
    file = grow_file(room)
    file.write_bytes(file.read_bytes()[:-5])
    with EmbeddedServer(room.directory) as server:
        assert ask(server, "DBSIZE") == ":9"


def test_damage_inside_the_file_ends_in_a_sentence_whose_command_mends_it(room: Room) -> None:
    file = grow_file(room)
    data = bytearray(file.read_bytes())
    data[200:220] = b"X" * 20
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged in appendonly\.aof\.1\.incr\.aof: copy the directory, then cut") as caught:
        EmbeddedServer(room.directory).start()
    assert not room.alive
    command = re.search(r"`(bash .*?)`", str(caught.value))
    assert command is not None
    subprocess.run(command[1], shell=True, input="y\n", text=True, check=True, stdout=subprocess.DEVNULL)
    with EmbeddedServer(room.directory) as server:
        assert 0 < int(ask(server, "DBSIZE")[1:]) < 10
