"""Translate: redis-py's exceptions -> ours, which say whether the request took effect.

The order matters: in redis-py an `AuthenticationError` *is a* `ConnectionError`, and so are "loading" and "too many
connections"; taking them for network faults hides a wrong password behind retries.
"""

from __future__ import annotations

import redis.exceptions as rx

from ..errors import (
    StoreDenied,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnanswered,
    StoreUnreachable,
)

PASSING = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS", "MOVED", "ASK"}
)
"""Refusals that end by themselves (start, failover, a long script, a full disk): repeat after a while."""

RECONNECT = frozenset({"READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "MOVED", "ASK", "UNBLOCKED", "NOREPLICAS"})
"""Refusals after which another server may be the right one: drop the connection and look the address up again. NOREPLICAS: a
primary whose replicas have gone may have been replaced without knowing it."""

_SENTENCES = {
    "LOADING": "the server is still loading its data",
    "READONLY": "the server is a read-only replica: name the primary in REDIS_URL, or use redis+sentinel://",
    "MISCONF": "the server can't write its append-only file (disk full?): free space, then it goes on by itself",
    "NOREPLICAS": "the server has too few replicas in sync for min-replicas-to-write",
    "BUSY": "the server is busy with a long script",
    "WRONGTYPE": "a key of the queue holds another type: something else writes into engine:* keys",
}


_NO_RIGHT_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")
"""As Valkey and Redis 7.0 begin what other commands begin with NOPERM."""


def code_of(error: BaseException) -> str:
    """The server's error code (`OOM`, `NOGROUP`, ...), '' when it has none."""
    known = {
        rx.ReadOnlyError: "READONLY",
        rx.OutOfMemoryError: "OOM",
        rx.NoScriptError: "NOSCRIPT",
        rx.BusyLoadingError: "LOADING",
        rx.NoPermissionError: "NOPERM",
        rx.AuthenticationError: "WRONGPASS",
        rx.ClusterDownError: "CLUSTERDOWN",
        rx.MasterDownError: "MASTERDOWN",
        rx.TryAgainError: "TRYAGAIN",
        rx.MovedError: "MOVED",
        rx.AskError: "ASK",
    }
    for cls, code in known.items():
        if isinstance(error, cls):
            return code
    text = _reason(error)
    if text.startswith(_NO_RIGHT_IN_SCRIPT):  # a script runs with the rights of who calls it
        return "NOPERM"
    first = text.split(" ", 1)[0]
    if first.isupper() and first.isalpha():
        return first
    for code in ("OOM", "NOSCRIPT", "READONLY", "MISCONF", "NOREPLICAS", "WRONGTYPE", "NOPERM"):
        if code in text:  # an error inside a script is wrapped: "... script: <sha>, on @user_script:1."
            return code
    return ""


def translate(error: BaseException, *, sent: bool, where: str) -> StoreError:
    """Our exception for one of redis-py's (or the socket's). `sent`: had the request left? `where`: the server, redacted."""
    code = code_of(error)
    if isinstance(error, (rx.AuthenticationError, rx.AuthorizationError, rx.NoPermissionError)) or code in (
        "WRONGPASS",
        "NOAUTH",
        "NOPERM",
    ):
        return StoreDenied(f"{where} refused us: {_reason(error)}. Check user, password and ACL", code=code)
    if isinstance(error, rx.ResponseError) or code == "LOADING":
        if code == "OOM":
            return StoreFull(
                f"{where} is at its maxmemory: nothing was added. Free memory or raise maxmemory, then repeat", code=code
            )
        return StoreRefused(f"{where} refused: {_SENTENCES.get(code, _reason(error))}", code=code)
    if sent:
        return StoreUnanswered(f"{where} did not answer ({_reason(error)}): the request may have taken effect")
    return StoreUnreachable(f"{where} can't be reached ({_reason(error)}): is the server running, is REDIS_URL right?")


def _reason(error: BaseException) -> str:
    text = str(error).strip().removeprefix("ERR ")  # the code that says nothing
    return text if text else type(error).__name__


def is_passing(error: StoreError) -> bool:
    """True when the same (idempotent) call may succeed later without anybody doing anything."""
    if isinstance(error, StoreRefused):
        return error.code in PASSING
    return True
