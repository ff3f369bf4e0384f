"""Log lines: one an event, safe to show, in the form asked for; and nothing happens on import."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from engine import events
from engine.clock import Clock
from engine.events import Events, JobCompleted, JobDied, JobEvent, LeaseLost, ListenerFailed, WorkerStarted
from engine.logs import LEVELS, EventLog, setup_logs
from tests.unit.test_events import DOCS, sample

JOB: dict[str, Any] = {"at_ms": 1763791234567, "queue": "messages", "id": "messages/1763791234567-4", "name": "process-message"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StoppedClock(Clock):
    def now_ms(self) -> int:
        return 1763791234567


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def hub() -> Events:
    return Events(Clock())


def died(error: str = "ValueError: bad") -> JobDied:
    return JobDied(**JOB, attempt=3, reason="no attempts left", error=error)


def test_a_workers_log_does_without_rich_and_leaves_it_to_others() -> None:
    code = (
        "import sys, engine.logs; engine.logs.setup_logs(); assert 'structlog' in sys.modules; assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", f"{code}; import rich.console"], check=True)


def test_importing_the_module_loads_no_structlog_and_configures_nothing() -> None:
    code = "import logging, sys, engine.logs; assert 'structlog' not in sys.modules; assert not logging.getLogger().handlers"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_json_has_one_object_a_line_with_the_events_own_instant(hub: Events) -> None:
    out = io.StringIO()
    setup_logs("json", stream=out)
    EventLog(hub)
    hub.emit(died("ValueError: first\nsecond"))
    hub.emit(WorkerStarted(at_ms=1763791234567, worker="w1", queues=("a", "b"), slots=5, durability="disk", loop="uvloop"))
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert first == {
        "at": "2025-11-22T06:00:34.567Z", "level": "error", "event": "job.died", "queue": "messages", "job": "messages/1763791234567-4",
        "name": "process-message", "attempt": 3, "reason": "no attempts left", "error": "ValueError: first\nsecond",
    }  # fmt: skip
    assert second["queues"] == ["a", "b"]


def test_human_lines_are_one_short_line_without_control_characters(hub: Events) -> None:
    out = io.StringIO()
    setup_logs("human", stream=out)
    EventLog(hub)
    hub.emit(died('bad "x"\n\x1b[31mred'))
    (line,) = out.getvalue().splitlines()
    assert line[8:] == (
        " error   job.died queue=messages job=messages/1763791234567-4 name=process-message attempt=3 "
        'reason="no attempts left" error="bad \'x\'\\n\\x1b[31mred"'
    )


def test_auto_is_coloured_for_people_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        setup_logs("auto", stream=out)
        structlog.get_logger().warning("hello")
    assert "\x1b[33m" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_people_get_no_colours_and_programs_no_escapes_when_they_ask_for_a_form() -> None:
    for form, out in (("human", io.StringIO()), ("json", Terminal())):
        setup_logs(form, stream=out)  # type: ignore[arg-type]  # both are forms; the loop widens them to str
        structlog.get_logger().warning("hello")
        assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("kind", [kind for kind in events.ALL if issubclass(kind, JobEvent)], ids=lambda kind: kind.__name__)
def test_every_line_about_a_job_names_its_queue_and_its_id(hub: Events, kind: type[JobEvent]) -> None:
    out = io.StringIO()
    setup_logs("json", "debug", stream=out)
    EventLog(hub, "debug")
    event = sample(kind)
    hub.emit(event)
    line = json.loads(out.getvalue())
    assert (line["event"], line["queue"], line["job"], line["level"]) == (event.kind, "x", "x", LEVELS[kind])


@pytest.mark.parametrize("kind", events.ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("form", ["human", "json"])
def test_every_kind_has_a_level_and_makes_a_line(hub: Events, kind: type[events.Event], form: Any) -> None:
    out = io.StringIO()
    setup_logs(form, "debug", stream=out)
    EventLog(hub, "debug")
    hub.emit(sample(kind))
    assert sample(kind).kind in out.getvalue()
    assert len(out.getvalue().splitlines()) == 1


def test_a_level_keeps_the_hub_from_wanting_what_would_not_be_written(hub: Events) -> None:
    log = EventLog(hub, "info")
    assert not hub.wants(JobCompleted)
    assert hub.wants(LeaseLost)
    log.close()
    assert not hub.wants(LeaseLost)
    EventLog(hub, "debug")
    assert all(hub.wants(kind) for kind in events.ALL)


def test_secrets_and_phone_numbers_are_masked_wherever_they_stand_in_a_line() -> None:
    out = io.StringIO()
    setup_logs("json", stream=out)
    try:
        raise ValueError("Zq9 is not it: token=Zq9secret and +5511987654321")
    except ValueError:
        structlog.get_logger().exception(
            "sending to 5511987654321", url="redis://:Zq9@h", payload={"content": "Zq9 Oi", "to": ["5511987654321"]}
        )
        logging.getLogger("another.library").exception("GET https://x/?access_token=Zq9%s", "abc")
    text = out.getvalue().replace("Zq9 is not it", "")
    assert len(text.splitlines()) == 2
    assert "Zq9" not in text
    assert "98765" not in text
    assert "Traceback" in text


def test_tracebacks_for_people_are_indented_and_masked_below_the_line() -> None:
    out = io.StringIO()
    setup_logs("human", stream=out)
    try:
        raise ValueError("to +5511987654321")
    except ValueError:
        structlog.get_logger().exception("failed")
    first, *rest = out.getvalue().splitlines()
    assert first.endswith("failed")
    assert rest[-1] == "    ValueError: to +55•••••••••21"
    assert all(line.startswith("    ") for line in rest)


def test_lines_of_other_libraries_come_out_once_however_often_logs_are_set_up() -> None:
    out = io.StringIO()
    for _ in range(3):
        setup_logs("json", "warning", stream=out)
    logging.getLogger("redis").info("not this")
    logging.getLogger("redis").warning("lost %s", "it")
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (line["event"], line["logger"], line["level"]) == ("lost it", "redis", "warning")


def test_a_line_of_another_library_whose_arguments_do_not_fit_leaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()  # pytest's own handlers raise here
    out = io.StringIO()
    setup_logs("json", stream=out)
    logging.getLogger("x").error("a %s b %s", *["+5511987654321"])
    assert "can't be written" in out.getvalue()
    assert "98765" not in out.getvalue() + capsys.readouterr().err


def test_what_is_bound_for_a_job_is_on_the_lines_its_handler_writes() -> None:
    out = io.StringIO()
    setup_logs("json", stream=out, clock=StoppedClock())
    with structlog.contextvars.bound_contextvars(queue="messages", job="messages/1763791234567-4"):
        structlog.get_logger().info("mine")
        logging.getLogger("handlers").warning("its own")
    for line in out.getvalue().splitlines():
        assert json.loads(line)["job"] == "messages/1763791234567-4"
        assert json.loads(line)["at"] == "2025-11-22T06:00:34.567Z"


def test_a_broken_stream_costs_nobody_anything(hub: Events) -> None:
    out = io.StringIO()
    setup_logs("json", stream=out)
    failures: list[ListenerFailed] = []
    hub.subscribe(failures.append, ListenerFailed)
    EventLog(hub)
    out.close()
    hub.emit(died())
    structlog.get_logger().error("mine")
    logging.getLogger("x").error("theirs")
    assert failures == []


@given(st.text(st.characters(exclude_categories=())), st.sampled_from(["human", "json"]))
def test_any_text_makes_one_line_that_can_be_written_as_utf_8(text: str, form: Any) -> None:
    out = io.StringIO()
    setup_logs(form, stream=out)
    structlog.get_logger().error("event", text=text, nested={"x": [text]})
    line = out.getvalue()
    assert line.count("\n") == 1
    line.encode()
    if form == "json":
        json.loads(line)
    else:
        assert line[:-1].isprintable()


def test_docs_list_the_level_of_every_event() -> None:
    for level in ("debug", "info", "warning", "error"):
        kinds = ", ".join(f"`{sample(kind).kind}`" for kind in events.ALL if LEVELS[kind] == level)
        assert f"| `{level}` | {kinds} |" in DOCS.read_text()
