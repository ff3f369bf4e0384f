"""Rights: what a server's user needs for each role, told from the scripts themselves, so that it is never out of date.

A script runs with the rights of whoever calls it. So a user that may only enqueue needs what `enqueue.lua` calls, and no more.
"""

from __future__ import annotations

from typing import Literal

from .base import Verbs, denied
from .needs import FAMILIES, called_by, samples
from .scripts import names

Role = Literal["producer", "worker", "web"]

ROLES: tuple[Role, ...] = ("producer", "worker", "web")

_PRODUCING = ("enqueue", "await_end")
_NOT_FOR_WORKERS = ("remove", "requeue", "hasten", "obliterate", "mend", "foreign", "inspect")
_NOT_FOR_WEB = ("step", "renew", "reclaim", "heartbeat", "note", "recall")

_GREETING = ("PING", "HELLO", "AUTH", "SELECT", "CLIENT SETNAME", "EVALSHA", "SCRIPT LOAD", "TIME", "INFO")
"""What every connection says, and what is asked before the first job: version and durability class."""
_WITHOUT = ("CONFIG GET",)
"""Asked, and gone without where it is refused: the durability class is then what INFO tells."""
_RESULTS = ("XREAD", "HGET", "ZMSCORE", "XRANGE", "XREVRANGE", "HSETNX")
"""To wait for a job's end and to make a queue known."""
_LOOKS = (
    *("EXISTS", "HDEL", "HGETALL", "HKEYS", "HMGET", "HSCAN", "XINFO", "XLEN", "XPENDING"),
    *("ZCOUNT", "ZRANGE", "ZRANK", "ZSCAN"),
)
"""What pages and counts ask for without a script."""

_SHOWN = ("HELLO", "AUTH", "SELECT", "EVALSHA")
"""That they are allowed shows in our being connected, and in the script's answer."""


def commands(role: Role) -> frozenset[str]:
    """The commands a user of that role calls, `XGROUP CREATE` for one of a family."""
    scripts: tuple[str, ...] = _PRODUCING
    direct: tuple[str, ...] = (*_GREETING, *_RESULTS)
    if role == "worker":
        scripts = tuple(name for name in names() if name not in _NOT_FOR_WORKERS)
        direct += ("HMGET", "XLEN")
    if role == "web":
        scripts = tuple(name for name in names() if name not in _NOT_FOR_WEB)
        direct += _LOOKS
    called = {command for name in scripts for command in called_by(name)}
    families = {one for one in direct if one in FAMILIES}
    return frozenset({one for one in called if one.split()[0] not in families} | set(direct))


def rules(role: Role) -> str:
    """Those rights as words of an ACL, for `ACL SETUSER` or a line of an ACL file; the password is the reader's to add."""
    allowed = sorted(f"+{one.lower().replace(' ', '|')}" for one in (*commands(role), *_WITHOUT))
    return f"resetchannels resetkeys ~engine:* -@all {' '.join(allowed)}"


class RightsVerbs(Verbs):
    """What our own user may do."""

    async def missing_rights(self, role: Role = "worker", queue: str = "any") -> list[str]:
        """The commands of that role that the server would refuse us, sorted. Errors as `Wire.call`."""
        return await self.refused(queue, samples(commands(role) - {*_SHOWN}))

    async def check_rights(self, role: Role, queue: str) -> None:
        """Raises StoreDenied when the server would refuse us a command of that role; other errors as `Wire.call`."""
        missing = await self.missing_rights(role, queue)
        if missing:
            raise denied(self.link.where, missing, f"a {role} needs")
