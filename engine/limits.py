"""Limits: what each option of a declaration may be, in one table. What is not so is a ConfigError, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .durations import LONGEST, parse_duration
from .errors import BadInput, ConfigError
from .given import within
from .keys import shown
from .options import LONGEST_WINDOW, MOST_ATTEMPTS

DAY = 86_400

_LIMITS: dict[str, tuple[float, float, type[int] | type[float], str]] = {
    "priority": (1, 9, int, "a whole number from 1 (first) to 9 (last)"),
    "concurrency": (1, 1000, int, "a whole number from 1 to 1000"),
    "attempts": (1, MOST_ATTEMPTS, int, f"a whole number from 1 to {MOST_ATTEMPTS}"),
    "timeout": (0.001, 7 * DAY, float, "seconds above 0, at most 7 days"),
    "lease": (1, 3600, float, "seconds from 1 to 3600"),
    "stall_limit": (0, 100, int, "a whole number from 0 to 100"),
    "keep_completed": (0, 10**9, int, "a number of jobs, 0 or more"),
    "keep_completed_for": (0, LONGEST, float, "seconds, 0 or more, at most ten years"),
    "keep_dead": (0, 10**9, int, "a number of jobs, 0 or more, or None for any number"),
    "keep_dead_for": (0, LONGEST, float, "seconds, 0 or more, at most ten years"),
    "keep_results_for": (0, LONGEST, float, "seconds, 0 or more, at most ten years"),
    "dedup_window": (0.001, LONGEST_WINDOW, float, "seconds above 0, at most 30 days"),
    "max_payload": (1, 64 * 1024**2, int, "bytes, from 1 to 64 MiB"),
    "max_waiting": (0, 10**9, int, "a number of jobs, 0 for no limit"),
}
"""What a declaration may say: least, most, kind and the rule in words. `lease` and `max_payload` as their settings have it."""


def check_limits(whose: str, **given: object) -> None:
    """Check options of a declaration by name; `whose` begins the sentence. Durations in seconds.

    Raises:
        ConfigError: one is of another kind, or out of range.
    """
    for setting, value in given.items():
        least, most, kind, rule = _LIMITS[setting]
        if not within(value, least, most, kind):
            raise ConfigError(f"{whose}: {setting} must be {rule}, not {shown(value)}", setting=setting)


def check_choice(whose: str, setting: str, value: object, choices: Sequence[str]) -> None:
    """Check an option that is one of a few words.

    Raises:
        ConfigError: it is another.
    """
    if not isinstance(value, str) or value not in choices:
        words = " or ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{whose}: {setting} must be {words}, not {shown(value)}", setting=setting)


def duration_ms(whose: str, setting: str, given: float | str) -> int:
    """Seconds, or text like "10s", of a declaration -> ms.

    Raises:
        ConfigError: it can't be read, or is out of range.
    """
    try:
        seconds = parse_duration(given) if isinstance(given, str) else given
    except BadInput as error:
        raise ConfigError(f"{whose}: {setting}: {error}", setting=setting) from None
    check_limits(whose, **{setting: seconds})
    return round(seconds * 1000)


def usable_name(check: Callable[[str], str], name: str, setting: str) -> str:
    """The name of what is declared, when `check` has nothing against it; ConfigError otherwise."""
    try:
        return check(name)
    except BadInput as error:
        raise ConfigError(str(error), setting=setting) from None
