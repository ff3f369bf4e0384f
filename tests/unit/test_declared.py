"""Declared: a mistake in a declaration is found when it is made, in one sentence that names it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import msgspec
import pytest

from engine import BadPayload, ConfigError, Discard, Exponential, Fixed, Job, Retry, Snooze, UnknownHandler
from engine.declared import Limit, rules_from
from engine.errors import BadName
from engine.job import encode_payload
from engine.outcome import Outcome, Rules
from tests.support.factory import handler, spec


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    conversation_id: str
    message_id: int
    sender: str | None = None


@dataclass
class Reminder:
    who: str


class Plain(TypedDict):
    who: str


class Unchecked(Protocol):
    def send(self) -> None: ...


def takes_unchecked(payload: Message, way: Unchecked) -> None: ...


class Mailer:
    """A resource."""


class SmtpMailer(Mailer):
    """A kind of it."""


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"priority": 0}, "priority"),
        ({"priority": 10}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"concurrency": 0}, "concurrency"),
        ({"rules": Rules(attempts=0)}, "attempts"),
        ({"timeout": 0}, "timeout"),
        ({"stall_limit": -1}, "stall_limit"),
        ({"keep_completed": -1}, "keep_completed"),
        ({"keep_dead": -1}, "keep_dead"),
        ({"max_payload": 0}, "max_payload"),
        ({"limit": Limit(-1)}, "max_waiting"),
        ({"limit": Limit(1, "drop")}, "when_full"),  # type: ignore[arg-type]  # that is what is refused
    ],
)
def test_a_queue_out_of_range_names_the_queue_and_the_setting(fields: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"queue 'q': {setting} must be") as caught:
        spec("q", **fields)
    assert caught.value.setting == setting
    with pytest.raises(ConfigError, match="queue name 'no good' is not usable"):
        spec("no good")


def test_an_unknown_handler_names_the_known_ones() -> None:
    declared = spec("q", handler(name="b"), handler(name="a"))
    assert declared.handler("a").name == "a"
    with pytest.raises(UnknownHandler, match=r"no handler 'c' in this process \(known: a, b\)"):
        declared.handler("c")


async def typed(message: Message) -> int:
    return 1


async def full(message: Message, job: Job, mailer: Mailer, other: SmtpMailer | None, extra: int = 3) -> None:
    return None


async def untyped(message, job):  # type: ignore[no-untyped-def]  # as people write them
    return None


def sync(message: Message) -> None:
    return None


class Callme:
    async def __call__(self, message: Message) -> None:
        return None


def test_a_signature_is_read_once() -> None:
    one = handler(full)
    assert (one.is_async, one.payload_type, one.result_type) == (True, Message, type(None))
    assert handler(typed).result_type is int
    assert not handler(sync).is_async
    assert handler(Callme()).is_async
    assert handler(functools.partial(typed)).is_async
    assert handler(untyped).payload_type is Any


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda: None, "must take the payload"),
        (lambda *, message: None, "must take the payload"),
        (lambda message, mailer: None, "'mailer' has no type"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused(fn: Callable[..., Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        handler(fn)


def yields(message: Message) -> Iterator[int]:
    yield 1


async def yields_in_turn(message: Message) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("fn", [yields, yields_in_turn, functools.partial(yields)])
def test_a_handler_that_would_never_run_because_it_yields_is_refused(fn: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="yields, so a call would not run it"):
        handler(fn)


def test_an_annotation_that_cannot_be_resolved_is_refused() -> None:
    async def absent(message: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821 - that is the point
        return None

    async def no_type(message: functools.nowhere) -> None:  # type: ignore[name-defined]  # likewise
        return None

    for fn in (absent, no_type):
        with pytest.raises(ConfigError, match="importable at module level"):
            handler(fn)


def test_a_key_must_be_a_field_of_the_payload() -> None:
    assert handler(typed, ordering_key="conversation_id").ordering_key
    for fn in (typed, _reminder, _plain):
        with pytest.raises(ConfigError, match="has no field 'nope'"):
            handler(fn, ordering_key="nope")
    with pytest.raises(ConfigError) as caught:
        handler(typed, dedup_key="nope")
    assert caught.value.setting == "dedup_key"
    assert handler(untyped, dedup_key="whatever").dedup_key  # any mapping may come


async def _reminder(reminder: Reminder) -> None:
    return None


async def _plain(plain: Plain) -> None:
    return None


def test_keys_are_taken_from_a_field_or_a_function_and_may_be_missing() -> None:
    message = Message(conversation_id="c1", message_id=7)
    assert handler(typed, ordering_key="conversation_id", dedup_key="message_id").keys_of(message) == ("c1", "7")
    assert handler(typed, ordering_key="sender").keys_of(message) == ("", "")
    assert handler(typed, ordering_key=lambda m: f"x-{m.message_id}").keys_of(message) == ("x-7", "")
    assert handler(untyped, ordering_key="a").keys_of({"a": 5}) == ("5", "")
    assert handler(untyped, ordering_key="a").keys_of({}) == ("", "")
    with pytest.raises(BadName, match="ordering key"):
        handler(typed, ordering_key=lambda m: "x" * 600).keys_of(message)


def test_a_payload_is_decoded_to_its_type_or_refused_by_its_field() -> None:
    data = encode_payload({"conversationId": "c1", "messageId": 7})
    assert handler(typed).decode(data) == Message(conversation_id="c1", message_id=7)
    with pytest.raises(BadPayload, match=r"payload of 'greet' does not fit Message.*messageId"):
        handler(typed).decode(encode_payload({"conversationId": "c1", "messageId": "seven"}))
    with pytest.raises(BadPayload):
        handler(typed).decode(b"\xc1")


def test_parameters_are_filled_by_type_and_a_missing_resource_is_named() -> None:
    mailer = SmtpMailer()
    assert handler(full).job_parameter == "job"
    assert handler(full).resources_from({SmtpMailer: mailer, int: 4}) == {"mailer": mailer, "other": mailer, "extra": 4}
    with pytest.raises(ConfigError, match=r"asks for a Mailer \(mailer\), but no @engine.lifespan"):
        handler(full).resources_from({int: 4})


def test_a_parameter_with_a_default_keeps_it_when_nothing_fits() -> None:
    def lenient(payload: Message, job: Job, times: int = 3, mailer: Mailer | None = None) -> None: ...

    assert handler(lenient).resources_from({}) == {}


def test_a_protocol_that_cannot_be_checked_is_refused_at_the_declaration() -> None:
    with pytest.raises(ConfigError, match=r"put @typing\.runtime_checkable on it"):
        handler(takes_unchecked)


def test_rules_given_are_laid_over_those_of_the_queue() -> None:
    base = Rules(5, Fixed(1), {ValueError: Discard})
    assert rules_from(None, None, None, base) == base
    laid = rules_from(2, Exponential(), {OSError: Snooze(5)}, base)
    assert (laid.attempts, laid.backoff, set(laid.policy)) == (2, Exponential(), {ValueError, OSError})


@pytest.mark.parametrize(
    "policy",
    [
        *({"ValueError": Discard}, {int: Discard}, {ValueError: 5}, {ValueError: Outcome}, {ValueError: Retry}),
        *({ValueError: Exponential}, {ValueError: lambda: 5.0}, [ValueError], 5),
    ],
)
def test_a_policy_that_means_nothing_is_refused(policy: Any) -> None:
    with pytest.raises(ConfigError, match="policy"):
        rules_from(None, None, policy)


def test_a_backoff_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither Exponential, Fixed nor a callable"):
        rules_from(None, 5.0, None)  # type: ignore[arg-type]  # the mistake people make
