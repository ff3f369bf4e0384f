"""Resources: what the handlers are given, opened once a worker process. To use another provider or calendar, yield it here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from . import engine
from .bookings import Bookings, JsonBookings
from .opt_outs import JsonOptOuts, OptOuts
from .responder import Responder, RulesResponder
from .whatsapp.local import LocalProvider
from .whatsapp.provider import Provider


def local_provider(data_dir: str) -> LocalProvider:
    """Writes to `outbox.ndjson` and follows `provider-rules.json`, both in that directory."""
    return LocalProvider(Path(data_dir) / "outbox.ndjson", rules=Path(data_dir) / "provider-rules.json", clock=engine.clock)


def local_opt_outs(data_dir: str) -> JsonOptOuts:
    """Keeps them in `opt-outs.json` in that directory."""
    return JsonOptOuts(Path(data_dir) / "opt-outs.json")


def local_bookings(data_dir: str) -> JsonBookings:
    """Keeps them in `bookings.json` in that directory."""
    return JsonBookings(Path(data_dir) / "bookings.json")


@engine.lifespan
async def resources() -> AsyncIterator[tuple[Provider, Responder, OptOuts, Bookings]]:
    """Local ones, in the data directory."""
    place = engine.settings.data_dir
    yield local_provider(place), RulesResponder(), local_opt_outs(place), local_bookings(place)
