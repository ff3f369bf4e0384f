"""The whole application on a server of its own: its queues have fixed names, so tests can't share one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import Engine, Handle, Settings
from engine.embedded import EmbeddedServer
from handlers import engine
from handlers.bookings import JsonBookings
from handlers.opt_outs import JsonOptOuts
from handlers.payloads import InboundMessage
from handlers.resources import local_bookings, local_opt_outs, local_provider
from handlers.whatsapp.local import Line, LocalProvider
from tests.conftest import missing, redis_server
from tests.support.laws import assert_conserved
from tests.support.recorder import Recorder
from tests.support.running import until

ANA = "+5511900000001"
BRUNO = "+5511900000002"
ORGANIZATION = "org-1"
_numbers = itertools.count(1)


@dataclass
class App:
    """The application, open; what a test looks at and turns."""

    engine: Engine
    provider: LocalProvider
    opt_outs: JsonOptOuts
    bookings: JsonBookings
    recorder: Recorder
    data_dir: Path

    def lines(self, *wanted: str) -> list[Line]:
        """What was sent, or the given kinds of lines of the outbox, oldest first."""
        outbox = self.provider.outbox
        found = [msgspec.json.decode(raw, type=Line) for raw in outbox.read_bytes().splitlines()] if outbox.exists() else []
        return [line for line in found if line.event in (wanted or ("sent",))]

    async def settled(self, queue: str, completed: int = 0, dead: int = 0) -> None:
        """Wait until so many jobs of the queue have ended so, and none is left."""
        await until(
            lambda: self.engine.client.counts(queue),
            lambda c: (
                (c.completed, c.dead) == (completed, dead) and c.waiting + c.active + c.blocked + c.retrying + c.scheduled == 0
            ),
        )

    async def again(self, handle: Handle[Any]) -> None:
        """Let the next attempt of a job in backoff begin now."""
        state = "retrying"
        await until(lambda: self.engine.client.job(handle.id), lambda job: job.state.value == state)
        await self.engine.client.promote(handle.id)


def message(content: str, *, sender: str | None = ANA, conversation: str = "", id: str = "") -> InboundMessage:
    """A message; its conversation is the sender's, its id is new."""
    return InboundMessage(
        conversation_id=conversation or f"with-{sender}",
        message_id=id or f"wamid.in-{next(_numbers)}",
        organization_id=ORGANIZATION,
        sender_number=sender,
        content=content,
    )


@pytest.fixture
async def app(tmp_path: Path, server_kind: str) -> AsyncIterator[App]:
    """The application on a fresh server, with files in a fresh directory; the conservation law is checked at the end."""
    server: Any
    if server_kind == "valkey":
        server = EmbeddedServer(tmp_path / "server", fsync="everysec")
    else:
        binary = shutil.which("redis-server")
        if binary is None:
            missing("redis-server is not installed: apt-get install redis-server")
        server = redis_server(str(binary), str(tmp_path))
    with server as started:
        url = started if isinstance(started, str) else started.url
        engine.configure(Settings(redis_url=url, data_dir=str(tmp_path / "data"), lease=1.0))
        place = engine.settings.data_dir
        with Recorder(engine.events) as recorder:
            async with engine:
                yield App(
                    engine=engine,
                    provider=local_provider(place),
                    opt_outs=local_opt_outs(place),
                    bookings=local_bookings(place),
                    recorder=recorder,
                    data_dir=Path(place),
                )
                for queue in engine.queues:
                    await assert_conserved(engine.connection.store, queue)
