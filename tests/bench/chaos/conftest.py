"""A server on a port, as the lab has it, and its proxy before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.chaos.network import Network
from bench.chaos.node import Node, find_program, free_ports
from engine import Clock


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
