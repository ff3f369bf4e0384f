"""Job: envelopes and bodies come back as they went, the scripts read them the same way, and steps run once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadPayload
from engine.errors import BadName, LeaseLost
from engine.job import MAX_STEP_BYTES, AttemptRecord, Body, Envelope, encode_payload, pack_body, unpack, unpack_body
from engine.store.redis_store import RedisStore
from engine.store.scripts import part
from tests.support.factory import NoNotes, envelope, job

ids = st.just("") | st.from_regex(r"[0-9]{1,15}-[0-9]{1,16}", fullmatch=True)
keys = st.text(max_size=60)
losses = st.lists(st.tuples(st.integers(0, 2**45), st.from_regex(r"[a-zA-Z0-9_.:-]{1,20}", fullmatch=True)), max_size=4)
envelopes = st.builds(
    lambda attempt, stalls, priority, id, key, lost, body: Envelope(
        attempt, stalls, priority, id, key, b"".join(f"{at},{who};".encode() for at, who in lost), body
    ),
    st.integers(1, 10**6), st.integers(0, 1000), st.integers(0, 9), ids, keys, losses, st.binary(max_size=200),
)  # fmt: skip


@given(envelopes)
def test_an_envelope_comes_back_as_it_went(one: Envelope) -> None:
    back = unpack(one.pack(), "7-7")
    assert back == msgspec.structs.replace(one, id=one.id or "7-7")


@given(envelopes)
def test_losses_are_read_back_oldest_first(one: Envelope) -> None:
    assert b"".join(f"{loss.at_ms},{loss.worker};".encode() for loss in one.lost) == one.losses


@given(st.binary(max_size=80))
def test_bytes_from_anywhere_are_refused_or_are_an_envelope_that_comes_back(data: bytes) -> None:
    try:
        found = unpack(data, "7-7")
    except BadPayload:
        return
    assert unpack(found.pack(), "7-7") == found


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"garbage", b"1;0;5;;0;0", b"1;0;5;;9;0;short", b"1;0;5;;0;9;short", b"1;0;55;;0;0;", b"1;0;5;x;0;0;"),
        *(b"+1;0;5;;0;0;", b" 1;0;5;;0;0;", b"1_0;0;5;;0;0;", b"1;-1;5;;0;0;", b"1;0;5;;-1;0;abc", b"1;0;5;;2;0;\xff\xfe"),
    ],
)
def test_almost_an_envelope_is_none(data: bytes) -> None:
    with pytest.raises(BadPayload, match="7-7"):
        unpack(data, "7-7")


def test_a_raw_envelope_goes_back_as_the_bytes_it_was() -> None:
    assert envelope(body=b"\xff junk", raw=True).pack() == b"\xff junk"


_PARSE = (
    part("envelope")
    + """
