"""Fixtures of the system tests: an operator's command line, and a room for embedded servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli import Cli
from .embedded_users import Room


@pytest.fixture
def engine(server_url: str, tmp_path: Path) -> Iterator[Cli]:
    """`engine` on the run's server, in a directory and with a queue of the test's own."""
    cli = Cli(tmp_path, server_url)
    yield cli
    cli.close()


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A directory with a short path (a socket goes there); afterwards no server may be left in it."""
    room = Room(tmp_path_factory.mktemp("r"))
    yield room
    room.close()
