"""A server on a port, as the lab has it, and its proxy before it; one small clean run of the real engine for the checker's tests."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.chaos.network import Network
from bench.chaos.node import Node, find_program, free_ports
from bench.chaos.story import Evidence
from engine import Clock
from tests.bench.chaos.small_run import made_small_run


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    one = Node(find_program("valkey"), tmp_path / "server", 'save ""', port=free_ports(1)[0], clock=Clock())
    await one.start()
    yield one
    one.kill()


@pytest.fixture
async def network(tmp_path: Path, node: Node) -> AsyncIterator[Network]:
    async with Network(tmp_path, node.port, Clock()) as one:
        yield one


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the small clean run."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def clean(server_url: str, run_directory: Path) -> Iterator[Evidence]:
    """All that is known of the small clean run."""
    yield from made_small_run(server_url, run_directory, f"small-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def lost(server_url: str, tmp_path: Path) -> Iterator[Evidence]:
    """All that is known of a run in which process 22 lost two leases, and no fault is written down."""
    yield from made_small_run(server_url, tmp_path, f"lost-{uuid.uuid4().hex[:8]}", lost_pid=22)
