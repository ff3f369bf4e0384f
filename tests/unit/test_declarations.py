"""Declarations and calls with what makes no sense: for every option there is, one sentence where it is made, and nothing is kept."""

from __future__ import annotations

import doctest
import inspect
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import engine.given
from engine import BadInput, ConfigError, Engine, EnqueueOptions, Exponential, Fixed, Handler, Queue


class Message(msgspec.Struct):
    who: str


async def greet(message: Message) -> None:
    return None


async def waits(attempt: int) -> float:
    return 1.0


ODD: dict[str, Any] = {
    "None": None,
    "True": True,
    "text": "x",
    "digits": "3",
    "no text": "",
    "bytes": b"3",
    "list": [3],
    "mapping": {"a": 1},
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-1": -1,
    "0": 0,
    "huge": 10**400,
    "object": object(),
    "class": Exponential,
    "function of nothing": lambda: 1.0,
    "async function": waits,
}

# What of it is fine after all, option by option. An option that is not listed here fails the tests: add it.
DURATION = {"digits", "1.5"}
FINE_FOR_A_QUEUE: dict[str, set[str]] = {
    "priority": set(),
    "concurrency": set(),
    "attempts": set(),
    "backoff": {"None"},
    "timeout": {"1.5"},
    "policy": {"None"},
    "lease": {"None", *DURATION},
    "stall_limit": {"0"},
    "keep_completed": {"0"},
    "keep_completed_for": {"0", *DURATION},
    "keep_dead": {"0", "None"},
    "keep_dead_for": {"0", *DURATION},
    "keep_results_for": {"0", *DURATION},
    "dedup_window": DURATION,
    "max_payload": {"None"},
    "max_waiting": {"0"},
    "when_full": set(),
}
FINE_FOR_A_HANDLER: dict[str, set[str]] = {
    "ordering_key": {"None", "class"},  # a class is a function of one argument too: `dedup_key=str` means something
    "dedup_key": {"None", "class"},
    "dedup_window": {"None", *DURATION},
    "attempts": {"None"},
    "backoff": {"None"},
    "timeout": {"None", "1.5"},
    "priority": {"None"},
    "policy": {"None"},
}
FINE_FOR_A_CALL: dict[str, set[str]] = {
    "delay": {"0", "1.5"},
    "at": {"None"},
    "priority": {"None"},
    "attempts": {"None"},
    "dedup_key": {"None", "text", "digits"},
    "dedup_window": {"None", "1.5"},
    "ordering_key": {"None", "text", "digits"},
    "timeout": {"None", "1.5"},
    "expires_after": {"None", "1.5"},
}


def pairs(table: dict[str, set[str]], *, fine: bool) -> list[Any]:
    """Every option with every odd value that is fine (or is not) for it."""
    return [
        pytest.param(option, value, id=f"{option}={name}")
        for option, good in table.items()
        for name, value in ODD.items()
        if (name in good) is fine
    ]


def options_of(fn: Callable[..., Any]) -> set[str]:
    return {p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY}


def refused(act: Callable[[], object], *words: str, error: type[Exception] = ConfigError) -> None:
    """The act raises this error, in one short sentence with these words."""
    with pytest.raises(error) as caught:
        act()
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


@pytest.fixture
def app() -> Engine:
    return Engine()


@pytest.fixture
def declared(app: Engine) -> Queue:
    return app.queue("q")


def test_every_option_there_is_stands_in_the_tables() -> None:
    assert set(FINE_FOR_A_QUEUE) == options_of(Engine.queue)
    assert set(FINE_FOR_A_HANDLER) == options_of(Queue.handler)
    assert set(FINE_FOR_A_CALL) == options_of(EnqueueOptions) == options_of(Handler.enqueue)


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_QUEUE, fine=False))
def test_an_option_of_a_queue_that_makes_no_sense_is_refused_at_the_declaration(app: Engine, option: str, value: Any) -> None:
    refused(lambda: app.queue("q", **{option: value}), option)
    assert not app.queues


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_QUEUE, fine=True))
def test_an_option_of_a_queue_that_makes_sense_is_taken(app: Engine, option: str, value: Any) -> None:
    assert app.queue("q", **{option: value}).name in app.queues


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_HANDLER, fine=False))
def test_an_option_of_a_handler_that_makes_no_sense_is_refused_at_the_declaration(
    declared: Queue, option: str, value: Any
) -> None:
    refused(lambda: declared.handler("greet", **{option: value})(greet), option)
    assert not declared.spec.handlers


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_HANDLER, fine=True))
def test_an_option_of_a_handler_that_makes_sense_is_taken(declared: Queue, option: str, value: Any) -> None:
    assert declared.handler("greet", **{option: value})(greet).name in declared.spec.handlers


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_CALL, fine=False))
def test_an_option_of_a_call_that_makes_no_sense_is_bad_input(option: str, value: Any) -> None:
    refused(lambda: EnqueueOptions(**{option: value}), option, error=BadInput)


