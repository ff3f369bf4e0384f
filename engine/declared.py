"""Declared: what an application says about its queues and handlers, as plain data. No I/O, no running state."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .backoff import Backoff, check_backoff
from .errors import BadPayload, ConfigError, UnknownHandler
from .given import is_async, why_no_function_of_one
from .job import Job
from .keys import check_job_name, check_key, check_queue, shown
from .limits import DAY, check_choice, check_limits, usable_name
from .outcome import Discard, Outcome, PauseQueue, Policy, Rules

DAY_MS = DAY * 1000

KeyOf = str | Callable[[Any], str | None]
"""How a payload names its ordering or dedup key: a field's name, or a function of the payload. None means no key."""


WhenFull = Literal["refuse", "drop-oldest"]
"""What becomes of a job that a full queue has no room for: it is refused, or the oldest that could run makes room for it."""


class Limit(msgspec.Struct, frozen=True):
    """How many jobs may wait in a queue (0: any number), and what becomes of one beyond that."""

    most: int = 0
    when_full: WhenFull = "refuse"

    @property
    def drops(self) -> bool:
        """True when jobs may be removed to make room."""
        return self.most > 0 and self.when_full == "drop-oldest"


NO_LIMIT = Limit()


class QueueSpec(msgspec.Struct):
    """A queue as declared. Times in seconds where the public face takes seconds; `*_ms` otherwise."""

    name: str
    priority: int = 5
    concurrency: int = 5
    rules: Rules = msgspec.field(default_factory=Rules)
    timeout: float = 300.0
    lease_ms: int = 10_000
    stall_limit: int = 3
    keep_completed: int = 1000
    keep_completed_ms: int = DAY_MS
    keep_dead: int | None = None
    """None: any number."""
    keep_dead_ms: int = 7 * DAY_MS
    keep_notes_ms: int = 3_600_000
    dedup_window_ms: int = DAY_MS
    max_payload: int = 262_144
    limit: Limit = NO_LIMIT
    handlers: dict[str, HandlerSpec] = msgspec.field(default_factory=dict)
    follows_settings: tuple[bool, bool] = (False, False)
    """Whether lease and payload limit were left to the settings, which are read later than queues are declared."""

    def __post_init__(self) -> None:
        usable_name(check_queue, self.name, "queue")
        check_limits(
            f"queue {self.name!r}",
            priority=self.priority,
            concurrency=self.concurrency,
            attempts=self.rules.attempts,
            timeout=self.timeout,
            stall_limit=self.stall_limit,
            keep_completed=self.keep_completed,
            keep_dead=0 if self.keep_dead is None else self.keep_dead,
            max_payload=self.max_payload,
            max_waiting=self.limit.most,
        )
        check_choice(f"queue {self.name!r}", "when_full", self.limit.when_full, typing.get_args(WhenFull))

    @property
    def attempts(self) -> int:
        """The most attempts a job of this queue gets, unless its handler or the job says otherwise."""
        return self.rules.attempts

    def handler(self, name: str) -> HandlerSpec:
        """The handler of that name.

        Raises:
            UnknownHandler: none is registered in this process; names the ones that are.
        """
        found = self.handlers.get(name)
        if found is None:
            known = ", ".join(sorted(self.handlers)) or "none"
            raise UnknownHandler(f"queue {self.name!r} has no handler {shown(name)} in this process (known: {known})")
        return found


