"""Targets: every reader of what comes from outside, as a function of bytes that raises nothing but what the reader promises.

What an input breaks is an AssertionError or an exception that is not on the reader's list. `python -m tests.fuzz NAME` looks for
such inputs, guided by what they reach; what reached something new is kept in `corpus/` and replayed by the suite.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import typer

from engine.cli import common, enqueue
from engine.cli.root import _globals_first
from engine.client.acting import clean_reason
from engine.config_table import SETTINGS, misfit, read
from engine.durations import format_duration, parse_duration, parse_when
from engine.errors import BadInput, BadName, BadPayload, BadTime, ConfigError
from engine.job import State, unpack, unpack_body
from engine.keys import MAX_KEY_BYTES, check_job_name, check_key, check_queue, prefix, shown, split_id
from engine.masking import mask_text
from engine.redis_url import parse_redis_url, redact_url
from engine.store.pages import ended_rows
from engine.store.rows import dead_row, entry_ms, id_order, job_row, worker_row

Target = Callable[[bytes], None]
NOW_MS = 1_795_000_000_000


def envelope(data: bytes) -> None:
    """A job as any client of the server may have written it: read, or buried as undecodable; what was read is written alike."""
    try:
        read_one = unpack(data, "7-7")
    except BadPayload:
        return
    assert unpack(read_one.pack(), "7-7") == read_one
    assert all(loss.at_ms >= 0 for loss in read_one.lost)
    with contextlib.suppress(BadPayload):
        unpack_body(read_one.body)


def body(data: bytes) -> None:
    """A body by itself, which the fuzzer would hardly find behind a right header."""
    try:
        found = unpack_body(data)
    except BadPayload:
        return
    assert isinstance(found.name, str)


def row(data: bytes) -> None:
    """Entries as pages and commands show them: whatever stands there, a row or nothing, and text that can be printed."""
    for state in (State.WAITING, State.DEAD):
        assert job_row("q", state, data, "7-7").id
    died = dead_row("q", "7-7", {"j": data, "i": data, "f": data, "w": data, "id": data})
    assert isinstance(died.reason, str)
    for fields in ({"r": data, "n": b"1", "lost": data}, {"x": data, "j": data, "w": data}):
        assert all(one.queue == "q" for one in ended_rows("q", "7-7", fields))
    assert worker_row("q", "w", data, NOW_MS).worker == "w"


def entry(data: bytes) -> None:
    """Entry ids of a cursor or a key."""
    text = data.decode(errors="replace")
    assert entry_ms(text) >= 0
    assert len(id_order(text)) == 2


def duration(data: bytes) -> None:
    """`--delay`, `--age` and the settings that are durations."""
    try:
        seconds = parse_duration(data.decode(errors="replace"))
    except BadTime:
        return
    assert 0 <= seconds <= 3650 * 86_400
    again = parse_duration(format_duration(seconds))
    assert math.isclose(again, seconds, rel_tol=0.05, abs_tol=0.001), (seconds, again)


def when(data: bytes) -> None:
    """`--at`."""
    with contextlib.suppress(BadTime):
        assert parse_when(data.decode(errors="replace"), NOW_MS).utcoffset() is not None


def url(data: bytes) -> None:
    """REDIS_URL: what is read shows its password nowhere, and neither does what is refused."""
    text = data.decode(errors="replace")
    redacted = redact_url(text)
    try:
        found = parse_redis_url(text)
    except ConfigError as error:
        for secret in _secrets(text):
            assert secret not in str(error).partition(" (")[2] or secret in "redis rediss sentinel cluster unix", (
                text,
                str(error),
            )
        return
    if found.password and len(found.password) > 3 and found.password not in text.rpartition("@")[2]:
        assert found.password not in redacted


def _secrets(text: str) -> list[str]:
    """The password of an address that is written as it should be."""
    login = text.partition("://")[2].partition("@")
    password = login[0].partition(":")[2]
    plain = login[1] and len(password) > 6 and password.isalnum() and password not in login[2]
    return [password] if plain else []


def setting(data: bytes) -> None:
    """The environment: first the setting's number, then its text."""
    if not data:
        return
    one = SETTINGS[data[0] % len(SETTINGS)]
    try:
        value = read(one, data[1:].decode(errors="replace"))
    except ValueError as error:
        assert str(error)
        return
    problem = misfit(one, value)
    assert problem is None or problem


def names(data: bytes) -> None:
    """Names of queues and jobs, keys and ids: what is taken stays within the queue's key space."""
    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(BadName):
        key_space = prefix(check_queue(text))
        assert key_space.count("{") == key_space.count("}") == 1
        assert key_space.isascii()
        assert not set(key_space) & set("*?[]\\ \r\n\0")
    with contextlib.suppress(BadName):
        assert check_job_name(text).isprintable()
    with contextlib.suppress(BadName):
        assert 0 < len(check_key(text, "ordering key").encode()) <= MAX_KEY_BYTES
    with contextlib.suppress(BadName):
        queue, short = split_id(text)
        assert check_queue(queue)
        assert set(short) <= set("0123456789-")
    assert shown(text).isprintable()


def command_line(data: bytes) -> None:
    """Words behind `engine`, and the values that commands read by themselves."""
    text = data.decode(errors="replace")
    words = text.split("\0")
    assert sorted(_globals_first(words)) == sorted(words)
    with contextlib.suppress(BadInput):
        enqueue._parsed(data, "--data")
    for reader in (common.parse_rate, lambda value: common.seconds(value, "--age")):
        try:
            value = reader(text)
        except (BadInput, typer.BadParameter, typer.TyperException):
            continue
        assert value is None or (math.isfinite(value) and value >= 0)
    assert all(char.isprintable() or char in "\n\t" for char in common.printable(text))
    assert clean_reason(text).isprintable()


def masking(data: bytes) -> None:
    """What is shown of texts: masked once is masked for good."""
    text = data.decode(errors="replace")
    masked = mask_text(text)
    assert mask_text(masked) == masked


TARGETS: dict[str, Target] = {
    one.__name__: one for one in (envelope, body, row, entry, duration, when, url, setting, names, command_line, masking)
}
