"""The guard: no change makes a job dearer by a tenth unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from bench.guard import KEPT, Compared, Kept, accept, compare, is_told, kept_counts, least, vanished
from bench.guard_counts import INSTRUCTIONS, OBJECTS, measured
from bench.steady import until
from engine import enqueuing, producer
from engine.services import pool
from engine.store import scripts


def alone(count: Callable[[], dict[str, float]]) -> dict[str, float]:
    """In a thread, on a loop of its own: asyncio's debug mode, on for the suite, is not what is measured."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(count).result()


def test_a_job_costs_no_more_than_what_is_kept() -> None:
    kept = kept_counts()
    now = alone(lambda: least(kept))
    rows = compare(now, kept)
    assert sum(row.kept is not None for row in rows) >= 20
    grown = [str(row) for row in rows if row.has_grown]
    assert not grown, "dearer than bench/guard.json says (python -m bench.guard):\n" + "\n".join(grown)
    assert not vanished(now, kept)


# --- what must turn it red -------------------------------------------------------------------------------------------


@contextmanager
def smaller_batches(place: Path) -> Iterator[None]:
    with mock.patch.object(pool, "BATCH", 55):
        yield


@contextmanager
def smaller_chunks(place: Path) -> Iterator[None]:
    with mock.patch.object(producer, "CHUNK", 40), mock.patch.object(enqueuing, "CHUNK", 40):
        yield


@contextmanager
def a_command_for_every_fifth_completion(place: Path) -> Iterator[None]:
    shutil.copytree(scripts.LUA, place / "lua")
    step, line = place / "lua" / "step.lua", "  local stream, last = P .. 'ready:' .. tag, b + n - 1\n"
    text = step.read_text()
    assert line in text
    step.write_text(text.replace(line, line + "  for _ = 1, math.ceil(n / 5) do call('XLEN', stream) end\n"))
    scripts.script.cache_clear()
    try:
        with mock.patch.object(scripts, "LUA", place / "lua"):
            yield
    finally:
        scripts.script.cache_clear()


@pytest.mark.parametrize(
    ("plant", "seen"),
    [
        (smaller_batches, {"drain: script calls a job", "drain: commands in scripts a job"}),
        (smaller_chunks, {"enqueue many: script calls a job", "enqueue many with keys: script calls a job"}),
        (a_command_for_every_fifth_completion, {"drain: commands in scripts a job"}),
    ],
)
def test_a_change_that_makes_jobs_dearer_turns_it_red(
    plant: Callable[[Path], AbstractContextManager[None]], seen: set[str], tmp_path: Path
) -> None:
    with plant(tmp_path):
        now = alone(lambda: measured(has_instructions=False))
    assert seen <= {row.name for row in compare(now, kept_counts()) if row.has_grown}


@pytest.mark.parametrize(
    ("now", "kept", "grown", "shrunk"),
    [(110.0, 100.0, False, False), (110.2, 100.0, True, False), (89.0, 100.0, False, True), (9.0, None, False, False)],
)
def test_a_tenth_more_fails_and_a_tenth_less_is_told(now: float, kept: float | None, grown: bool, shrunk: bool) -> None:
    for scale in (1.0, 0.0001):  # a hundredth of a call a job is judged as a thousand instructions are
        one = Compared("x", now * scale, None if kept is None else Kept(kept * scale, kept * scale))
        assert (one.has_grown, one.has_shrunk) == (grown, shrunk)
        assert ("GROWN" in str(one), "not kept" in str(one)) == (grown, kept is None)


def test_objects_that_are_left_may_be_a_few_where_none_were() -> None:
    assert not Compared(f"drain: {OBJECTS}", 0.02, Kept(0.0, 0.0)).has_grown
    assert Compared(f"drain: {OBJECTS}", 0.03, Kept(0.0, 0.0)).has_grown
    assert Compared(f"drain: {INSTRUCTIONS}", 0.03, Kept(0.0, 0.0)).has_grown


def test_what_is_kept_for_another_python_is_not_compared() -> None:
    kept = {"a": Kept(3.0, 3.0)}
    assert [row.kept for row in compare({"a": 1.0, "b": 2.0}, kept)] == [kept["a"], None]
    assert vanished({"b": 2.0}, kept) == ["a"]


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "guard.json"
    one = {"accepted": 100.0, "lowest": 100.0}
    place.write_text(json.dumps({"python": {"3.0": {"old": one}}, "server": {"calls": one}}))
    return place


def test_the_lowest_figure_stays_beside_the_accepted_one_with_a_reason_for_each_rise(place: Path) -> None:
    accept({"calls": 108.0}, "a first thing", place)
    accept({"calls": 108.5}, "nothing of note", place)
    accept({"calls": 117.1234567}, "a second thing", place)
    kept = kept_counts(place)["calls"]
    assert (kept.accepted, kept.lowest) == (117.123, 100.0)
    assert kept.why == ("100 to 108: a first thing", "108 to 117: a second thing")
    shown = str(Compared("calls", 117.0, kept))
    assert "lowest ever 100" in shown
    assert "108 to 117: a second thing" in shown
    accept({"calls": 90.0}, "cheaper", place)
    assert kept_counts(place)["calls"] == Kept(90.0, 90.0)
    assert "old" in json.loads(place.read_text())["python"]["3.0"]


def test_a_rise_is_not_accepted_without_a_reason(place: Path) -> None:
    with pytest.raises(ValueError, match="say why these have risen: calls"):
        accept({"calls": 120.0}, "", place)
    assert kept_counts(place)["calls"].accepted == 100.0


def test_small_rises_that_add_up_need_a_reason_too(place: Path) -> None:
    accept({"calls": 100.8}, "", place)
    with pytest.raises(ValueError, match="calls"):
        accept({"calls": 101.5}, "", place)
    accept({"calls": 101.5}, "both", place)
    assert kept_counts(place)["calls"].why == ("100 to 102: both",)


def test_each_kept_figure_over_its_lowest_has_its_reason() -> None:
    kept = json.loads(KEPT.read_text())
    every = [kept["server"], *kept["python"].values()]
    for one in [msgspec.convert(found, Kept) for counts in every for found in counts.values()]:
        assert one.why or not is_told(one)
        assert one.lowest <= one.accepted


async def test_what_never_comes_is_not_waited_for_without_end() -> None:
    with mock.patch("bench.steady.PATIENCE", 0.02), pytest.raises(TimeoutError, match="a job that never ends was waited for"):
        await until(lambda: False, "a job that never ends")
