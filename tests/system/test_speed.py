"""What a worker is fast by is what it runs on: uvloop, RESP3 on each connection, hiredis to read it. An update must not take it away
unseen."""

from __future__ import annotations

import json

import pytest

from .cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

APPLICATION = """
import asyncio, gc
from engine import Engine
from engine.store.talk import Talk
from redis.asyncio.connection import AbstractConnection

engine = Engine()


def reader(one):
    return type(one._reader).__module__ + "." + type(one._reader).__qualname__


@engine.queue("{queue}").handler("look")
async def look(payload: dict) -> dict:
    everything = gc.get_objects()
    clients = (await engine.connection.store.link.call("CLIENT", "LIST")).decode().splitlines()
    return {{
        "loop": type(asyncio.get_running_loop()).__module__,
        "readers": sorted({{reader(one) for one in everything if isinstance(one, Talk)}}),
        "greeters": sorted({{type(one._parser).__name__ for one in everything if isinstance(one, AbstractConnection)}}),
        "talks": sum(isinstance(one, Talk) for one in everything),
        "resp": sorted({{client.split(" resp=")[1][0] for client in clients if " name={queue} " in client}}),
    }}
"""


def test_a_worker_runs_on_uvloop_and_speaks_resp3_through_hiredis(engine: Cli) -> None:
    (engine.directory / "shop.py").write_text(APPLICATION.format(queue=engine.queue))
    engine.url = f"{engine.url}{'&' if '?' in str(engine.url) else '?'}client_name={engine.queue}"
    job_id = engine("enqueue", engine.queue, "look", "--data", "{}", "--json").json["id"]
    done = engine("run", "--burst")
    assert done.code == 0, done.err
    seen = engine("job", job_id, "--json").json["result"]
    assert seen["talks"] >= 3, "pool, bell and leases at least"
    del seen["talks"]
    assert seen == {"loop": "uvloop", "readers": ["hiredis.Reader"], "greeters": ["_AsyncHiredisParser"], "resp": ["3"]}
    (started,) = [line for line in map(json.loads, done.err.splitlines()) if line["event"] == "worker.started"]
    assert started["loop"] == "uvloop"


def test_the_doctor_says_what_this_installation_is_fast_by(engine: Cli) -> None:
    (finding,) = [one for one in engine("doctor", "--json").json["findings"] if one["subject"] == "this installation"]
    assert finding["level"] == "ok"
    assert finding["what"].startswith("RESP3 through hiredis ")
    assert " on uvloop " in finding["what"]


def test_the_doctor_notes_that_uvloop_is_missing(engine: Cli) -> None:
    """As where it was installed without its dependencies; a worker runs there all the same."""
    (engine.directory / "uvloop.py").write_text("raise ImportError('planted')")
    (finding,) = [one for one in engine("doctor", "--json").json["findings"] if one["subject"] == "this installation"]
    assert (finding["level"], finding["mend"]) == ("note", "pip install uvloop")
    assert "slower than they could" in finding["what"]