@dataclass(slots=True)
class HandlerSpec:
    """A handler as declared, with its signature read once so that a call costs nothing to prepare."""

    name: str
    fn: Callable[..., Any]
    rules: Rules
    timeout: float
    ordering_key: KeyOf | None = None
    dedup_key: KeyOf | None = None
    dedup_window_ms: int = DAY_MS
    priority: int = 5
    is_async: bool = field(init=False)
    payload_type: Any = field(init=False)
    injected: tuple[tuple[str, Any], ...] = field(init=False)
    """Parameters besides the payload: name and type. `Job` gets the job, anything else a resource of the lifespan."""
    job_parameter: str | None = field(init=False)
    """Name of the parameter that gets the `Job`, None when the handler doesn't want it."""
    result_type: Any = field(init=False)
    _decode: Callable[[bytes], Any] = field(init=False, repr=False)
    _optional: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whose = f"handler {usable_name(check_job_name, self.name, 'handler')!r}"
        check_limits(whose, priority=self.priority, attempts=self.rules.attempts, timeout=self.timeout)
        parameters = _parameters(self.fn, self.name)
        self.is_async = is_async(self.fn)
        hints = _hints(self.fn, self.name)
        if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
            raise ConfigError(f"handler {self.name!r} must take the payload as its first parameter", setting="handler")
        self.payload_type = hints.get(parameters[0].name, Any)
        injected, optional = [], set()
        for p in parameters[1:]:
            if p.default is not p.empty:
                optional.add(p.name)
            if p.name in hints:
                injected.append((p.name, self._injectable(p.name, _plain(hints[p.name]))))
            elif p.name == "job":
                injected.append((p.name, Job))
            elif p.default is p.empty:
                raise ConfigError(
                    f"handler {self.name!r}: parameter {p.name!r} has no type; it is Job, or the type of a lifespan resource",
                    setting="handler",
                )
        self.injected = tuple(injected)
        self._optional = frozenset(optional)
        self.job_parameter = next((name for name, wanted in injected if wanted is Job), None)
        self.result_type = hints.get("return", Any)
        try:
            self._decode = msgspec.msgpack.Decoder(self.payload_type).decode
        except (TypeError, RuntimeError) as error:
            raise ConfigError(f"handler {self.name!r}: payload type can't be decoded: {error}", setting="handler") from error
        self._check_key("ordering_key", self.ordering_key)
        self._check_key("dedup_key", self.dedup_key)

    def decode(self, data: bytes) -> Any:
        """Raw msgpack -> payload.

        Raises:
            BadPayload: it does not fit the payload's type; the sentence names the field.
        """
        try:
            return self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadPayload(f"payload of {self.name!r} does not fit {_name(self.payload_type)}: {error}") from error

    def keys_of(self, payload: Any) -> tuple[str, str]:
        """Ordering key and dedup key of a payload, '' where there is none."""
        if self.ordering_key is None and self.dedup_key is None:
            return "", ""
        return _key(self.ordering_key, payload, "ordering key"), _key(self.dedup_key, payload, "dedup key")

    def resources_from(self, resources: Mapping[type, object]) -> dict[str, object]:
        """The parameters besides the payload and the job. One with a default is left to it when nothing fits.

        Raises:
            ConfigError: no lifespan resource of a type that the handler asks for.
        """
        found: dict[str, object] = {}
        for name, wanted in self.injected:
            if wanted is Job:
                continue
            value = resources.get(wanted)
            if value is None and isinstance(wanted, type):
                value = next((r for t, r in resources.items() if issubclass(t, wanted)), None)
            if value is not None:
                found[name] = value
            elif name not in self._optional:
                raise ConfigError(
                    f"handler {self.name!r} asks for a {_name(wanted)} ({name}), but no @engine.lifespan provides one",
                    setting="lifespan",
                )
        return found

    def _check_key(self, setting: str, key: KeyOf | None) -> None:
        whose = f"handler {self.name!r}: {setting}"
        if isinstance(key, str):
            if not key or not _has_field(self.payload_type, key):
                raise ConfigError(f"{whose}: payload {_name(self.payload_type)} has no field {shown(key)}", setting=setting)
        elif callable(key):
            why = why_no_function_of_one(key)
            if why is not None:
                raise ConfigError(f"{whose}: {shown(key)} can't be called with the payload to get a key: {why}", setting=setting)
        elif key is not None:
            raise ConfigError(f"{whose} is a field's name or a function of the payload, not {shown(key)}", setting=setting)

    def _injectable(self, parameter: str, wanted: Any) -> Any:
        if getattr(wanted, "_is_protocol", False) and not getattr(wanted, "_is_runtime_protocol", False):
            raise ConfigError(
                f"handler {self.name!r}: {parameter!r} is of protocol {_name(wanted)}, which can't be checked at run time: "
                "put @typing.runtime_checkable on it",
                setting="handler",
            )
        return wanted


def _parameters(fn: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """Those that a call can fill. ConfigError when `fn` is nothing that runs a job when called."""
    if not callable(fn):
        raise ConfigError(f"handler {name!r}: {shown(fn)} is no function", setting="handler")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigError(f"handler {name!r}: {_name(fn)} yields, so a call would not run it: return instead", setting="handler")
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError as error:
        raise ConfigError(f"handler {name!r}: {error}: wrap it in a function of its own", setting="handler") from None
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _hints(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    target = fn if inspect.isfunction(fn) or inspect.ismethod(fn) else getattr(fn, "__call__", fn)  # noqa: B004 - a callable object
    try:
        return typing.get_type_hints(target)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ConfigError(
            f"handler {name!r}: {error}; its annotations must be importable at module level", setting="handler"
        ) from error


def _plain(hint: Any) -> Any:
    """`X | None` -> X, for resources that may be declared optional."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arms = [a for a in typing.get_args(hint) if a is not type(None)]
        return arms[0] if len(arms) == 1 else hint
    return hint


def _has_field(payload_type: Any, name: str) -> bool:
    if isinstance(payload_type, type) and issubclass(payload_type, msgspec.Struct):
        return name in payload_type.__struct_fields__
    fields = getattr(payload_type, "__dataclass_fields__", None) or getattr(payload_type, "__annotations__", None)
    return not fields or name in fields  # Any and bare classes name none: whatever comes may have it


def _key(how: KeyOf | None, payload: Any, what: str) -> str:
    if how is None:
        return ""
    if callable(how):
        value = how(payload)
    elif isinstance(payload, Mapping):
        value = payload.get(how)
    else:
        value = getattr(payload, how, None)
    if value is None or value == "":
        return ""
    return check_key(value if isinstance(value, str) else str(value), what)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def rules_from(attempts: int | None, backoff: Backoff | None, policy: Policy | None, base: Rules | None = None) -> Rules:
    """Rules with what is given here, the rest from `base`."""
    base = base or Rules()
    if policy is not None and not isinstance(policy, Mapping):
        raise ConfigError(f"policy: {shown(policy)} is no mapping of exception classes to outcomes", setting="policy")
    for cls, meaning in (policy or {}).items():
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise ConfigError(f"policy: {shown(cls)} is no exception class", setting="policy")
        if isinstance(meaning, Outcome) or meaning in (Discard, PauseQueue):
            continue
        if not callable(meaning) or (isinstance(meaning, type) and issubclass(meaning, Outcome)):
            raise ConfigError(
                f"policy: {shown(meaning)} is no outcome (Retry(...), Snooze(...), Discard), and no backoff", setting="policy"
            )
        check_backoff(meaning, "policy")
    return Rules(
        attempts=base.attempts if attempts is None else attempts,
        backoff=base.backoff if backoff is None else check_backoff(backoff),
        policy=base.policy if policy is None else {**base.policy, **policy},
    )
