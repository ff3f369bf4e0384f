"""The local provider and the file stores: one key is sent once, and misfortunes come as ordered."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine import Clock
from handlers.bookings import Booking, Bookings, JsonBookings
from handlers.opt_outs import JsonOptOuts, OptOuts
from handlers.whatsapp.local import FAILS_TWICE, NEVER_ACCEPTED, LocalProvider, Rule
from handlers.whatsapp.provider import OutcomeUnknown, Provider, ProviderError, Rejected, Temporary, Throttled, TokenRevoked
from tests.handlers.conftest import ANA, BRUNO

ROOT = Path(__file__).parents[2]


def provider(directory: Path) -> LocalProvider:
    return LocalProvider(directory / "outbox.ndjson", rules=directory / "rules.json", clock=Clock())


async def send(provider: Provider, key: str, to: str = ANA) -> str:
    return (await provider.send_text(to, "Olá", organization_id="o", idempotency_key=key)).message_id


def sent(directory: Path) -> int:
    return (directory / "outbox.ndjson").read_text().count('"event":"sent"')


async def test_one_key_is_sent_once_however_many_processes_try_at_once(tmp_path: Path) -> None:
    several = [provider(tmp_path) for _ in range(4)]  # each with its own memory, as processes have
    ids = await asyncio.gather(*(send(one, f"job-{n}:reply") for n in range(10) for one in several))
    assert len(set(ids)) == 10
    assert sent(tmp_path) == 10


_SENDER = """
import asyncio, pathlib, sys
from engine import Clock
from handlers.opt_outs import JsonOptOuts
from handlers.whatsapp.local import LocalProvider

async def main(directory, process):
    provider = LocalProvider(directory / "outbox.ndjson", rules=directory / "rules.json", clock=Clock())
    opt_outs = JsonOptOuts(directory / "out.json")
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(60):
        await provider.send_text("+5511900000001", "Oi", organization_id="o", idempotency_key=f"job-{n}:reply")
        await opt_outs.opt_out("o", f"+5511900{process}000{n:02}")

asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.slow
async def test_processes_that_share_the_files_neither_send_twice_nor_overwrite_one_another(tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _SENDER, str(tmp_path), str(number)), cwd=ROOT, stdin=pipe, stdout=pipe
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))  # all at once
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sent(tmp_path) == 60
    assert (
        len(await JsonOptOuts(tmp_path / "out.json").among("o", [f"+5511900{p}000{n:02}" for p in range(3) for n in range(60)]))
        == 180
    )


async def test_a_send_of_unknown_outcome_was_sent_and_its_repeat_finds_it(tmp_path: Path) -> None:
    one = provider(tmp_path)
    await one.misbehave(Rule(fault="unknown"))
    with pytest.raises(OutcomeUnknown):
        await send(one, "k")
    assert sent(tmp_path) == 1
    assert await send(provider(tmp_path), "k") == "wamid.local-1"
    assert sent(tmp_path) == 1


@pytest.mark.parametrize(
    ("fault", "error"), [("temporary", Temporary), ("throttled", Throttled), ("rejected", Rejected), ("revoked", TokenRevoked)]
)
async def test_every_fault_refuses_and_sends_nothing(tmp_path: Path, fault: str, error: type[ProviderError]) -> None:
    one = provider(tmp_path)
    await one.misbehave(Rule(fault=fault, to=ANA))  # type: ignore[arg-type]  # parametrised with the names that Fault lists
    with pytest.raises(error) as raised:
        await send(one, "k")
    assert ANA[3:] not in str(raised.value)
    assert sent(tmp_path) == 0
    await send(one, "k2", BRUNO)
    await one.misbehave()
    await send(one, "k")
    assert sent(tmp_path) == 2


async def test_every_third_send_fails(tmp_path: Path) -> None:
    one = provider(tmp_path)
    await one.misbehave(Rule(fault="temporary", every=3))
    results = await asyncio.gather(*(send(one, f"k{n}") for n in range(9)), return_exceptions=True)
    assert sum(isinstance(result, Temporary) for result in results) == 3


async def test_the_test_numbers_fail_twice_and_for_ever_across_processes(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Temporary):
            await send(provider(tmp_path), "k", FAILS_TWICE)
        with pytest.raises(Rejected):
            await send(provider(tmp_path), "j", NEVER_ACCEPTED)
    assert await send(provider(tmp_path), "k", FAILS_TWICE)
    with pytest.raises(Rejected):
        await send(provider(tmp_path), "j", NEVER_ACCEPTED)


async def test_a_line_that_was_cut_off_was_not_sent(tmp_path: Path) -> None:
    await send(provider(tmp_path), "k1")
    with (tmp_path / "outbox.ndjson").open("ab") as file:
        file.write(b'{"event":"sent","at_ms":1,"key":"k2","organiz')
    await send(provider(tmp_path), "k2")
    assert sent(tmp_path) == 2


async def test_files_with_numbers_are_private(tmp_path: Path) -> None:
    await send(provider(tmp_path), "k")
    await JsonOptOuts(tmp_path / "out.json").opt_out("o", ANA)
    for name in ("outbox.ndjson", "out.json"):
        assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600


async def test_opt_outs_of_several_processes_add_up_and_belong_to_one_business(tmp_path: Path) -> None:
    several: list[OptOuts] = [JsonOptOuts(tmp_path / "out.json") for _ in range(4)]
    await asyncio.gather(*(one.opt_out("o", f"+55119000000{n}{m}") for n, one in enumerate(several) for m in range(5)))
    everybody = [f"+55119000000{n}{m}" for n in range(4) for m in range(5)]
    assert await several[0].among("o", everybody) == set(everybody)
    assert await several[0].among("another", everybody) == set()
    await several[1].opt_in("o", everybody[0])
    assert not await several[2].has_opted_out("o", everybody[0])


async def test_a_notice_belongs_to_the_job_that_claimed_it_first(tmp_path: Path) -> None:
    calendar: Bookings = JsonBookings(tmp_path / "bookings.json")
    starts_at = datetime(2026, 11, 25, tzinfo=UTC)
    await calendar.put(
        Booking(booking_id="b", organization_id="o", recipient_number=ANA, customer_name="Ana", starts_at=starts_at)
    )
    other = JsonBookings(tmp_path / "bookings.json")
    assert await calendar.claim_notice("b", "n", "job-1")
    assert not await other.claim_notice("b", "n", "job-2")
    assert await other.claim_notice("b", "n", "job-1")  # its next attempt
    assert not await other.claim_notice("gone", "n", "job-1")


async def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text('{"o": 7}')
    with pytest.raises(ValueError, match=r"out\.json can't be read: .*; mend it or remove it"):
        await JsonOptOuts(tmp_path / "out.json").has_opted_out("o", ANA)
