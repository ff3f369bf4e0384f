"""Structures: what docs/keys.md says of rows, lines and streams is so. What breaks here loses or wedges a job later."""

from __future__ import annotations

from collections import Counter

from ..kept import Kept, QueueData, Stream, id_order
from ..story import Story
from .found import Found

HOLDING = frozenset({"waiting", "active", "retrying"})


def structures_agree(story: Story, found: Found) -> None:
    """Every row has its job and every job its rows; a key is held by one living job of it; entries are waiting or pending."""
    for data in story.evidence.queues.values():
        live = {kept.id: kept for kept in data.jobs if kept.state not in ("completed", "cancelled", "dead")}
        found.look(len(data.jobs) + len(data.where) + len(data.keys) + len(data.flags) + len(data.noted))
        for stray in data.strays:
            found.against(data.name, stray)
        _streams(data, found)
        _where(data, found)
        _timed(data, found)
        _keys(data, live, found)
        _leftovers(data, live, found)


def _streams(data: QueueData, found: Found) -> None:
    for stream in data.streams:
        if stream.entries and not stream.is_known:
            found.against(f"{data.name} ready:{stream.tag}", f"{stream.entries} entries where no worker looks")
        if stream.entries and not stream.has_group:
            found.against(f"{data.name} ready:{stream.tag}", f"{stream.entries} entries and no group")
        _entries(data, stream, found)


def _entries(data: QueueData, stream: Stream, found: Found) -> None:
    there = {kept.entry: kept for kept in data.jobs if kept.state in ("waiting", "active") and kept.tag == stream.tag}
    for entry, kept in there.items():
        if kept.state == "waiting" and id_order(entry) <= id_order(stream.delivered):
            found.against(kept.job, f"entry {entry} of ready:{stream.tag} was given out and is nobody's: it will never run")
    for entry, worker in stream.pending.items():
        if entry not in there:
            found.against(f"{data.name} ready:{stream.tag}", f"entry {entry} is pending for {worker} and not in the stream")


def _where(data: QueueData, found: Found) -> None:
    wanted = {kept.id: kept for kept in data.jobs if kept.place}
    for job, row in data.where.items():
        kept = wanted.get(job)
        if kept is None:
            found.against(f"{data.name}/{job}", f"`where` has it at {row}, where it is not")
        elif row != kept.place and not (kept.place == "s or z" and row in ("s", "z")):
            found.against(kept.job, f"`where` has it at {row}, it is at {kept.place}")
    for job in wanted.keys() - data.where.keys():
        found.against(f"{data.name}/{job}", f"it is at {wanted[job].place} and `where` has no row of it")


def _timed(data: QueueData, found: Found) -> None:
    timed = {kept.id for kept in data.jobs if kept.state in ("scheduled", "retrying")}
    for job in data.rows - timed:
        found.against(f"{data.name}/{job}", "its envelope is in `jobs` and it waits for no time: it will never run")


def _keys(data: QueueData, live: dict[str, Kept], found: Found) -> None:
    blocked = {kept.entry: kept for kept in data.jobs if kept.state == "blocked"}
    named: Counter[str] = Counter()
    for key, line in data.keys.items():
        name = f"{data.name} key {key}"
        holder = live.get(line.holder)
        if holder is None or holder.key != key or not _may_hold(data, holder):
            state = f"{holder.state}, key {holder.key!r}" if holder else "not there"
            found.against(name, f"it is held by {line.holder or 'nobody'} ({state}), {len(line.waiting)} wait")
        if line.is_listed != (line.listed > 0):
            found.against(name, f"its list has {line.listed}, its row says that there is {'one' if line.is_listed else 'none'}")
        for entry in line.waiting:
            named[entry] += 1
            if entry not in blocked or blocked[entry].key != key:
                found.against(name, f"entry {entry} stands in its line and does not wait for it")
    for entry, kept in blocked.items():
        if named[entry] != 1:
            found.against(kept.job, f"it is blocked and stands {named[entry]} times in a line")
    for kept in live.values():
        if kept.key and _may_hold(data, kept) and (kept.key not in data.keys or data.keys[kept.key].holder != kept.id):
            holder_id = data.keys[kept.key].holder if kept.key in data.keys else "nobody"
            found.against(kept.job, f"it is {kept.state} and its key {kept.key!r} is held by {holder_id}")


def _may_hold(data: QueueData, kept: Kept) -> bool:
    """A snoozed job keeps its key, a delayed one has none yet; both are scheduled."""
    return kept.state in HOLDING or (kept.state == "scheduled" and data.where.get(kept.id) == "z")


def _leftovers(data: QueueData, live: dict[str, Kept], found: Found) -> None:
    for flag in data.flags:
        if flag[1:] not in live:
            found.against(f"{data.name}/{flag[1:]}", f"flag {flag[:1]} of a job that has ended")
    for job, until in data.noted.items():
        if until == float("inf") and job not in live:
            found.against(f"{data.name}/{job}", "its notes are kept for ever, and it has ended")
    if data.number("done_kept") != sum(kept.state in ("completed", "cancelled") for kept in data.jobs):
        found.against(data.name, f"done_kept is {data.number('done_kept')}, and that is not what `done` holds")