@pytest.mark.parametrize(("option", "value"), pairs(FINE_FOR_A_CALL, fine=True))
def test_an_option_of_a_call_that_makes_sense_is_taken(option: str, value: Any) -> None:
    assert EnqueueOptions(**{option: value})


NO_NAMES = [pytest.param(value, id=name) for name, value in ODD.items() if name not in ("text", "digits")]


@pytest.mark.parametrize("name", [*NO_NAMES, "no good", "x" * 65, ("q",)])
def test_what_cannot_name_a_queue_is_refused(app: Engine, name: Any) -> None:
    refused(lambda: app.queue(name), "queue name")
    assert not app.queues


@pytest.mark.parametrize("name", [*NO_NAMES, "no good", "x" * 129, ("q",)])
def test_what_cannot_name_a_job_is_refused_before_there_is_a_function(declared: Queue, name: Any) -> None:
    refused(lambda: declared.handler(name), "name")


def test_a_decorator_without_its_parentheses_is_told_how_it_is_written(declared: Queue) -> None:
    refused(lambda: declared.handler(greet), 'with the name of its jobs: @q.handler("greet")')  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("fn", [pytest.param(v, id=n) for n, v in ODD.items() if not callable(v)] + [dict])
def test_what_cannot_be_called_is_no_handler(declared: Queue, fn: Any) -> None:
    refused(lambda: declared.handler("greet")(fn), "handler 'greet'")
    assert not declared.spec.handlers


def test_a_name_is_declared_once(app: Engine, declared: Queue) -> None:
    refused(lambda: app.queue("q"), "'q' is declared already")
    register = declared.handler("greet")
    register(greet)
    refused(lambda: register(greet), "has a handler 'greet' already")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("backoff", Exponential, "backoff: Exponential is a class, give an instance of it: Exponential()"),
        ("attempts", "3", "queue 'q': attempts must be a whole number from 1 to 1000, not '3'"),
        ("lease", 0.999, "queue 'q': lease must be seconds from 1 to 3600, not 0.999"),
        (
            "keep_dead_for",
            "soon",
            "queue 'q': keep_dead_for: 'soon' is no duration: write 500ms, 10s, 5m, 2h, 7d or plain seconds",
        ),
        ("max_payload", 65 * 1024**2, "queue 'q': max_payload must be bytes, from 1 to 64 MiB, not 68157440"),
    ],
)
def test_the_sentence_names_the_queue_the_option_the_value_and_the_way_out(
    app: Engine, option: str, value: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        app.queue("q", **{option: value})
    assert (str(caught.value), caught.value.setting) == (sentence, option)


def test_durations_of_a_declaration_are_seconds_or_text(app: Engine) -> None:
    queue = app.queue("q", lease="10s", dedup_window=1.001)
    assert (queue.spec.lease_ms, queue.spec.dedup_window_ms) == (10_000, 1001)
    assert queue.handler("greet", dedup_window="2m")(greet).spec.dedup_window_ms == 120_000


def test_what_a_handler_leaves_out_is_as_its_queue_says(app: Engine) -> None:
    queue = app.queue("q", attempts=7, backoff=Fixed(1), timeout=9.0, priority=2, dedup_window=60)
    spec = queue.handler("greet")(greet).spec
    assert (spec.rules.attempts, spec.rules.backoff, spec.timeout, spec.priority) == (7, Fixed(1), 9.0, 2)
    assert spec.dedup_window_ms == 60_000


def test_the_examples_of_given_are_true() -> None:
    assert doctest.testmod(engine.given).failed == 0
