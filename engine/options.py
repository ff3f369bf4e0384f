"""Options of one enqueue, checked before anything is sent. Times in seconds, as people write them.

None means "as the handler or its queue declares it"; nothing here knows a queue's defaults.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec

from .durations import LONGEST, SKEW_MS, format_duration
from .errors import BadInput, BadTime
from .given import within
from .keys import check_key, shown

MOST_ATTEMPTS = 1000
"""More is a loop, not a retry: at one try a minute it is most of a day."""

LONGEST_WINDOW = 30 * 86_400.0
"""Seconds a dedup key may be remembered: each remembered key costs memory until its window ends."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EnqueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may say about a job beside its payload.

    Raises (when made):
        BadTime: a time that is negative, no number, in the past or absurdly far.
        BadName: an ordering or dedup key that is empty, too long or no text.
        BadInput: a priority or a number of attempts out of range, or `delay` and `at` together.
    """

    delay: float = 0.0
    """Seconds from now; 0 runs at once."""
    at: datetime | None = None
    """The instant (with a zone) it is due; instead of `delay`."""
    priority: int | None = None
    """1 is served first, 9 last."""
    attempts: int | None = None
    """The most times its handler is started."""
    dedup_key: str | None = None
    """A second job with this key inside `dedup_window` is not added; the first one's handle is returned."""
    dedup_window: float | None = None
    """Seconds."""
    ordering_key: str | None = None
    """Jobs of the queue with equal keys run one at a time, in the order of their enqueues."""
    timeout: float | None = None
    """Seconds one attempt may run."""
    expires_after: float | None = None
    """Seconds from now after which it is cancelled instead of started."""

    def __post_init__(self) -> None:
        _seconds("delay", self.delay, least=0.0)
        if self.at is not None:
            if self.delay:
                raise BadInput("delay and at are both given: a job is due either after a while or at an instant")
            due_at_ms(self.at)
        if self.priority is not None:
            _whole("priority", self.priority, 9)
        if self.attempts is not None:
            _whole("attempts", self.attempts, MOST_ATTEMPTS)
        if self.dedup_key is not None:
            check_key(self.dedup_key, "dedup_key")
        if self.ordering_key is not None:
            check_key(self.ordering_key, "ordering_key")
        if self.dedup_window is not None:
            _seconds("dedup_window", self.dedup_window, most=LONGEST_WINDOW)
        if self.timeout is not None:
            _seconds("timeout", self.timeout)
        if self.expires_after is not None:
            _seconds("expires_after", self.expires_after)

    def check_at(self, now_ms: int) -> None:
        """Raise BadTime when `at` lies more than a minute in the past or over ten years ahead of `now_ms` (epoch ms)."""
        if self.at is None:
            return
        ahead = (due_at_ms(self.at) - now_ms) / 1000
        if ahead < -SKEW_MS / 1000:
            past = f"at={self.at.isoformat()} is in the past, {format_duration(-ahead)} ago"
            raise BadTime(f"{past}: leave it out to run the job at once")
        if ahead > LONGEST:
            raise BadTime(f"at={self.at.isoformat()} is more than ten years ahead")


def due_at_ms(at: datetime) -> int:
    """Epoch ms of an aware datetime, rounded up: never early. BadTime when it has no zone (09:00 differs from city to city)."""
    if not isinstance(at, datetime):
        raise BadTime(f"at={shown(at)} is no datetime: give a datetime with a time zone")
    offset = at.utcoffset()
    if offset is None:
        raise BadTime(f"at={at.isoformat()} has no time zone: use datetime.now(UTC) or a ZoneInfo")
    return -((_EPOCH + offset - at.replace(tzinfo=UTC)) // timedelta(milliseconds=1))


def _seconds(what: str, value: float, *, least: float | None = None, most: float = LONGEST) -> None:
    """Check a time in seconds: a finite number, over 0 unless `least` says more, `most` at most."""
    if not within(value, -math.inf, math.inf, float) or value in (math.inf, -math.inf):
        raise BadTime(f"{what}={shown(value)} is no number of seconds")
    if value < 0 or (least is None and value == 0):
        raise BadTime(f"{what}={shown(value)} is not {'over 0' if least is None else 'at least 0'} seconds")
    if value > most:
        raise BadTime(f"{what}={shown(value)} is over {format_duration(most)} ({most:.0f} seconds)")


def _whole(what: str, value: int, most: int) -> None:
    if not within(value, 1, most):
        raise BadInput(f"{what}={shown(value)} is no whole number from 1 to {most}")


NOTHING_SAID = EnqueueOptions()
"""Most enqueues say nothing: they share these, already checked, and `Enqueuing` knows them."""
