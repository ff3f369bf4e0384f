"""Redis addresses: one URL taken apart, checked, and shown without its secrets.

`redis://` and `rediss://` (TLS) name one server, `unix://` a socket, `redis+sentinel://` the sentinels and the service
they watch, `redis+cluster://` some nodes of a cluster (`rediss+...` for either over TLS). Pure; connecting is the store's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

from .errors import ConfigError
from .keys import shown
from .masking import DOTS

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
"""The log-in at the sentinels, which is another than the server's."""
OPTIONS = (
    *("db", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "protocol", "client_name"),
    *SENTINEL_OPTIONS,
)
"""What may follow the `?`. Others would reach the client library as unknown arguments and fail far from their cause."""

_MAX_DB = 9_999
_VALUES = {"ssl_cert_reqs": ("required", "optional", "none"), "ssl_check_hostname": ("true", "false"), "protocol": ("3",)}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]")
_ENCODE = "a password with / ? # @ : or % in it must be percent-encoded"

Topology = Literal["single", "unix", "sentinel", "cluster"]


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """An address in its parts; equal when they lead to the same place with the same log-in. `repr` hides the secrets."""

    topology: Topology
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    """(host, port); IPv6 without brackets. Several for sentinels and clusters, none for a socket."""
    path: str = ""
    """File of the socket."""
    service: str = ""
    """What the sentinels call the primary."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def text(self) -> str:
        """As one URL again, secrets included."""
        scheme = "unix" if self.topology == "unix" else ("rediss" if self.tls else "redis")
        if self.topology in ("sentinel", "cluster"):
            scheme += f"+{self.topology}"
        login = ""
        if self.username is not None or self.password is not None:
            login = (
                quote(self.username or "", safe="") + ("" if self.password is None else ":" + quote(self.password, safe="")) + "@"
            )
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        query = [f"{name}={quote(value, safe='/')}" for name, value in self.options]
        path = {"unix": quote(self.path), "sentinel": f"/{quote(self.service)}/{self.db}"}.get(self.topology, f"/{self.db}")
        if self.topology == "unix" and self.db:
            query.insert(0, f"db={self.db}")
        return f"{scheme}://{login}{hosts}{path}" + (f"?{'&'.join(query)}" if query else "")

    def checks_certificates(self) -> bool:
        """False when an option switches off what TLS is for: knowing whom one talks to."""
        return not {("ssl_cert_reqs", "none"), ("ssl_check_hostname", "false")} & set(self.options)

    def options_for_tls(self) -> list[str]:
        """Options that only mean something with TLS."""
        return [name for name, _ in self.options if name.startswith("ssl_")]


_HOSTS = re.compile(r"(?:(?:\[[0-9A-Fa-f:.]*\]|[^:\[\],]+)(?::[0-9]{1,5})?(?:,|\Z))*")
"""Hosts, each with its port or without; none at all is for the parser to refuse."""


def redact_url(url: str) -> str:
    """`url` for logs and pages: log-in and query hidden. Never raises, whatever it is given.

    >>> redact_url("rediss://app:s3cret@redis.example:6379/0?ssl_ca_certs=/ca.pem")
    'rediss://•••@redis.example:6379/0?•••'
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        return DOTS
    if re.search(r"[?#].*@", rest, re.DOTALL):  # a password with ? in it, or a query with @ in it: nobody can tell
        return f"{scheme}://{DOTS}"
    plain, *query = re.split(r"[?#]", rest, maxsplit=1)
    if "@" in plain:  # the last one: an unescaped / or @ in a password must not show half of it
        plain = f"{DOTS}@{plain.rpartition('@')[2]}"
    elif scheme != "unix" and not _HOSTS.fullmatch(plain.partition("/")[0]):  # a password whose @host was forgotten, it may be
        return f"{scheme}://{DOTS}"
    return f"{scheme}://{plain}" + (f"?{DOTS}" if query else "")


