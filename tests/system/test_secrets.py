"""Secrets: a password, a token, phone numbers and a message's text go through everything there is, and come out nowhere.

Each command is run as an operator would, on jobs that succeed, fail and hang; then everything that was written, and what the
system's list of processes shows, is searched for them.
"""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.store.redis_store import RedisStore
from tests.support.running import eventually

from .cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # some thirty commands, each a process

PASSWORD, TOKEN = "canary-pw-7fbc2", "EAAGcanarytoken0123456789abcdefABCDEF"
PHONE, TEXT = "5511912345678", "canary message of a customer"

APPLICATION = """
import msgspec
from engine import Engine, Fixed, Job

engine = Engine()
orders = engine.queue("{queue}", attempts=2, backoff=Fixed(0.01))


class Message(msgspec.Struct, rename="camel"):
    sender_number: str
    content: str
    access_token: str
    fail: bool = False


@orders.handler("ship", ordering_key="sender_number")
async def ship(message: Message, job: Job) -> str:
    job.log(f"to +{{message.sender_number}} with {{message.access_token}}")
    if message.fail:
        try:
            raise OSError(f"Bearer {{message.access_token}} refused")
        except OSError as error:
            raise RuntimeError(f"could not send to {{message.sender_number}}: access_token={{message.access_token}}") from error
    return f"+{{message.sender_number}}"
"""


@pytest.fixture
async def login(store: RedisStore, server_url: str) -> AsyncIterator[str]:
    """An address with a password in it."""
    await store.link.call("ACL", "SETUSER", "canary", "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    yield server_url.replace("unix://", f"unix://canary:{PASSWORD}@")
    await store.link.call("ACL", "DELUSER", "canary")


@pytest.fixture
def shop(login: str, tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path, login, extra={"ENGINE_LOG_LEVEL": "debug"})
    (tmp_path / "shop.py").write_text(APPLICATION.format(queue=cli.queue))
    yield cli
    cli.close()


def message(**more: object) -> str:
    return json.dumps({"senderNumber": PHONE, "content": TEXT, "accessToken": TOKEN, **more})


async def test_no_command_no_log_and_no_process_title_shows_them(shop: Cli) -> None:
    said: dict[str, str] = {}

    def run(*args: str, stdin: str | None = None, **env: str) -> str:
        done = shop(*args, stdin=stdin, **env)
        said[f"{' '.join(args)[:40]} ({len(said)})"] = done.out + done.err
        return done.out

    worker = shop.start("run", "--processes", "2")
    ids = [
        json.loads(line)["id"]
        for line in run("enqueue", shop.queue, "ship", "--data", "-", "--json", stdin=message()).splitlines()
    ]
    ids += [json.loads(run("enqueue", shop.queue, "ship", "--json", "--data", message(fail=True)))["id"]]
    ids += [json.loads(run("enqueue", shop.queue, "ship", "--json", "--delay", "1h", "--data", message()))["id"]]
    eventually(lambda: shop.counts()["dead"] == 1 and shop.counts()["completed"] == 1, "one failed, one was sent", timeout=30)
    titles = _titles(worker.pid)
    said["process titles"] = "\n".join(titles)
    for job_id in ids:
        run("job", job_id)
        run("job", job_id, "--json")
    for command in ("stats", "jobs", "failures", "workers", "doctor"):
        run(command)
        run(command, "--json")
    run("doctor", "--full", "--fix")
    run("enqueue", shop.queue, "ship", "--data", json.dumps({"senderNumber": 5, "accessToken": TOKEN}))
    run("enqueue", shop.queue, "ship", "--data", message() + "}")
    run("retry-failed", "--yes", "--dry-run")
    run("stats", REDIS_URL=shop.url.replace(PASSWORD, PASSWORD + "x") if shop.url else "")
    run("stats", "--debug", REDIS_URL=f"redis://canary:{PASSWORD}@127.0.0.1:1/0")
    run("stats", REDIS_URL=f"redis://canary:{PASSWORD}@h:99999")
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=30)
    said["worker"] = out + err
    assert len(said["worker"].splitlines()) > 5
    assert len(titles) >= 6
    found = [
        f"{secret!r} in {where}: ...{text[max(text.index(secret) - 80, 0) : text.index(secret) + 20]!r}"
        for where, text in said.items()
        for secret in (PASSWORD, TOKEN, PHONE, TEXT)
        if secret in text
    ]
    assert found == []


def _titles(pid: int) -> list[str]:
    """What the list of processes shows of one and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    files = [Path(f"/proc/{one}/{name}") for one in (pid, *children) for name in ("cmdline", "comm")]
    return [file.read_bytes().replace(b"\0", b" ").decode() for file in files]
