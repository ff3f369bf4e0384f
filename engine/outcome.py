"""Outcome: what an attempt may end in, and `decide()`: job + ending + policy -> what the store is told.

A handler returns, or raises one of the outcomes below; any other exception means "I did not plan this" and is a failed
attempt. Waiting for the outside (`Snooze`, `RateLimited`, `PauseQueue`), a stop and a lost lease give the attempt back: the
job did nothing wrong. Nothing here awaits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .backoff import MAX_DELAY, Backoff, Exponential, delay_seconds, in_ms
from .errors import AttemptTimeout, ConfigError, LeaseLost, StoreError, words
from .given import within
from .keys import shown

STORE_TROUBLE_MS = 5_000
"""A handler that met our own trouble with the server (full, away) comes again after this, attempt given back: the job did nothing
wrong. A policy for StoreError overrides it."""
MOST_REASON = 500
"""Characters of a reason that are kept: it goes into the job's history, the queue's pause and a log line. `decide` cuts to twice
that, whoever writes it down masks and cuts again: so half a phone number at the cut is not taken for something else."""


class Outcome(Exception):
    """Base of what a handler may raise to say how its attempt ends. Not an error."""


def _seconds(name: str, after: float) -> float:
    if not within(after, 0, MAX_DELAY, float):
        raise ConfigError(f"{name}(after={shown(after)}): seconds between 0 and {MAX_DELAY:.0f}", setting="after")
    return float(after)


class Retry(Outcome):
    """Try again, `after` seconds from now (None: the backoff says). Uses an attempt; the last one ends dead."""

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "retry")
        self.after = None if after is None else _seconds("Retry", after)
        self.reason = reason


class Snooze(Outcome):
    """Not now: again `after` seconds from now, attempt given back. The job keeps its ordering key, so later jobs of the
    same key wait too."""

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"snooze {after} s")
        self.after = _seconds("Snooze", after)
        self.reason = reason


class RateLimited(Outcome):
    """The outside said "too fast": again `after` seconds from now, attempt given back.

    `scope` says who else waits: only this `job`, or the whole `queue` (nothing of it is claimed until then). `key:<name>` is
    accepted for the jobs that share a rate key; while queues have no rate keys, it means this job alone.
    """

    def __init__(self, after: float, scope: str = "job") -> None:
        is_key = isinstance(scope, str) and scope.startswith("key:") and len(scope) > 4
        if not is_key and scope not in ("job", "queue"):
            raise ConfigError(f"RateLimited(scope={shown(scope)}): one of 'job', 'queue' or 'key:<name>'", setting="scope")
        super().__init__(f"rate limited for {after} s ({scope})")
        self.after = _seconds("RateLimited", after)
        self.scope = scope


class Discard(Outcome):
    """No more attempts: straight to the dead-letter queue, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PauseQueue(Outcome):
    """Give the job back and pause its queue, until somebody resumes it: a revoked token, a blocked account."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Policy = Mapping[type[BaseException], Outcome | type[Discard] | type[PauseQueue] | Backoff]
"""Exception class -> what it means: an outcome (`Snooze(60)`, `Discard("bad number")`, or the bare class `Discard`, which takes
the exception's words), or a backoff for its retries. The class nearest to the exception's own in its MRO wins."""


# --- how an attempt ended --------------------------------------------------------------------------------------------


class Returned(msgspec.Struct, frozen=True):
    """The handler returned."""

    value: object = None


class Raised(msgspec.Struct, frozen=True):
    """The handler raised; outcomes come this way too."""

    error: BaseException


class TimedOut(msgspec.Struct, frozen=True):
    """The attempt ran longer than allowed and was cancelled."""

    seconds: float


class Asked(msgspec.Struct, frozen=True):
    """Somebody cancelled the job while it ran, and the handler was told."""

    reason: str = "asked while active"


class Stopped(msgspec.Struct, frozen=True):
    """The worker is stopping and the handler was cancelled."""


Ending = Returned | Raised | TimedOut | Asked | Stopped


# --- what the store is told ------------------------------------------------------------------------------------------


class Complete(msgspec.Struct, frozen=True):
    """The job is done."""

    value: object = None


class TryAgain(msgspec.Struct, frozen=True):
    """`retrying` for `delay_ms`; the next attempt has the next number."""

    delay_ms: int
    error: BaseException


class Wait(msgspec.Struct, frozen=True):
    """`scheduled` for `delay_ms`, same attempt. `scope` "queue" closes the queue's gate as well."""

    delay_ms: int
    reason: str = ""
    scope: str = "job"


class Release(msgspec.Struct, frozen=True):
    """Back to the front, same attempt. `pause` is the reason to pause the queue first, if any."""

    pause: str | None = None


class Bury(msgspec.Struct, frozen=True):
    """Dead. `reason`: attempts used up, discarded, timed out, ..."""

    error: BaseException
    reason: str


class Cancel(msgspec.Struct, frozen=True):
    """Cancelled, counted as such."""

    reason: str


Next = Complete | TryAgain | Wait | Release | Bury | Cancel


class Rules(msgspec.Struct, frozen=True):
    """What a queue or handler says about failing."""

    attempts: int = 3
    backoff: Backoff = msgspec.field(default_factory=Exponential)
    policy: Policy = msgspec.field(default_factory=dict)


def decide(attempt: int, rules: Rules, ending: Ending, random: float) -> Next:
    """What becomes of a job whose attempt number `attempt` ended so. Pure; `random` in [0, 1) feeds the jitter.

    Never raises: a backoff callable that raises or returns nonsense falls back to the default exponential, because a
    failing job must not take the pool down with it.
    """
    match ending:
        case Returned(value):
            return Complete(value)
        case Stopped():
            return Release()
        case Asked(reason):
            return Cancel(reason)
        case TimedOut(seconds):
            late = AttemptTimeout(f"attempt ran longer than its timeout of {seconds:g} s and was cancelled")
            return _failed(attempt, rules, late, _meaning(late, rules.policy), random)
        case Raised(error):
            meaning = error if isinstance(error, Outcome) else _meaning(error, rules.policy)
            return _failed(attempt, rules, error, meaning, random)


def _meaning(error: BaseException, policy: Policy) -> Outcome | Backoff | None:
    for cls in type(error).__mro__:
        if cls in policy:
            found = policy[cls]
            if isinstance(found, type):  # a bare class: made with the error's own words
                return Discard(words(error)) if issubclass(found, Discard) else PauseQueue(words(error))
            return found
    return None


def _failed(attempt: int, rules: Rules, error: BaseException, meaning: Outcome | Backoff | None, random: float) -> Next:
    match meaning:
        case Snooze():
            return Wait(in_ms(meaning.after), words(meaning if meaning.reason else error)[: 2 * MOST_REASON])
        case RateLimited():
            return Wait(in_ms(meaning.after), words(error)[: 2 * MOST_REASON], meaning.scope)
        case PauseQueue():
            return Release(pause=words(meaning if meaning.reason else error)[: 2 * MOST_REASON])
        case Discard():
            return Bury(error, "discarded")
    if meaning is None and isinstance(error, LeaseLost):
        return Release()  # refused by the fence in any case
    if meaning is None and isinstance(error, StoreError):
        return Wait(STORE_TROUBLE_MS, words(error)[: 2 * MOST_REASON])
    if attempt >= rules.attempts:
        return Bury(error, "attempts used up")
    if isinstance(meaning, Retry) and meaning.after is not None:
        return TryAgain(in_ms(meaning.after), error)
    backoff = meaning if meaning is not None and not isinstance(meaning, Outcome) else rules.backoff
    try:
        seconds = delay_seconds(backoff, attempt, random)
    except Exception:  # noqa: BLE001 - the user's callable; see decide's docstring
        seconds = delay_seconds(Exponential(), attempt, random)
    return TryAgain(in_ms(seconds), error)
