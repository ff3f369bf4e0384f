"""Audit: walks every structure of a queue, a page at a time, and has each row compared with the others at one instant.

A page is read, then its rows are examined by one script, so a job that moves meanwhile is never taken for a fault. Only the
examination can change anything, and only when it is asked to mend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import IntEnum, StrEnum

import msgspec

from ..keys import GROUP, prefix
from .acts import NOTES_MS
from .base import text
from .pages import PageVerbs
from .replies import entries

PAGE = 200
"""Rows read in one call."""

BITE = 40
"""Rows examined in one script: more would take it over 2 ms."""

STREAMS = "A1B2C3D4E5F6G7H8I9s"
"""Every ready stream a queue may have; `tags` in `meta` names those that are served."""

TYPES: dict[str, str] = {
    **dict.fromkeys(("meta", "metrics", "jobs", "where", "keys", "dedup:", "flags", "notes:", "workers"), "hash"),
    **dict.fromkeys(("scheduled", "retrying", "line:", "noted"), "zset"),
    **dict.fromkeys(("ready:", "bell", "control", "blocked", "dead", "done", "settled", "events"), "stream"),
}
"""Suffix of a key, or family of keys -> the type that the engine gave it."""

FIELDS = ("ms", "seq", "tags", "paused", "beat", "done_kept")
"""Fields of `meta` that scripts go by and that no counter of the law is."""


class Kind(StrEnum):
    """What a row is asked; the letter is the script's."""

    META = "m"
    UNSERVED = "s"
    GROUP = "g"
    PENDING = "p"
    READDED = "e"
    TIMED = "t"
    WHERE = "w"
    HELD = "h"
    BLOCKED = "b"
    KEY = "k"
    FLAG = "f"
    NOTES = "n"
    COUNTERS = "c"


class Verdict(IntEnum):
    """What became of a row."""

    SOUND = 0
    WRONG = 1
    MENDED = 2


class Row(msgspec.Struct, frozen=True):
    """One row to examine: a job id, an entry, a key, a field, as its kind has it."""

    kind: Kind
    about: str


