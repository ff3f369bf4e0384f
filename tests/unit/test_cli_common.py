"""What every command shares: exit codes, what may be printed, options read from text, the order of words."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import errors
from engine.cli.common import ExitCode, code_of, parse_rate, printable, seconds, worst_of
from engine.cli.reload import changes, snapshot
from engine.cli.root import COMMANDS, _chosen, _globals_first
from engine.errors import BadInput, BadTime, EngineError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), ExitCode.BAD_CONFIG),
        (errors.StoreUnreachable("x"), ExitCode.UNREACHABLE),
        (errors.StoreUnanswered("x"), ExitCode.TIMED_OUT),
        (errors.StoreDenied("x"), ExitCode.BAD_CONFIG),
        (errors.StoreFull("x"), ExitCode.REFUSED),
        (errors.StoreRefused("x", code="LOADING"), ExitCode.UNREACHABLE),
        (errors.StoreRefused("x", code="MAXCLIENTS"), ExitCode.UNREACHABLE),
        (errors.StoreRefused("x", code="MISCONF"), ExitCode.REFUSED),
        (errors.JobNotFound("x"), ExitCode.NOT_FOUND),
        (errors.UnknownQueue("x"), ExitCode.NOT_FOUND),
        (errors.WrongState("x"), ExitCode.REFUSED),
        (errors.BadTime("x"), ExitCode.USAGE),
    ],
)
def test_an_error_ends_with_its_code(error: EngineError, code: ExitCode) -> None:
    assert code_of(error) is code


def test_several_ends_are_one() -> None:
    done, missing, refused = ExitCode.DONE, ExitCode.NOT_FOUND, ExitCode.REFUSED
    assert worst_of([]) is worst_of([done, done]) is ExitCode.DONE
    assert worst_of([done, missing]) is ExitCode.PARTIAL
    assert worst_of([missing, refused]) is ExitCode.NOT_FOUND


def test_nothing_printed_moves_a_cursor_or_hides_text() -> None:
    assert printable("a\x1b[31m\r\nb\u202e\x00 ção ✓") == "a\\x1b[31m\\r\\nb\\u202e\\x00 ção ✓"


@pytest.mark.parametrize(("text", "rate"), [("50/s", 50.0), ("600/m", 10.0), ("3600/h", 1.0), ("2.5", 2.5)])
def test_a_rate_is_jobs_a_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0/s", "-5/s", "5/d", "5/", "inf", "nan", "/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no rate"):
        parse_rate(text)


def test_a_duration_option_is_named_when_it_can_not_be_read() -> None:
    assert seconds(None, "--for") is None
    assert seconds("1h30m", "--for") == 5400.0
    with pytest.raises(BadTime, match=r"^--for: 'x' is no duration"):
        seconds("x", "--for")


@pytest.mark.parametrize(
    ("words", "ordered", "chosen"),
    [
        (["stats"], ["stats"], "stats"),
        (["stats", "--app", "m:a"], ["--app", "m:a", "stats"], "stats"),
        (["--app=m:a", "stats", "--debug"], ["--app=m:a", "--debug", "stats"], "stats"),
        (["-A", "stats", "jobs"], ["-A", "stats", "jobs"], "jobs"),
        (["cancel", "--", "--app"], ["cancel", "--", "--app"], "cancel"),
        (["stats", "--app"], ["stats", "--app"], "stats"),
        (["--help"], ["--help"], None),
        ([], [], None),
    ],
)
def test_what_is_said_to_all_commands_may_stand_anywhere(words: list[str], ordered: list[str], chosen: str | None) -> None:
    assert _globals_first(words) == ordered
    assert _chosen(ordered) == chosen


def test_every_command_explains_itself_in_a_short_first_sentence() -> None:
    for name, function in COMMANDS.items():
        first = (function.__doc__ or "").split(".")[0]
        assert 5 < len(first) <= 60, name


def test_a_change_is_a_file_that_came_went_or_was_written(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "note.txt", ".venv/c.py", "deep/er/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    before = snapshot(tmp_path)
    assert sorted(Path(path).name for path in before) == ["a.py", "b.py", "d.py"]
    (tmp_path / "a.py").unlink()
    (tmp_path / "e.py").write_text("")
    now = snapshot(tmp_path) | {str(tmp_path / "b.py"): 1}
    assert [Path(path).name for path in changes(before, now)] == ["a.py", "b.py", "e.py"]
    assert changes(now, now) == []