def parse_redis_url(url: str, setting: str = "REDIS_URL") -> RedisUrl:
    """Take an address apart and check every part.

    Raises:
        ConfigError: what is wrong with it, without its secrets. Mend `setting` and start again.
    """

    def wrong(problem: str) -> ConfigError:
        return ConfigError(f"{setting} ({shown(redact_url(url), 120)}) {problem}", setting=setting)

    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong("has a space, a control character or a character outside ASCII: percent-encode it")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        near = get_close_matches(scheme.lower(), SCHEMES, n=1) if separator else []
        raise wrong(
            f"must begin with {', '.join(f'{name}://' for name in SCHEMES)}" + (f"; did you mean {near[0]}://?" if near else "")
        )
    if "#" in rest or "@" in rest.partition("?")[2] or "@" in rest.partition("/")[2].partition("?")[0]:
        raise wrong(f"can't be read: {_ENCODE}")
    family, _, kind = scheme.partition("+")
    before, _, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    login, at, places = authority.rpartition("@")
    username, password = _login(login) if at else (None, None)
    topology: Topology = (
        "unix" if family == "unix" else "sentinel" if kind == "sentinel" else "cluster" if kind == "cluster" else "single"
    )
    try:
        options, option_db = _options(query)
        if topology != "sentinel" and (stray := [name for name, _ in options if name in SENTINEL_OPTIONS]):
            raise ValueError(f"has the option {stray[0]}, which is for redis+sentinel://: remove it")
        file, service, db = _path(topology, slash + path, option_db)
        hosts = _hosts(topology, places)
    except ValueError as problem:
        raise wrong(str(problem)) from None
    return RedisUrl(topology, family == "rediss", hosts, file, service, db, username, password, options)


def _login(login: str) -> tuple[str | None, str | None]:
    name, colon, password = login.partition(":")
    return (unquote(name) or None), (unquote(password) or None) if colon else None


def _hosts(topology: Topology, places: str) -> tuple[tuple[str, int], ...]:
    if topology == "unix":
        if places:
            raise ValueError("names a host before the path of the socket: write unix:///path/to/socket, with three slashes")
        return ()
    many = places.split(",")
    if topology == "single" and len(many) > 1:
        raise ValueError("names several hosts: for sentinels write redis+sentinel://, for a cluster redis+cluster://")
    return tuple(_host(place, 26379 if topology == "sentinel" else 6379) for place in many)


def _host(place: str, default_port: int) -> tuple[str, int]:
    bracketed, bracket, after = place.partition("]")
    host, colon, port = (bracketed + bracket, after[:1], after[1:]) if bracket else place.partition(":")
    if ":" in port or (bracket and colon not in ("", ":")):
        raise ValueError(f"has a host that can't be read: write IPv6 as [::1]:6379; {_ENCODE}")
    if not host:
        raise ValueError("names no host: write redis://HOST:6379/0")
    if not _HOST.fullmatch(host):
        raise ValueError(f"has the host {shown(host)}, which is no host name or address")
    if not colon or not port:
        return host.strip("[]"), default_port
    return host.strip("[]"), check_port(port)


def check_port(text: str) -> int:
    """A TCP port; ValueError with the rest of a sentence otherwise."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        # Not shown: with an unescaped / in a password, what looks like a port is half of it.
        raise ValueError(f"has a port that is not a number from 1 to 65535; {_ENCODE}")
    return int(text)


def _path(topology: Topology, path: str, option_db: int | None) -> tuple[str, str, int]:
    """(file of the socket, service, database) of the path."""
    if topology == "unix":
        if len(path) < 2:
            raise ValueError("names no socket: write unix:///path/to/socket")
        return unquote(path), "", option_db or 0
    steps = [unquote(step) for step in path.strip("/").split("/") if step]
    service = ""
    if topology == "sentinel":
        if not steps:
            raise ValueError(
                "names no service: write redis+sentinel://HOST:26379/SERVICE, where SERVICE is what the sentinels watch"
            )
        service = steps.pop(0)
    if len(steps) > 1:
        raise ValueError("has more than a database number behind the host")
    db = _database(steps[0]) if steps else option_db or 0
    if option_db is not None and db != option_db:
        raise ValueError(f"names database {db} in its path and {option_db} behind the ?: keep one")
    if topology == "cluster" and db:
        raise ValueError(f"names database {db}, but a cluster only has database 0")
    return "", service, db


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > _MAX_DB:
        raise ValueError("has a database that is not a number such as 0: write redis://HOST:6379/0")
    return int(text)


def _options(query: str) -> tuple[tuple[tuple[str, str], ...], int | None]:
    """(options except db, sorted, and db)."""
    pairs = parse_qsl(query, keep_blank_values=True)
    db: int | None = None
    seen: dict[str, str] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            near = get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(OPTIONS)}; time limits are ENGINE_ settings"
            raise ValueError(f"has the option {shown(name)}, which is not known; {hint}")
        if name in seen or (name == "db" and db is not None):
            raise ValueError(f"has the option {name} twice")
        if name == "db":
            db = _database(value)
        elif value.lower() not in _VALUES.get(name, (value.lower(),)):
            raise ValueError(f"has {name}={shown(value)}: it is one of {', '.join(_VALUES[name])}")
        else:
            seen[name] = value.lower() if name in _VALUES else value
    return tuple(sorted(seen.items())), db
