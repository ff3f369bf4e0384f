"""Settings: one frozen record, read from the environment once, checked as a whole, shown with its secrets hidden.

The rows are in `config_table`; here they become one record and are checked against each other. Nothing else in the
project reads the environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from .config_table import SETTINGS, misfit, read, show
from .errors import ConfigError
from .keys import shown
from .redis_url import RedisUrl, check_port, parse_redis_url, redact_url

__all__ = ["SETTINGS", "RedisUrl", "Settings", "load", "parse_redis_url", "redact_url"]

_REDIS = tuple(row.env for row in SETTINGS if row.field == "redis_url")
_KNOWN = tuple(row.env for row in SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Everything that can be set. Times are seconds, sizes bytes; None means not set. `repr` hides secrets.

    Raises:
        ConfigError: on construction, one sentence a line for every value that can't be. Mend all of them and start again.
    """

    redis_url: str | None = None
    env: Literal["development", "production"] = "development"
    app: str = "handlers:engine"
    lease: float = 10.0
    drain_timeout: float = 25.0  # under the 30 s that Docker and Kubernetes wait before they kill
    durability: Literal["memory", "process", "disk", "replicated"] | None = None
    max_payload: int = 256 * 1024
    max_memory: int | None = None
    data_dir: str = ".engine"
    log_format: Literal["auto", "human", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    enqueue_timeout: float = 5.0
    connect_timeout: float = 5.0
    socket_timeout: float = 5.0
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_insecure: bool = False
    worker_name: str | None = None
    slots: int | None = None

    def __post_init__(self) -> None:
        _raise(_faults({field.name: getattr(self, field.name) for field in dataclasses.fields(self)}))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from names and texts; a blank text counts as not set. Raises ConfigError with every problem at once."""
        given = {name: text.strip() for name, text in environ.items() if text.strip()}
        problems = _unknown(given)
        for name in [name for name in _KNOWN if not _is_text(given.get(name, ""))]:
            problems.append((name, f"{name} is not valid text: write it in UTF-8"))
            del given[name]
        values: dict[str, Any] = {}
        unread: set[str] = set()
        for row in SETTINGS:
            if row.env in given and row.field != "redis_url":
                try:
                    values[row.field] = read(row, given[row.env])
                except ValueError as error:
                    problems.append((row.env, f"{row.env} {error}"))
                    unread.add(row.field)
        url, url_problems = _redis_url(given, production=values.get("env") == "production")
        values["redis_url"] = url
        if url_problems:
            unread.add("redis_url")
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        _raise(
            problems + url_problems + _faults({name: value for name, value in (defaults | values).items() if name not in unread})
        )
        return cls(**values)

    @property
    def redis(self) -> RedisUrl | None:
        """`redis_url` in its parts; None means the embedded server."""
        return None if self.redis_url is None else parse_redis_url(self.redis_url)

    def shown(self) -> dict[str, str]:
        """Field -> value as people read it; no password, user or query of the address."""
        texts = {row.field: show(row, getattr(self, row.field)) for row in SETTINGS}
        texts["redis_url"] = f"embedded server in {self.data_dir}" if self.redis_url is None else redact_url(self.redis_url)
        return texts

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={text!r}' for name, text in self.shown().items())})"


def load() -> Settings:
    """Settings of this process's environment: the one place that reads it. Raises ConfigError."""
    return Settings.from_env(os.environ)


def _unknown(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """A sentence for each name that looks like ours and is not."""
    problems = []
    for name in sorted(given):
        if name in _KNOWN or _is_service_link(name, given[name]):
            continue
        if name.startswith("ENGINE_"):
            near = get_close_matches(name, _KNOWN, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists them all"
            problems.append((name, f"{_name(name)} is not a setting; {hint}"))
        elif name.startswith("REDIS_") and not {"REDIS_URL", "REDIS_HOST"} & given.keys():
            # Other programs have REDIS_ names of their own, so only a near miss counts, and only while ours are missing:
            # REDIS_HSOT alone would quietly start the embedded server.
            near = get_close_matches(name, _REDIS, n=1, cutoff=0.88)
            if near:
                problems.append((name, f"{_name(name)} is not a setting; did you mean {near[0]}?"))
    return problems


def _is_text(value: str) -> bool:
    """False for bytes of the environment that were no UTF-8; they could reach neither the server nor a log."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(name: str) -> str:
    """A name from the environment as it may stand in a sentence; most are plain."""
    return name if re.fullmatch(r"[A-Za-z0-9_]{1,60}", name) else shown(name)


_LINK = re.compile(
    r"(?:ENGINE|REDIS)_(?:.+_)?(?:SERVICE_(?:HOST|PORT(?:_.+)?)|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def _is_service_link(name: str, text: str) -> bool:
    """True for what Kubernetes and Docker links put into every container when a service is called `engine` or `redis`."""
    if not _LINK.fullmatch(name):
        return False
    return "_SERVICE_" in name or bool(re.search(r"_PORT_[0-9]+_", name)) or text.startswith(("tcp://", "udp://", "sctp://"))


# --- the address of Redis --------------------------------------------------------------------------------------------


def _redis_url(given: Mapping[str, str], *, production: bool) -> tuple[str | None, list[tuple[str, str]]]:
    """The address that REDIS_* names together, and what is wrong with them."""
    username, password = given.get("REDIS_USERNAME"), given.get("REDIS_PASSWORD")
    try:
        built = _from_parts(given, username, password, tls=production) if "REDIS_HOST" in given else None
        if "REDIS_URL" not in given:
            parts = ("REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD")
            lost = [name for name in parts if name in given and not _is_service_link(name, given[name])]
            if lost and built is None:
                raise ConfigError(f"{' and '.join(lost)} set without a server: set REDIS_HOST, or REDIS_URL", setting=lost[0])
            return (None if built is None else built.text()), []
        url = parse_redis_url(given["REDIS_URL"])
        merged = dataclasses.replace(url, username=url.username or username, password=url.password or password)
        if built is not None and built != merged:
            places = f"{redact_url(given['REDIS_URL'])} and {redact_url(built.text())}"
            raise ConfigError(
                f"REDIS_URL and REDIS_HOST are both set and differ ({places}): keep one of them", setting="REDIS_URL"
            )
        for name, part, other in (("REDIS_USERNAME", url.username, username), ("REDIS_PASSWORD", url.password, password)):
            if part and other and part != other:
                raise ConfigError(f"REDIS_URL and {name} hold different log-ins: keep one of them", setting=name)
        return given["REDIS_URL"] if merged == url else merged.text(), []
    except ConfigError as error:
        return None, [(error.setting, str(error))]


def _from_parts(given: Mapping[str, str], username: str | None, password: str | None, *, tls: bool) -> RedisUrl:
    host, port = given["REDIS_HOST"], given.get("REDIS_PORT", "6379")
    if re.search(r"[/@?#]", host):
        raise ConfigError("REDIS_HOST is a host name only: put an address with :// into REDIS_URL", setting="REDIS_HOST")
    if host.count(":") == 1:
        raise ConfigError(
            f"REDIS_HOST is {shown(host)}, a host name and more: put the port into REDIS_PORT", setting="REDIS_HOST"
        )
    if _is_service_link("REDIS_PORT", port):
        port = port.rpartition(":")[2]  # tcp://10.0.0.1:6379, from a Kubernetes service called redis
    try:
        number = check_port(port)
    except ValueError:
        raise ConfigError(f"REDIS_PORT is {shown(port)}: a port is a number from 1 to 65535", setting="REDIS_PORT") from None
    checked = parse_redis_url(f"redis://[{host.strip('[]')}]" if ":" in host else f"redis://{host}", setting="REDIS_HOST")
    return RedisUrl("single", tls, ((checked.hosts[0][0], number),), username=username, password=password)


# --- the whole -------------------------------------------------------------------------------------------------------


def _faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with these values, one by one and together; a field that is missing was reported already."""
    problems = []
    for row in SETTINGS:
        value = values.get(row.field)
        if row.field != "redis_url" and value is not None and (problem := misfit(row, value)):
            problems.append((row.env, f"{row.env} {problem}"))
    if "redis_url" in values:
        try:
            problems += _address_faults(values["redis_url"], values)
        except ConfigError as error:
            problems.append((error.setting, str(error)))
    if "tls_cert" in values and "tls_key" in values and (values["tls_cert"] is None) != (values["tls_key"] is None):
        problems.append(("ENGINE_TLS_CERT", "ENGINE_TLS_CERT and ENGINE_TLS_KEY belong together: set both or neither"))
    for name in ("tls_ca", "tls_cert", "tls_key"):
        if (file := values.get(name)) is not None and not Path(file).is_file():
            problems.append((f"ENGINE_{name.upper()}", f"ENGINE_{name.upper()} names the file {shown(file)}, which is not there"))
    return problems


def _address_faults(url: str | None, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    if url is None:
        if values.get("env") == "production":
            missing = (
                "neither REDIS_URL nor REDIS_HOST is set, and ENGINE_ENV=production starts no embedded server: set one of them"
            )
            return [("REDIS_URL", missing)]
        return []
    parts = parse_redis_url(url)
    problems = []
    if parts.username and not parts.password:
        fix = "set REDIS_PASSWORD, or write redis://:PASSWORD@HOST when that is the password"
        problems.append(("REDIS_URL", f"REDIS_URL ({redact_url(url)}) has a user but no password: {fix}"))
    if parts.tls and not parts.checks_certificates() and not values.get("tls_insecure"):
        risk = "so anybody on the way could pose as the server: name its authority in ENGINE_TLS_CA, "
        risk += "or set ENGINE_TLS_INSECURE_I_KNOW=1"
        problems.append(("REDIS_URL", f"REDIS_URL ({redact_url(url)}) switches certificate checks off, {risk}"))
    if not parts.tls and (parts.options_for_tls() or any(values.get(name) for name in ("tls_ca", "tls_cert", "tls_key"))):
        problems.append(
            ("REDIS_URL", f"REDIS_URL ({redact_url(url)}) is without TLS, but TLS files or options are set: write rediss://")
        )
    return problems


def _raise(problems: list[tuple[str, str]]) -> None:
    if problems:
        raise ConfigError("\n".join(sentence for _, sentence in problems), setting=problems[0][0])
