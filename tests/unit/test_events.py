"""The hub and its events; and that docs/events.md tells the truth."""

from __future__ import annotations

import asyncio
import functools
import logging
import operator
import re
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import events
from engine.clock import Clock
from engine.events import Event, Events, JobCompleted, JobDied, JobEvent, JobStarted, ListenerFailed, QueueResumed, StoreDown
from tests.support.recorder import Recorder

DOCS = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.fixture
def hub() -> Events:
    return Events(Clock())


def started(name: str = "send", seq: int = 1) -> JobStarted:
    return JobStarted(at_ms=1763791234567, queue="messages", id=f"messages/1763791234567-{seq}", name=name, attempt=1)


def sample(kind: type[Event]) -> Event:
    """One event of the kind, every field filled by its type."""
    values: dict[Any, Any] = {int: 1, str: "x", float: 1.5, bool: True, tuple[str, ...]: ("a", "b"), int | None: None}
    return kind(**{field.name: values[field.type] for field in msgspec.structs.fields(kind)})


def test_nobody_wants_anything_until_somebody_subscribes(hub: Events) -> None:
    assert not any(hub.wants(kind) for kind in events.ALL)
    hub.emit(started())
    stop = hub.subscribe(lambda event: None, JobStarted)
    assert [kind for kind in events.ALL if hub.wants(kind)] == [JobStarted]
    stop()
    assert not hub.wants(JobStarted)


def test_a_listener_gets_its_kinds_only_in_the_order_they_happened(hub: Events) -> None:
    got: list[Event] = []
    hub.subscribe(got.append, JobStarted, QueueResumed)
    for event in (started(), StoreDown(at_ms=1, error="x"), QueueResumed(at_ms=2, queue="q")):
        hub.emit(event)
    assert [event.kind for event in got] == ["job.started", "queue.resumed"]


def test_a_listener_that_names_no_kind_gets_all_and_one_that_names_a_base_gets_its_children(hub: Events) -> None:
    everything: list[Event] = []
    about_jobs: list[JobEvent] = []
    hub.subscribe(everything.append)
    hub.subscribe(about_jobs.append, JobEvent)
    for kind in events.ALL:
        hub.emit(sample(kind))
    assert [type(event) for event in everything] == list(events.ALL)
    assert [type(event) for event in about_jobs] == [kind for kind in events.ALL if issubclass(kind, JobEvent)]


def test_ending_twice_or_while_an_event_is_handed_out_disturbs_nobody(hub: Events) -> None:
    got: list[str] = []

    def first(event: Event) -> None:
        got.append("first")
        stop_first()
        stop_second()

    stop_first = hub.subscribe(first)
    stop_second = hub.subscribe(lambda event: got.append("second"))
    hub.subscribe(lambda event: got.append("third"))
    hub.emit(started())
    hub.emit(started())
    stop_first()
    assert got == ["first", "second", "third", "third"]


def test_a_listener_that_raises_disturbs_nobody_and_is_reported_once(hub: Events) -> None:
    reports: list[ListenerFailed] = []
    got: list[Event] = []
    calls: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise ValueError("no answer from +5511987654321")

    hub.subscribe(broken, JobStarted)
    hub.subscribe(got.append, JobStarted)
    hub.subscribe(reports.append, ListenerFailed)
    for _ in range(3):
        hub.emit(started())
    assert len(got) == len(calls) == 3, "it stays subscribed: one bad event must not silence a log"
    assert [(report.event, report.error) for report in reports] == [("job.started", "ValueError: no answer from +55•••••••••21")]
    assert reports[0].listener.endswith("broken")


def test_a_listener_of_failures_that_fails_itself_does_not_recurse(hub: Events) -> None:
    def broken(event: Event) -> None:
        raise ValueError("again")

    hub.subscribe(broken)
    hub.emit(started())


def test_a_failure_nobody_listens_for_is_logged(hub: Events, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise ValueError("token=abcdef")

    hub.subscribe(broken, JobStarted)
    with caplog.at_level(logging.ERROR):
        hub.emit(started())
        hub.emit(started())
    assert len(caplog.records) == 1
    assert "broken failed on job.started: ValueError: token=•••" in caplog.text


def test_cancellation_is_not_a_listeners_mistake_and_goes_on(hub: Events) -> None:
    def cancelled(event: Event) -> None:
        raise asyncio.CancelledError

    hub.subscribe(cancelled)
    with pytest.raises(asyncio.CancelledError):
        hub.emit(started())


@pytest.mark.parametrize("kind", events.ALL, ids=lambda kind: kind.__name__)
def test_every_event_survives_json_and_has_its_kind_in_it(kind: type[Event]) -> None:
    event = sample(kind)
    data = msgspec.json.encode(event)
    assert msgspec.json.decode(data)["kind"] == event.kind
    any_event = functools.reduce(operator.or_, events.ALL)
    assert msgspec.json.Decoder(any_event).decode(data) == event
    with pytest.raises(AttributeError):
        event.at_ms = 2  # type: ignore[misc]  # frozen is what is tested


def test_all_lists_every_event_of_the_module_and_kinds_are_unique() -> None:
    declared = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, Event) and value not in (Event, JobEvent)
    }
    assert set(events.ALL) == declared
    assert len({kind.__struct_config__.tag for kind in events.ALL}) == len(events.ALL)


def documented_row(kind: type[Event]) -> str:
    fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__ if name != "at_ms")
    return f"| `{kind.__struct_config__.tag}` | `{kind.__name__}` | {fields} | {(kind.__doc__ or '').strip()} |"


def test_docs_list_every_event_with_its_fields_and_when_it_happens() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if re.match(r"\| `[a-z.]+` \| `[A-Z]", line)]
    assert rows == [documented_row(kind) for kind in events.ALL]


# --- the recorder that other tests rely on ---------------------------------------------------------------------------


async def test_the_recorder_returns_what_happened_before_and_each_event_once(hub: Events) -> None:
    with Recorder(hub) as recorder:
        hub.emit(started("a"))
        hub.emit(started("b"))
        assert (await recorder.next(JobStarted, name="b")).name == "b"
        assert (await recorder.next(JobStarted)).name == "a"
        assert [event.name for event in recorder.all(JobStarted)] == ["a", "b"]
        with pytest.raises(AssertionError, match=r"no JobStarted, attempt=1 within 0 s; the last events were:\n  JobStarted"):
            await recorder.next(JobStarted, timeout=0, attempt=1)
    assert not hub.wants(JobStarted)


async def test_the_recorder_waits_for_what_is_still_to_come_from_here_or_from_a_thread(hub: Events) -> None:
    recorder = Recorder(hub)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(recorder.next(JobStarted, name="late"))
        second = group.create_task(recorder.next(JobDied))
        died: dict[str, Any] = {"attempt": 3, "reason": "r", "error": "e", "queue": "q", "id": "q/1-1", "name": "n"}
        asyncio.get_running_loop().call_soon(threading.Thread(target=hub.emit, args=(JobDied(at_ms=1, **died),)).start)
        assert (await second).reason == "r"  # nothing else rang: the thread began once both waited
        hub.emit(started("early"))
        hub.emit(started("late"))
    assert (await first).name == "late"
    with pytest.raises(AssertionError, match="no JobCompleted"):
        await recorder.next(JobCompleted, timeout=0)
