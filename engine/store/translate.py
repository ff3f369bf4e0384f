"""Translate: redis-py's exceptions and the server's refusals -> ours, which say whether the request took effect.

`MEANINGS` is the one table of refusals: which of our errors each is, whether it ends by itself, whether another server may be
the right one now. Codes go before classes: in redis-py an `AuthenticationError` *is a* `ConnectionError`, and so are "loading"
and "too many connections"; taking them for network faults hides a wrong password behind retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import redis.exceptions as rx

from ..errors import (
    StoreDenied,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnanswered,
    StoreUnreachable,
)


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a refusal means to whoever asked. As it stands here: a lasting fault, shown in the server's words."""

    error: type[StoreRefused] = StoreRefused
    passes: bool = False
    """It ends by itself (a start, a failover, a long script, a full disk): repeat after a while."""
    elsewhere: bool = False
    """Another server may be the right one: drop the connection and look the address up again."""
    is_rare: bool = True
    """Ask again rarely: people must mend something first, and the server's log and its room for clients are theirs till then."""
    sentence: str = ""
    """What is shown instead of the server's words."""


def _passing(sentence: str = "", *, elsewhere: bool = False, is_rare: bool = False) -> Meaning:
    return Meaning(passes=True, elsewhere=elsewhere, is_rare=is_rare, sentence=sentence)


_DENIED = Meaning(error=StoreDenied)
_NO_CLUSTER = "the queue's slot is on another node of a cluster: if REDIS_URL names one server, write redis+cluster://"

MEANINGS: Final[Mapping[str, Meaning]] = {
    # the server, or the data set, is not ready yet
    "LOADING": _passing("the server is still loading its data"),
    "BUSY": _passing("the server is busy with a long script"),
    # it is the wrong one now, or no longer the right one
    "READONLY": _passing(
        "the server is a read-only replica: name the primary in REDIS_URL, or use redis+sentinel://", elsewhere=True
    ),
    "MASTERDOWN": _passing("the server is a replica that has lost its primary", elsewhere=True),
    "UNBLOCKED": _passing("the server ended a call that waited there, as it does when it becomes a replica", elsewhere=True),
    "MOVED": _passing(_NO_CLUSTER, elsewhere=True),
    "ASK": _passing(_NO_CLUSTER, elsewhere=True),
    "CLUSTERDOWN": _passing("the cluster does not serve the queue's slot now", elsewhere=True),
    "TRYAGAIN": _passing("the queue's slot is on its way to another node"),
    # it may not write
    "MISCONF": _passing("the server can't write its data to disk (is it full?): free space, then it goes on by itself"),
    # a primary whose replicas have gone may have been replaced without knowing it
    "NOREPLICAS": _passing("the server has too few replicas in sync for min-replicas-to-write", elsewhere=True),
    "OOM": Meaning(
        error=StoreFull,
        is_rare=False,
        sentence="the server is at its maxmemory: nothing was added. Free memory or raise maxmemory, then repeat",
    ),
    # what our scripts make again at the next call
    "NOGROUP": _passing("the queue's consumer group was removed; it is made again"),
    "NOSCRIPT": _passing("the script was flushed; it is loaded again"),
    # people must act
    "MAXCLIENTS": _passing("the server has its most clients: raise maxclients, or run fewer processes", is_rare=True),
    "WRONGPASS": _DENIED,
    "NOAUTH": _DENIED,
    "NOPERM": _DENIED,
    "DENIED": _DENIED,  # protected mode
    "WRONGTYPE": Meaning(sentence="a key of the queue holds another type: something else writes into engine:* keys"),
    "SCRIPT": Meaning(sentence="a script met what it can't work with: something else writes into engine:* keys"),
}

LASTING: Final = Meaning()
"""A code that is not in the table."""

_WRAPPED = ("OOM", "NOSCRIPT", "READONLY", "MISCONF", "NOREPLICAS", "WRONGTYPE", "NOPERM", "NOGROUP")
"""Codes that a script meets: some servers put its own words before them ("ERR Error running script ...")."""

_NO_RIGHT_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")
"""As Valkey and Redis 7.0 begin what other commands begin with NOPERM."""

_IN_SCRIPT = "user_script"
"""In what a server says when a script ends by an error without a code of its own; ours for it is SCRIPT."""

_MOST_CLIENTS = "max number of clients"
"""A refusal without a code of its own."""


def meaning_of(error: StoreError) -> Meaning:
    """The table's row for a refusal; of an error that is none, LASTING."""
    return MEANINGS.get(error.code, LASTING) if isinstance(error, StoreRefused) else LASTING


def code_of(error: BaseException) -> str:
    """The server's error code (`OOM`, `NOGROUP`, ...), '' when it has none."""
    known = getattr(error, "status_code", None)  # redis-py's own classes, from the greeting: their text has lost it
    if isinstance(known, str) and known not in ("", "ERR"):
        return known
    text = _reason(error)
    if text.startswith(_NO_RIGHT_IN_SCRIPT):  # a script runs with the rights of who calls it
        return "NOPERM"
    first = text.split(" ", 1)[0]
    if first.isupper() and first.isalpha():
        return first
    if _MOST_CLIENTS in text:
        return "MAXCLIENTS"
    return next((code for code in _WRAPPED if code in text), "SCRIPT" if _IN_SCRIPT in text else "")


def translate(error: BaseException, *, sent: bool, where: str) -> StoreError:
    """Our exception for one of redis-py's (or the socket's). `sent`: had the request left? `where`: the server, redacted."""
    code = code_of(error)
    found = MEANINGS.get(code)
    if found is None and isinstance(error, (rx.AuthenticationError, rx.AuthorizationError)):
        found = _DENIED  # an answer of a server so old, or so odd, that it has no code
    if found is None and isinstance(error, rx.ResponseError):
        found = LASTING
    if found is None and sent:
        return StoreUnanswered(f"{where} did not answer ({_reason(error)}): the request may have taken effect")
    if found is None:
        return StoreUnreachable(f"{where} can't be reached ({_reason(error)}): is the server running, is REDIS_URL right?")
    words = found.sentence or _reason(error)
    if code == "SCRIPT":
        words += f" ({_reason(error)})"
    if found.error is StoreDenied:
        return StoreDenied(f"{where} refused us: {words}. Check user, password and ACL", code=code)
    return found.error(f"{where} refused: {words}", code=code)


def _reason(error: BaseException) -> str:
    text = str(error).strip().removeprefix("ERR ")  # the code that says nothing
    return text if text else type(error).__name__


def is_passing(error: StoreError) -> bool:
    """True when the same (idempotent) call may succeed later without anybody doing anything."""
    return meaning_of(error).passes if isinstance(error, StoreRefused) else True


def is_damage(error: StoreError) -> bool:
    """True when the data of one queue is at fault: asking again does not help, and the same server serves other queues."""
    return isinstance(error, StoreRefused) and error.code in ("WRONGTYPE", "SCRIPT")
