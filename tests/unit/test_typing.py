"""What a developer's type checker makes of the public face: the README's handler, checked from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

USE = """
import msgspec
from engine import Engine, Exponential, Job

engine = Engine()
messages = engine.queue("messages", priority=1, backoff=Exponential(initial=2.0))

class Inbound(msgspec.Struct, frozen=True):
    conversation_id: str

@messages.handler("process", ordering_key="conversation_id")
async def process(message: Inbound, job: Job) -> int:
    return len(await job.step("read", str.upper, message.conversation_id))

@messages.handler("plain")
def plain(message: Inbound) -> str:
    return message.conversation_id

async def main() -> None:
    handle = await process.enqueue(Inbound("c1"), delay=1.0)
    reveal_type(await handle.result())
    reveal_type(await (await plain.enqueue(Inbound("c1"))).result())
    await process.enqueue("wrong")
"""


@pytest.mark.slow
def test_the_public_face_is_typed_for_those_who_use_it(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "int"' in said, said
    assert 'Revealed type is "str"' in said, said
    assert 'Argument 1 to "enqueue" of "Handler" has incompatible type "str"; expected "Inbound"' in said, said
    assert said.count("error:") == 1, said