class AuditVerbs(PageVerbs):
    """The verbs of the auditor. Errors of all of them as `Wire.call`; repeating is safe."""

    async def examine(self, queue: str, rows: Sequence[Row], *, mend: bool = False) -> list[Verdict]:
        """Compare each row with the rest of the queue; with `mend`, put right what is wrong. BITE rows a call at most.

        Redis: lua/mend.lua.
        """
        flat = [part for row in rows for part in (row.kind.value, row.about)]
        return [Verdict(answer) for answer in await self._run("mend", queue, int(mend), NOTES_MS, *flat)]

    async def foreign(self, queue: str, names: Sequence[str]) -> list[str]:
        """Those of the keys, by what stands behind the prefix, that hold another type than the engine's; `dedup:` asks for its
        whole family. Redis: lua/foreign.lua."""
        typed = [part for name in names for part in (TYPES.get(name) or TYPES[f"{name.partition(':')[0]}:"], name)]
        return [text(name) for name in await self._run("foreign", queue, *typed)] if typed else []

    async def foreign_keys(self, queue: str, *, most: int) -> AsyncIterator[str]:
        """All such keys of a queue. Of `line:` and `notes:`, which are as many as there are ordering keys and jobs with notes,
        about `most` each are looked at."""
        single = [name for name in TYPES if name[-1] != ":" or name == "dedup:"] + [f"ready:{tag}" for tag in STREAMS]
        usurped = await self.foreign(queue, single)
        for name in usurped:
            yield name
        for command, index, family in (("HSCAN", "keys", "line:"), ("ZSCAN", "noted", "notes:")):
            if index in usurped:
                continue
            seen = 0
            async for page in self._scanned(queue, command, index, Kind.KEY):
                for name in await self.foreign(queue, [family + row.about for row in page]):
                    yield name
                seen += len(page)
                if seen >= most:
                    break

    async def rows(self, queue: str, *, most: int, mend: bool = False) -> AsyncIterator[list[Row]]:
        """The rows of a queue that may contradict one another, in bites, in the order in which they must be mended: what
        a later kind is judged by comes first. At most about `most` of each structure; but to `mend` by, whoever must hold an
        ordering key is looked for among all: a key that seems free is given away."""
        yield [Row(Kind.META, field) for field in FIELDS]
        yield [Row(Kind.UNSERVED, tag) for tag in STREAMS]
        tags = await self.tags(queue)
        if served := [Row(Kind.GROUP, tag) for tag in STREAMS if tag in tags]:
            yield served
        for pages in (
            *(self._pending(queue, tag) for tag in STREAMS),
            *(self._in_line(queue, tag) for tag in STREAMS),
            self._scanned(queue, "ZSCAN", "scheduled", Kind.TIMED),
            self._scanned(queue, "ZSCAN", "retrying", Kind.TIMED),
            self._scanned(queue, "HSCAN", "jobs", Kind.TIMED),
            self._scanned(queue, "HSCAN", "where", Kind.WHERE),
            self._delayed(queue, most=10**12 if mend else most),
            self._behind(queue),
            self._scanned(queue, "HSCAN", "keys", Kind.KEY),
            self._scanned(queue, "HSCAN", "flags", Kind.FLAG),
            self._scanned(queue, "ZSCAN", "noted", Kind.NOTES),
        ):
            seen = 0
            async for page in pages:
                for at in range(0, len(page), BITE):
                    yield page[at : at + BITE]
                seen += len(page)
                if seen >= most and not (mend and page[0].kind in (Kind.READDED, Kind.HELD)):
                    break

    async def _scanned(self, queue: str, command: str, name: str, kind: Kind) -> AsyncIterator[list[Row]]:
        """A hash or sorted set, by cursor: a member may come twice, and one that is there throughout always comes."""
        cursor = "0"
        while True:
            found = await self.link.call(command, prefix(queue) + name, cursor, "COUNT", PAGE, queue=queue)
            cursor = text(found[0])
            yield [Row(kind, text(member)) for member in found[1][::2]]
            if cursor == "0":
                return

    async def _pending(self, queue: str, tag: str) -> AsyncIterator[list[Row]]:
        """Every entry that a worker holds."""
        stream, start = f"{prefix(queue)}ready:{tag}", "-"
        if await self.delivered(queue, tag) is None:
            return
        while found := await self.link.call("XPENDING", stream, GROUP, start, "+", PAGE, queue=queue):
            yield [Row(Kind.PENDING, f"{tag}:{text(row[0])}") for row in found]
            start = f"({text(found[-1][0])}"

    async def _in_line(self, queue: str, tag: str) -> AsyncIterator[list[Row]]:
        """Entries whose job has another id than theirs; a fresh one is in no other structure. And those with an ordering key: who
        waits or runs must hold it."""
        async for page in self._entries(queue, f"ready:{tag}"):
            for kind, asked in ((Kind.READDED, _has_id), (Kind.HELD, _has_key)):
                if rows := [Row(kind, f"{tag}:{entry}") for entry, value in page if asked(value)]:
                    yield rows

    async def _delayed(self, queue: str, *, most: int) -> AsyncIterator[list[Row]]:
        """Jobs that keep their ordering key until they run again: snoozed and retrying ones, by `most` rows of `where` or all."""
        cursor, seen = "0", 0
        while seen < most:
            found = await self.link.call("HSCAN", prefix(queue) + "where", cursor, "COUNT", PAGE, queue=queue)
            cursor, rows = text(found[0]), found[1]
            if held := [
                Row(Kind.HELD, text(job_id)) for job_id, row in zip(rows[::2], rows[1::2], strict=True) if row in (b"z", b"t")
            ]:
                yield held
            seen += len(rows) // 2
            if cursor == "0":
                return

    async def _behind(self, queue: str) -> AsyncIterator[list[Row]]:
        async for page in self._entries(queue, "blocked"):
            yield [Row(Kind.BLOCKED, entry) for entry, _ in page]

    async def _entries(self, queue: str, name: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        start = "-"
        while found := entries(await self.link.call("XRANGE", prefix(queue) + name, start, "+", "COUNT", PAGE, queue=queue)):
            yield [(entry, fields.get("j", b"")) for entry, fields in found]
            start = f"({found[-1][0]}"


def _has_id(envelope: bytes) -> bool:
    """True for the envelope of a job that was added again: its id stands in the header."""
    parts = envelope.split(b";", 4)
    return len(parts) == 5 and parts[3] != b""


def _has_key(envelope: bytes) -> bool:
    """True for the envelope of a job with an ordering key: its header says how long that is."""
    parts = envelope.split(b";", 5)
    return len(parts) == 6 and parts[4] not in (b"", b"0")
