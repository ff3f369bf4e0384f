"""Change laws: what one call may have changed between two looks, and what it must have answered.

A call says which jobs it may move and where to (`Change`); everything else must stay where it was, but for the next in line of a
key whose holder has left. This is a claim about each verb on its own, so it holds in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.store.producing import Entry
from engine.store.rows import id_order

from .facts import LIVE, Facts, Spot
from .state_laws import LawBroken

RANKS = "A1B2C3D4E5F6G7H8I9"


@dataclass
class Change:
    """What a call may do."""

    what: str
    """The call, for sentences."""
    may: dict[str, frozenset[str]] = field(default_factory=dict)
    """Job id -> the states it may be in afterwards ('-': nowhere)."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Job id -> its attempt afterwards, where that is another one than before."""
    stalls: dict[str, int] = field(default_factory=dict)
    """The same of its stalls."""
    dues: dict[str, int] = field(default_factory=dict)
    """Job id -> when it must be due."""
    tags: dict[str, str] = field(default_factory=dict)
    """Job id -> the stream it waits in afterwards, where that is not its priority's."""
    asked: str = ""
    """Whose cancel must be known afterwards."""
    refused: list[str] = field(default_factory=list)
    """Entries whose settle must be refused."""
    claimer: str = ""
    """The worker that may take what waits."""
    most: int = 0
    """How much of it."""
    fresh: tuple[Entry, int] | None = None
    """The job that must be new afterwards, and the server's clock."""
    is_still: bool = False
    """Nothing whatever may change: the call was done before, or refused."""
    or_not: bool = False
    """It was cut off before its end: as much of it may have happened as leaves a lawful state."""
    is_refused: bool = False
    """The server said no; the call is owed."""
    is_group_lost: bool = False
    """What was claimed waits again, because the group that knew who had it is gone."""


def check_change(before: Facts, after: Facts, change: Change) -> None:
    """LawBroken when more happened than the call may do."""
    if change.is_still:
        if before is not after:  # an equal look is the same object
            raise LawBroken(f"{change.what} must change nothing, and did: {_differences(before, after)}")
        return
    if change.or_not:
        return
    fresh = [job_id for job_id in after.spots if job_id not in before.spots]
    if len(fresh) != (change.fresh is not None):
        raise LawBroken(f"{change.what} must add {int(change.fresh is not None)} jobs, and added {len(fresh)}")
    if change.fresh is not None:
        _check_fresh(after.spots[fresh[0]][0], *change.fresh, change)
    taken: list[Spot] = []
    for job_id, places in before.spots.items():
        _check_job(before, after, change, job_id, places[0], taken)
    if change.asked and f"c{change.asked}" not in after.flags:
        raise LawBroken(f"{change.what}: nobody will know that the cancel of {change.asked} was asked")
    _check_claims(after, change, taken)
    _check_ends(before, after, change)
    check_lines(before, after, change.what)


def _check_job(before: Facts, after: Facts, change: Change, job_id: str, was: Spot, taken: list[Spot]) -> None:
    now = after.spot(job_id)
    state = now.state if now else "-"
    if not _is_moved(before, after, change, job_id, was, state):
        raise LawBroken(f"{change.what}: {job_id} went from {was.state} to {state}")
    if now is None:
        return
    if was.state == state == "active" and (now.entry, now.owner) != (was.entry, was.owner) and job_id not in change.may:
        raise LawBroken(f"{change.what}: the lease of {job_id} went from {was.owner} to {now.owner}")
    if was.state == state and state in ("waiting", "blocked", "dead") and now.entry != was.entry and job_id not in change.may:
        raise LawBroken(f"{change.what}: {job_id} got another entry while {state}")
    if state == "active" and (was.state != "active" or now.entry != was.entry):
        taken.append(now)
    _check_envelope(change, job_id, was, now)


def _is_moved(before: Facts, after: Facts, change: Change, job_id: str, was: Spot, state: str) -> bool:
    allowed = change.may.get(job_id)
    if allowed is not None:
        return state in allowed or (state == "active" and "waiting" in allowed and bool(change.claimer))
    if state == was.state:
        return True
    if change.is_group_lost and was.state == "active":
        return state == "waiting"
    if was.state == "waiting":
        return state == "active" and bool(change.claimer)
    if was.state == "blocked" and (state == "waiting" or (state == "active" and change.claimer)):
        return after.state(before.lines[was.key].holder) not in LIVE
    return False