local ok, a, s, p, id, key, losses, body = pcall(parse, ARGV[1])
if not ok or not a then return false end
return { tostring(a), tostring(s), p, id, key, losses, body, pack(a, s, p, id, key, losses, body), prio_of(ARGV[1]) }
"""
)


async def test_the_scripts_split_envelopes_as_we_do(store: RedisStore) -> None:
    loop = asyncio.get_running_loop()

    async def lua(data: bytes) -> Any:
        return await store.link.call("EVAL", _PARSE, 0, data)

    tried: list[tuple[Envelope, bytes]] = []

    @settings(max_examples=150, database=None)
    @given(envelopes)
    def draw(one: Envelope) -> None:
        tried.append((one, one.pack()))

    await loop.run_in_executor(None, draw)
    for one, data in tried:
        *split, packed, priority = await lua(data)
        expected = [str(one.attempt), str(one.stalls), str(one.priority), one.id]
        assert split == [*(x.encode() for x in expected), one.key.encode(), one.losses, one.body]
        assert packed == data
        assert priority == str(one.priority).encode()


async def test_what_the_scripts_can_split_a_worker_can_read(store: RedisStore) -> None:
    tried: list[bytes] = [b"1;0;5;;0;0;", b"12;3;9;1-1;2;0;abrest", b"+1;0;5;;0;0;", b"1;0;55;;0;0;", b"1;0;5;--;0;0;", b"x", b""]

    @settings(max_examples=100, database=None)
    @given(st.from_regex(rb"[0-9+ _-]{1,2};[0-9-]{1,2};[0-9]{1,2};[0-9-]{0,3};0;0;", fullmatch=True))
    def draw(data: bytes) -> None:
        tried.append(data)

    await asyncio.get_running_loop().run_in_executor(None, draw)
    for data in tried:
        by_lua = await store.link.call("EVAL", _PARSE, 0, data) is not None
        try:
            unpack(data, "7-7")
        except BadPayload:
            by_us = False
        else:
            by_us = True
        assert by_us == by_lua, data


records = st.builds(
    AttemptRecord, st.integers(1, 99), st.integers(0, 2**45), st.integers(0, 2**45), st.text(max_size=9), st.text(max_size=9)
)
bodies = st.builds(
    lambda payload, **fields: Body(payload=msgspec.Raw(encode_payload(payload)), **fields),
    st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**63) | st.none() | st.text(max_size=5), max_size=4),
    name=st.text(max_size=30),
    attempts=st.none() | st.integers(1, 1000),
    timeout=st.none() | st.floats(0.001, 1e6),
    expires_after_ms=st.none() | st.integers(1, 2**45),
    has_notes=st.booleans(),
    history=st.lists(records, max_size=3).map(tuple),
)  # fmt: skip


@given(bodies)
def test_a_body_comes_back_as_it_went_with_its_payload_still_packed(one: Body) -> None:
    back = unpack_body(pack_body(one))
    assert bytes(back.payload) == bytes(one.payload)
    assert msgspec.structs.astuple(back)[2:] == msgspec.structs.astuple(one)[2:]
    assert back.name == one.name


def test_a_plain_body_is_no_longer_than_it_must_be() -> None:
    payload = msgspec.Raw(encode_payload({"n": 1}))
    assert pack_body(Body("greet", payload)) == msgspec.msgpack.encode(("greet", {"n": 1}))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_body_are_refused(data: bytes) -> None:
    try:
        unpack_body(data)
    except BadPayload:
        pass


@pytest.mark.parametrize("payload", [object(), {1, object()}, lambda: 1, 2**70, {"a": {"b": object()}}])
def test_a_payload_without_a_form_is_refused_with_a_sentence(payload: object) -> None:
    with pytest.raises(BadPayload, match="can't be encoded"):
        encode_payload(payload)


def test_a_payload_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BadPayload):
        encode_payload(loop)


# --- what a handler sees ---------------------------------------------------------------------------------------------


def test_a_job_says_who_it_is() -> None:
    one = job(queue="messages", short_id="1763791234567-4", organization_id="org-1")
    assert (one.id, one.enqueued_at_ms, one.organization_id, one.cancelled) == (
        "messages/1763791234567-4",
        1763791234567,
        "org-1",
        False,
    )
    assert repr(one) == "<Job messages/1763791234567-4 greet attempt 1 of 3>"


async def test_a_step_runs_once_over_all_attempts() -> None:
    notes, calls = NoNotes(), []

    async def send(to: str) -> dict[str, int]:
        calls.append(to)
        return {"id": len(calls)}

    for attempt in (1, 2, 3):
        assert await job(notes=notes, attempt=attempt).step("send", send, "ana") == {"id": 1}
    assert calls == ["ana"]


async def test_a_step_of_a_plain_function_gives_its_declared_type_back() -> None:
    class Receipt(msgspec.Struct):
        number: int

    def send() -> Receipt:
        return Receipt(7)

    send.__annotations__["return"] = Receipt  # a local class: its name can't be looked up from outside
    notes = NoNotes()
    first, second = await job(notes=notes).step("send", send), await job(notes=notes, attempt=2).step("send", send)
    assert first == second == Receipt(7)


async def test_a_step_that_failed_is_not_remembered() -> None:
    notes, tries = NoNotes(), []

    async def send() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no")
        return "sent"

    one = job(notes=notes)
    with pytest.raises(OSError, match="no"):
        await one.step("send", send)
    assert await one.step("send", send) == "sent"


async def test_a_step_whose_lease_is_lost_does_nothing() -> None:
    class Lost(NoNotes):
        async def read(self, field: str) -> bytes | None:
            raise LeaseLost("not ours")

    def never() -> None:
        raise AssertionError("it was called")

    with pytest.raises(LeaseLost):
        await job(notes=Lost()).step("send", never)


async def test_a_step_with_a_bad_name_or_an_unkeepable_result_is_refused() -> None:
    with pytest.raises(BadName):
        await job().step("no spaces", int)
    with pytest.raises(BadPayload):
        await job().step("send", object)
    with pytest.raises(BadPayload, match="at most"):
        await job().step("send", lambda: "x" * MAX_STEP_BYTES)


async def test_progress_and_log_lines_are_noted() -> None:
    notes = NoNotes()
    one = job(notes=notes)
    assert not one.noted
    one.log("hello")
    await one.progress(1, 3)
    assert (notes.lines, notes.kept, one.noted) == (["hello"], {"progress": b"1;3"}, True)
