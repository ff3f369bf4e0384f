"""Fixtures: a crew on the run's server, and one on a server of its own that the test may kill."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.laws import assert_conserved
from tests.support.worker_main import Config

from .crew import Crew
from .servers import OwnServer


@pytest.fixture
def config(server_url: str, queue: str, tmp_path: Path) -> Config:
    """A queue with the shortest lease, on the run's server."""
    return Config(url=server_url, queue=queue, journal=str(tmp_path / "journal"))


@pytest.fixture
async def crew(config: Config) -> AsyncIterator[Crew]:
    """The producer is open, no worker runs yet."""
    async with Crew(config) as crew:
        yield crew


@pytest.fixture
def own_server(server_kind: str) -> Iterator[OwnServer]:
    """A server that only this test uses."""
    with OwnServer(server_kind) as server:
        yield server


@pytest.fixture
async def own_crew(own_server: OwnServer, tmp_path: Path) -> AsyncIterator[Crew]:
    """A crew on a server of its own. The law is checked at the end; the server must be up by then."""
    config = Config(url=own_server.url, queue=f"q-{uuid.uuid4().hex[:10]}", journal=str(tmp_path / "journal"), socket_timeout=1.0)
    async with Crew(config) as crew:
        yield crew
        await crew.counts()  # it may be on its way back
        await assert_conserved(crew.store, crew.queue)
