"""The table of settings: every name in the environment, what it means, how its text is read, and what may stand there.

Documentation (docs/configuration.md), checks and error sentences all come from these rows. To add a setting, add a row
here and a field in `config.Settings`; the tests tell what is missing.
"""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import Any, Literal

import msgspec

from .durations import format_duration, parse_duration
from .errors import BadTime
from .keys import shown

Kind = Literal["duration", "size", "count", "port", "choice", "text", "path", "flag", "secret"]


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: a name in the environment, the field it fills, and what may stand there."""

    env: str
    field: str
    kind: Kind
    meaning: str
    low: float = float("-inf")
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    pattern: str = ".+"
    example: str = ""
    """What a value looks like, for the sentence when `pattern` does not fit."""


_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_APP = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"

SETTINGS: tuple[Setting, ...] = (
    Setting("REDIS_URL", "redis_url", "secret", "Address of Redis or Valkey; without it and `REDIS_HOST` an embedded server is started"),
    Setting("REDIS_HOST", "redis_url", "text", "Host, instead of `REDIS_URL`; TLS is on when `ENGINE_ENV=production`", pattern=r"[^/@\s]+"),
    Setting("REDIS_PORT", "redis_url", "port", "Port for `REDIS_HOST`; 6379 when not set", low=1, high=65_535),
    Setting("REDIS_USERNAME", "redis_url", "text", "User for `REDIS_HOST`, or for a `REDIS_URL` without one"),
    Setting("REDIS_PASSWORD", "redis_url", "secret", "Password for `REDIS_HOST`, or for a `REDIS_URL` without one"),
    Setting("ENGINE_ENV", "env", "choice", "In production Redis must be configured, and `REDIS_HOST` means TLS",
            choices=("development", "production")),
    Setting("ENGINE_APP", "app", "text", "The application, `module:attribute`", pattern=_APP, example="handlers:engine"),
    Setting("ENGINE_LEASE", "lease", "duration", "How long a worker may be silent before its jobs are given to others", low=1, high=3600),
    Setting("ENGINE_DRAIN_TIMEOUT", "drain_timeout", "duration", "How long a stopping worker lets running jobs finish", low=0, high=86_400),
    Setting("ENGINE_DURABILITY", "durability", "choice", "Least the server must promise; start is refused on less. With `replicated`, each enqueue also waits until a replica has it",
            choices=("memory", "process", "disk", "replicated")),
    Setting("ENGINE_MAX_PAYLOAD", "max_payload", "size", "Largest encoded payload of a job", low=1024, high=64 * 1024**2),
    Setting("ENGINE_MAX_MEMORY", "max_memory", "size", "Memory at which a worker (`engine run`) drains and ends with 7, to be started anew; any when not set",
            low=32 * 1024**2, high=1024**4),
    Setting("ENGINE_DATA_DIR", "data_dir", "path", "Where the embedded server keeps its data and its socket"),
    Setting("ENGINE_LOG_FORMAT", "log_format", "choice", "`auto` is `human` on a terminal and `json` elsewhere", choices=("auto", "human", "json")),
    Setting("ENGINE_LOG_LEVEL", "log_level", "choice", "Least important lines to write", choices=("debug", "info", "warning", "error")),
    Setting("ENGINE_ENQUEUE_TIMEOUT", "enqueue_timeout", "duration", "How long an enqueue waits for the server before it fails",
            low=0.1, high=600),
    Setting("ENGINE_CONNECT_TIMEOUT", "connect_timeout", "duration", "How long one attempt to connect may take, and how long a start waits for the server's next answer", low=0.1, high=120),
    Setting("ENGINE_SOCKET_TIMEOUT", "socket_timeout", "duration", "How long the server may be silent before a connection counts as dead",
            low=0.1, high=120),
    Setting("ENGINE_TLS_CA", "tls_ca", "path", "File of the authorities that may sign the server's certificate; the system's when not set"),
    Setting("ENGINE_TLS_CERT", "tls_cert", "path", "File of the client's certificate"),
    Setting("ENGINE_TLS_KEY", "tls_key", "path", "File of the client certificate's key"),
    Setting("ENGINE_TLS_INSECURE_I_KNOW", "tls_insecure", "flag", "1 allows a `REDIS_URL` that switches certificate checks off"),
    Setting("ENGINE_WORKER_NAME", "worker_name", "text", "Name of the worker; host and process when not set",
            pattern=_NAME, example="worker-1"),
    Setting("ENGINE_SLOTS", "slots", "count", "Jobs at once per queue, instead of what the queues say", low=1, high=10_000),
)  # fmt: skip

_SIZES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024), ("", 1))
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def shown_size(value: int) -> str:
    """Bytes as one would write them: `256KiB`."""
    return next(f"{value // size}{unit}" for unit, size in _SIZES if value % size == 0)


def read_size(text: str) -> int:
    """The bytes that a text stands for; a ValueError carries the rest of the sentence."""
    match = re.fullmatch(r"([0-9]{1,15})\s?(GiB|MiB|KiB|)", text)
    if match is None:
        raise ValueError(f"is {shown(text)}, which is no size: write 262144, 256KiB, 1MiB or 1GiB")
    return int(match[1]) * dict(_SIZES)[match[2]]


def show(row: Setting, value: Any) -> str:
    """A value as one would write it for that setting; `not set` for None."""
    if value is None:
        return "not set"
    if row.kind == "duration":
        return format_duration(value)
    if row.kind == "size":
        return shown_size(value)
    if row.kind == "flag":
        return "1" if value else "0"
    return str(value)


def read(row: Setting, text: str) -> object:
    """The value that `text` from the environment stands for; a ValueError carries the rest of the sentence."""
    if row.kind == "duration":
        try:
            return parse_duration(text)
        except BadTime as error:
            raise ValueError(f"can't be read: {error}") from None
    if row.kind == "size":
        return read_size(text)
    if row.kind == "count":
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ValueError(f"is {shown(text)}, which is not a whole number")
        return int(text)
    if row.kind == "flag":
        if text.lower() not in _FLAGS:
            raise ValueError(f"is {shown(text)}: write 1 or 0")
        return _FLAGS[text.lower()]
    return text.lower() if row.kind == "choice" else text


def misfit(row: Setting, value: Any) -> str | None:
    """The rest of a sentence when the value may not stand there, else None."""
    if row.kind in ("duration", "size", "count"):
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"is {shown(value)}, which is not a number"
        if not row.low <= value <= row.high:
            return f"is {show(row, value)}: it must be between {show(row, row.low)} and {show(row, row.high)}"
    if row.choices and value not in row.choices:
        near = get_close_matches(str(value), row.choices, n=1, cutoff=0.5)
        return f"is {shown(value)}: it is one of {', '.join(row.choices)}" + (f"; did you mean {near[0]}?" if near else "")
    if row.kind == "text" and not re.fullmatch(row.pattern, str(value)):
        return f"is {shown(value)}: it looks like {row.example}"
    if row.kind == "path" and "\0" in str(value):
        return "has a zero byte in its path"
    return None
