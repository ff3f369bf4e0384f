"""Durations and instants as people write them: `10s`, `500ms`, `1h30m`, `2026-11-23T09:00:00-03:00`.

Pure. Settings and the command line read with the same functions, so `ENGINE_LEASE=10s` and `--delay 10s` mean the same.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from .errors import BadTime
from .keys import shown

LONGEST = 3650 * 86_400.0
"""Seconds, ten years. Anything longer is a slip (milliseconds typed for seconds), not a plan."""

SKEW_MS = 60_000
"""How far in the past `--at` may lie: the machine of the caller and the server may disagree by so much."""

_UNITS: tuple[tuple[str, float], ...] = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile("".join(rf"(?:({_NUMBER})\s?{unit}\s?)?" for unit, _ in _UNITS))
_PLAIN = re.compile(_NUMBER)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> float:
    """Seconds in `text`: a number with `ms`, `s`, `m`, `h` or `d`, several of them, or plain seconds.

    >>> parse_duration("10s"), parse_duration("500ms"), parse_duration("1h30m"), parse_duration("7d"), parse_duration("2.5")
    (10.0, 0.5, 5400.0, 604800.0, 2.5)

    Raises:
        BadTime: it can't be read, is negative, or is over ten years. Show the sentence to whoever typed it.
    """
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped):
        seconds = float(stripped)
    else:
        match = _DURATION.fullmatch(stripped)
        if not stripped or match is None:
            hint = "it can't be negative" if stripped.startswith("-") else "write 500ms, 10s, 5m, 2h, 7d or plain seconds"
            raise BadTime(f"{shown(text)} is no duration: {hint}")
        seconds = sum(float(number) * size for number, (_, size) in zip(match.groups(), _UNITS, strict=True) if number)
    if seconds > LONGEST:
        raise BadTime(f"{shown(text)} is too long: a duration is at most ten years ({LONGEST / 86_400:.0f}d)")
    return seconds


def format_duration(seconds: float) -> str:
    """`seconds` for people, in at most two units and readable by `parse_duration`; under a millisecond is `0s`.

    >>> format_duration(0.25), format_duration(12.34), format_duration(5400), format_duration(604800), format_duration(90061)
    ('250ms', '12.3s', '1h30m', '7d', '1d1h')
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    ms = round(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    tenths = round(seconds * 10)
    if tenths < 600:
        return f"{tenths / 10:g}s"
    rest = round(seconds)
    for (unit, size), (finer, finer_size) in pairwise(_UNITS):
        if rest >= size:
            whole, part = divmod(round(rest / finer_size), round(size / finer_size))
            if whole == 24 and unit == "h":  # 23 h 59 min 40 s, rounded to minutes
                return "1d"
            return f"{whole}{unit}{part}{finer}" if part else f"{whole}{unit}"
    raise AssertionError("unreachable: rest is at least a minute here")


def parse_when(text: str, now_ms: int) -> datetime:
    """The instant in `text` (ISO 8601 with a zone), as an aware datetime; `now_ms` is the caller's clock, epoch ms.

    >>> parse_when("2026-11-23T09:00:00-03:00", 1795000000000).isoformat()
    '2026-11-23T09:00:00-03:00'

    Raises:
        BadTime: no ISO 8601, no zone (09:00 is another moment in every city), over a minute ago, or over ten years ahead.
    """
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadTime(f"{shown(text)} is no time: write it like 2026-01-31T09:00:00-03:00, or with Z for UTC") from None
    offset = when.utcoffset()
    if offset is None:
        raise BadTime(f"{shown(text)} has no time zone: add Z for UTC, or an offset such as -03:00")
    # Not `when - _EPOCH`: close to year 1 or 9999 the shift to UTC would overflow.
    at_ms = (when.replace(tzinfo=UTC) - _EPOCH - offset) // timedelta(milliseconds=1)
    ahead = (at_ms - now_ms) / 1000
    if ahead < -SKEW_MS / 1000:
        raise BadTime(f"{shown(text)} is in the past, {format_duration(-ahead)} ago: leave it out to run at once")
    if ahead > LONGEST:
        raise BadTime(f"{shown(text)} is more than ten years ahead")
    return when
