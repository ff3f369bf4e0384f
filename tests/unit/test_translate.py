"""Translate: every refusal we know, in the servers' own words: whose error it is, and whether it is worth asking again."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import redis.exceptions as rx
from redis._parsers.base import BaseParser

from engine import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnanswered, StoreUnreachable
from engine.store.patience import is_rare
from engine.store.translate import MEANINGS, is_passing, meaning_of, translate


@dataclass(frozen=True)
class Case:
    """A refusal and what must be made of it."""

    text: str
    code: str
    error: type[StoreRefused] = StoreRefused
    passes: bool = True
    elsewhere: bool = False
    is_rare: bool = False
    says: str = ""


CASES = [
    Case("LOADING Redis is loading the dataset in memory", "LOADING", says="still loading its data"),
    Case("LOADING Valkey is loading the dataset in memory", "LOADING"),
    Case("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "BUSY", says="long script"),
    Case("READONLY You can't write against a read only replica.", "READONLY", elsewhere=True, says="name the primary in REDIS_URL"),
    Case("READONLY You can't write against a read only replica. script: 5e, on @user_script:3.", "READONLY", elsewhere=True),
    Case("ERR Error running script (call to f_5e): @user_script:3: @user_script: 3: -READONLY You can't write against a read only replica.",
         "READONLY", elsewhere=True),
    Case("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "MASTERDOWN", elsewhere=True),
    Case("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", "UNBLOCKED", elsewhere=True),
    Case("UNBLOCKED the stream key no longer exists", "UNBLOCKED", elsewhere=True),
    Case("MOVED 3999 127.0.0.1:6381", "MOVED", elsewhere=True, says="redis\\+cluster://"),
    Case("ASK 3999 127.0.0.1:6381", "ASK", elsewhere=True),
    Case("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", elsewhere=True),
    Case("CLUSTERDOWN The cluster is down", "CLUSTERDOWN", elsewhere=True),
    Case("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
    Case("MISCONF Errors writing to the AOF file: No space left on device", "MISCONF", says="can't write its data to disk"),
    Case("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", "MISCONF"),
    Case("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", elsewhere=True, says="min-replicas-to-write"),
    Case("NOGROUP No such key 'engine:{q}:ready:5' or consumer group 'w'", "NOGROUP"),
    Case("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
    Case("OOM command not allowed when used memory > 'maxmemory'.", "OOM", StoreFull, passes=False, says="nothing was added"),
    Case("OOM command not allowed when used memory > 'maxmemory'. script: 5e, on @user_script:3.", "OOM", StoreFull, passes=False),
    Case("ERR max number of clients reached", "MAXCLIENTS", is_rare=True, says="raise maxclients"),
    Case("ERR max number of clients + cluster connections reached", "MAXCLIENTS", is_rare=True),
    Case("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS", StoreDenied, passes=False, is_rare=True,
         says="Check user, password and ACL"),
    Case("NOAUTH Authentication required.", "NOAUTH", StoreDenied, passes=False, is_rare=True),
    Case("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option "
         "can be used to authenticate the client and select the RESP protocol version at the same time",
         "NOAUTH", StoreDenied, passes=False, is_rare=True),
    Case("NOPERM User worker has no permissions to run the 'evalsha' command", "NOPERM", StoreDenied, passes=False, is_rare=True,
         says="'evalsha'"),
    Case("NOPERM this user has no permissions to run the 'xadd' command script: 5e, on @user_script:3.", "NOPERM", StoreDenied,
         passes=False, is_rare=True),
    Case("ACL failure in script: User worker has no permissions to run the 'xadd' command", "NOPERM", StoreDenied, passes=False,
         is_rare=True),
    Case("DENIED Redis is running in protected mode because protected mode is enabled", "DENIED", StoreDenied, passes=False,
         is_rare=True),
    Case("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE", passes=False, is_rare=True,
         says="something else writes into engine:"),
    Case("ERR user_script:28: attempt to compare nil with number script: 5e, on @user_script:28.", "SCRIPT", passes=False, is_rare=True,
         says="(user_script:28: attempt to compare nil with number"),
    Case("ERR value is not an integer or out of range script: 5e, on @user_script:3.", "SCRIPT", passes=False, is_rare=True,
         says="something else writes into engine:"),
    Case("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", passes=False, is_rare=True),
    Case("ERR unknown command 'EVALSHA', with args beginning with: ", "", passes=False, is_rare=True, says="unknown command"),
]  # fmt: skip


@pytest.mark.parametrize("way", ["during a call", "during the greeting"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code or 'other'} {case.text[:24]}")
def test_each_refusal_is_what_the_table_says(case: Case, way: str) -> None:
    read: Callable[[str], Exception] = rx.ResponseError if way == "during a call" else BaseParser.parse_error
    raised = read(case.text)
    error = translate(raised, sent=way == "during a call", where="redis://somewhere")
    if way == "during the greeting" and case.code in ("MOVED", "ASK"):
        return  # no command that could be moved is sent there
    assert type(error) is case.error
    assert isinstance(error, StoreRefused)
    assert (error.code, is_passing(error), is_rare(error)) == (case.code, case.passes, case.is_rare)
    assert meaning_of(error).elsewhere == case.elsewhere
    assert str(error).startswith("redis://somewhere refused")
    if case.says:
        assert case.says.replace("\\", "") in str(error)


def test_no_row_of_the_table_is_without_its_case() -> None:
    assert {case.code for case in CASES} >= set(MEANINGS)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError("the connection was closed"),
        TimeoutError(),
        OSError(-2, "Name or service not known"),
        ssl.SSLCertVerificationError("certificate verify failed"),
        rx.ConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."),
        rx.TimeoutError("Timeout connecting to server"),
        rx.InvalidResponse("Protocol Error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_refusal_says_whether_the_request_had_left(error: Exception) -> None:
    lost: StoreError = translate(error, sent=True, where="redis://somewhere")
    never: StoreError = translate(error, sent=False, where="redis://somewhere")
    assert (type(lost), type(never)) == (StoreUnanswered, StoreUnreachable)
    assert is_passing(lost)
    assert is_passing(never)
    assert not is_rare(lost)
    assert not is_rare(never)
    assert meaning_of(never).error is StoreRefused  # no row