def _check_envelope(change: Change, job_id: str, was: Spot, now: Spot) -> None:
    attempt = change.attempts.get(job_id, was.attempt)
    if now.attempt != attempt:
        raise LawBroken(f"{change.what}: {job_id} is at attempt {now.attempt}, and {attempt} is the truth")
    if now.state not in (*LIVE, "dead"):
        return  # its record keeps no envelope
    stalls = change.stalls.get(job_id, was.stalls) if now.entry != was.entry else was.stalls
    if now.stalls != stalls:
        raise LawBroken(f"{change.what}: {job_id} has {now.stalls} stalls, and {stalls} is the truth")
    if job_id in change.dues and now.due_ms != change.dues[job_id]:
        raise LawBroken(f"{change.what}: {job_id} is due at {now.due_ms}, and {change.dues[job_id]} is the truth")
    tag = change.tags.get(job_id, was.priority)
    if now.entry != was.entry and now.state in ("waiting", "active") and now.tag != tag:
        raise LawBroken(f"{change.what}: {job_id} waits in stream {now.tag}, and {tag} is its place")
    if (now.key, now.priority, now.body) != (was.key, was.priority, was.body):
        raise LawBroken(f"{change.what}: {job_id} is not what was enqueued any more: {was} became {now}")


def _check_fresh(spot: Spot, entry: Entry, now_ms: int, change: Change) -> None:
    wanted = (1, 0, str(entry.priority), entry.ordering_key, entry.body, now_ms + entry.delay_ms if entry.delay_ms else 0)
    states = ("scheduled",) if entry.delay_ms else ("waiting", "blocked")
    if (spot.attempt, spot.stalls, spot.priority, spot.key, spot.body, spot.due_ms) != wanted or spot.state not in states:
        raise LawBroken(f"{change.what}: {entry} became {spot}")


def _check_claims(after: Facts, change: Change, taken: list[Spot]) -> None:
    """Who claims gets what he asked for, of what comes first, unless nobody may; a suspect comes alone."""
    if not taken:
        return
    if len(taken) > change.most:
        raise LawBroken(f"{change.what}: {len(taken)} claimed, at most {change.most} may be given out")
    if {spot.owner for spot in taken} != {change.claimer}:
        raise LawBroken(f"{change.what}: claimed for {sorted({spot.owner for spot in taken})}")
    if any(spot.tag == "s" for spot in taken):
        beside = sum(owner == change.claimer for owner, _, _ in after.pending.values()) - 1
        if beside:
            raise LawBroken(f"{change.what}: a suspect does not run alone, its worker holds {beside} beside it")
        return
    left = [RANKS.index(s.tag) for places in after.spots.values() for s in places if s.state == "waiting" and s.tag != "s"]
    if left and min(left) < min(RANKS.index(spot.tag) for spot in taken):
        raise LawBroken(f"{change.what}: claimed past a job of a higher priority")


def _check_ends(before: Facts, after: Facts, change: Change) -> None:
    """Who waits for a job's end is told of it, and how it ended."""
    told = list(after.settled[len(before.settled) :])
    for flag in sorted(before.flags - after.flags):
        if flag[0] != "w":
            continue
        end = after.state(flag[1:])
        if (flag[1:], "removed" if end == "-" else end) not in told:
            raise LawBroken(
                f"{change.what}: somebody waits for the end of {flag[1:]}, which is {end}, and was told {told or 'nothing'}"
            )


def check_lines(before: Facts, after: Facts, what: str) -> None:
    """A line loses members and gets new ones at its end: nobody overtakes. Who holds the key leaves it for good or keeps it."""
    for key in {*before.lines, *after.lines}:
        old, new = members(before, key), members(after, key)
        kept = [job_id for job_id in old if job_id in new]
        if new[: len(kept)] != kept:
            raise LawBroken(f"{what}: the line of {key} was {old} and is {new}: somebody overtook")
        joined = new[len(kept) :]
        if joined != sorted(joined, key=lambda job_id: (_due(before, job_id), id_order(job_id))):
            raise LawBroken(f"{what}: {joined} joined the line of {key} at once, and not in their order")
        for job_id in old:
            if job_id not in new and after.state(job_id) in LIVE:
                raise LawBroken(f"{what}: {job_id} is {after.state(job_id)} and has lost its place in the line of {key}")


def _due(facts: Facts, job_id: str) -> int:
    spot = facts.spot(job_id)
    return spot.due_ms if spot else 0


def members(facts: Facts, key: str) -> list[str]:
    """The jobs of a key in their turn, its holder first."""
    line = facts.lines.get(key)
    return [line.holder, *(facts.blocked[entry] for entry in line.behind)] if line else []


def _differences(before: Facts, after: Facts) -> str:
    moved = [
        f"{i} {before.state(i)} -> {after.state(i)}"
        for i in sorted({*before.spots, *after.spots})
        if before.spots.get(i) != after.spots.get(i)
    ]
    meta = [
        f"{k} {before.meta.get(k)} -> {after.meta.get(k)}"
        for k in sorted({*before.meta, *after.meta})
        if before.meta.get(k) != after.meta.get(k)
    ]
    rest = [
        f"{k} {getattr(before, k)} -> {getattr(after, k)}"
        for k in ("where", "jobs", "lines", "blocked", "flags", "noted", "bell", "names", "dedups", "workers")
        if getattr(before, k) != getattr(after, k)
    ]
    return "; ".join([*moved, *meta, *rest]) or "somewhere else"
