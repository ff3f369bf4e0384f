"""State laws: what must hold of a queue at any instant, whatever was done to it. Each is a few lines and one sentence."""

from __future__ import annotations

from engine.keys import SUFFIXES
from engine.store.rows import id_order
from tests.support.laws import ROOM

from .facts import ENDED, LIVE, Facts, Spot


class LawBroken(AssertionError):
    """A law does not hold; the sentence says which and where."""


def one_place(facts: Facts) -> None:
    """A job is in exactly one place, and nothing was delivered to nobody."""
    for job_id, places in facts.spots.items():
        states = [spot.state for spot in places]
        if "astray" in states:
            raise LawBroken(f"entry of {job_id} was delivered and belongs to nobody: it will never run")
        if "ghost" in states:
            raise LawBroken(f"{places[0].entry} is claimed by {places[0].owner} and its entry is gone")
        if len(states) > 1:
            raise LawBroken(f"job {job_id} is in {len(states)} places: {', '.join(states)}")


def conserved(facts: Facts) -> None:
    """enqueued = waiting + active + scheduled + retrying + blocked + completed + dead + cancelled + removed."""
    kept = len(facts.many(*LIVE)) + len(facts.many("dead"))
    total = kept + facts.count("completed") + facts.count("cancelled") + facts.count("removed")
    off = facts.count("enqueued") - total
    if off:
        raise LawBroken(f"conservation is off by {off}: {facts.count('enqueued')} enqueued, {total} accounted for")
    for state in ENDED:
        recorded, counted = len(facts.many(state)), facts.count(state)
        if recorded > counted:
            raise LawBroken(f"{recorded} are recorded as {state}, {counted} were counted")


def rows_of(facts: Facts) -> dict[str, str]:
    """What `where` must hold: a row for every job that is not a fresh entry, and for nobody else."""
    wanted = {}
    for job_id, places in facts.spots.items():
        spot = places[0]
        match spot.state:
            case "waiting" | "active":
                row = "" if spot.entry == job_id else f"{spot.tag}:{spot.entry}"
            case "blocked":
                row = "" if spot.entry == job_id else f"b:{spot.entry}"
            case "dead":
                row = f"d:{spot.entry}"
            case "retrying":
                row = "t"
            case "scheduled":
                row = "z" if facts.where.get(job_id) == "z" else "s"
            case _:
                row = ""
        if row:
            wanted[job_id] = row
    return wanted


def no_orphans(facts: Facts) -> None:
    """No row without its job, no job without its row, no key that the catalogue does not know."""
    wanted = rows_of(facts)
    for job_id in sorted({*wanted, *facts.where}):
        has, needs = facts.where.get(job_id), wanted.get(job_id)
        if has != needs:
            raise LawBroken(f"`where` has {has} for {job_id}, which is {facts.state(job_id)} and needs {needs}")
    odd = set(facts.many("scheduled", "retrying")) ^ facts.jobs
    if odd:
        raise LawBroken(f"`jobs` and the sets by due time differ in {sorted(odd)}")
    for flag in sorted(facts.flags):
        state = facts.state(flag[1:])
        if flag[0] == "c" and state != "active":
            raise LawBroken(f"a cancel is asked of {flag[1:]}, which is {state}: nobody will read it")
        if flag[0] == "w" and state not in LIVE:
            raise LawBroken(f"somebody waits for the end of {flag[1:]}, which is {state}")
    for name in facts.names:
        family = name[: name.find(":") + 1]
        if name not in SUFFIXES and family not in SUFFIXES:
            raise LawBroken(f"key {name} is in no catalogue")
        if family == "notes:" and name[6:] not in facts.noted:
            raise LawBroken(f"{name} is not in `noted`: no sweep will find it")


def lines(facts: Facts) -> None:
    """One job of a key at a time can run, and it is the one that holds the key; the others are blocked in its line, once each."""
    named: list[str] = []
    for key, line in facts.lines.items():
        if not line.holder:
            raise LawBroken(f"key {key} has a row and no holder")
        if len(line.row) > ROOM or line.says_listed != bool(line.listed):
            raise LawBroken(
                f"{key}: {len(line.row)} in its row, {len(line.listed)} in its list, of which the row says {line.says_listed}"
            )
        holder = facts.spot(line.holder)
        if holder is None or not _holds(facts, line.holder, holder):
            raise LawBroken(f"key {key} is held by {line.holder}, which is {facts.state(line.holder)}: nobody hands it over")
        named += line.behind
    if sorted(named) != sorted(facts.blocked):
        raise LawBroken(f"blocked are {sorted(facts.blocked)}, in lines stand {sorted(named)}")
    for job_id, places in facts.spots.items():
        spot = places[0]
        line_of = facts.lines.get(spot.key)
        if spot.key and _holds(facts, job_id, spot) and (line_of is None or line_of.holder != job_id):
            held_by = line_of.holder if line_of else "nobody"
            raise LawBroken(f"{job_id} is {spot.state} and key {spot.key} is held by {held_by}: two could run at once")
        if spot.state == "blocked" and (line_of is None or spot.entry not in line_of.behind):
            raise LawBroken(f"{job_id} is blocked and not in the line of {spot.key}")
    lists = {name[5:] for name in facts.names if name.startswith("line:")}
    if lists != {key for key, line in facts.lines.items() if line.listed}:
        raise LawBroken(f"lists of nobody among {sorted(lists)}")


def _holds(facts: Facts, job_id: str, spot: Spot) -> bool:
    """Whether a job of this state has its key; who is delayed takes none until it is due."""
    return spot.state in ("waiting", "active", "retrying") or (spot.state == "scheduled" and facts.where.get(job_id) == "z")


def ids_ahead(facts: Facts) -> None:
    """The id counter is ahead of every id there is: none is given twice."""
    if "ms" not in facts.meta:
        return
    top = (int(facts.meta["ms"]), int(facts.meta["seq"]))
    entries = [spot.entry for places in facts.spots.values() for spot in places]
    for one in (*entries, *facts.spots, facts.bell):
        if id_order(one) > top:
            raise LawBroken(f"id {one} is ahead of the counter {top}: it may be given again")


STATE_LAWS = (one_place, conserved, no_orphans, lines, ids_ahead)


def check_state(facts: Facts) -> None:
    """Every law of a state; LawBroken with the first that does not hold. The same look is judged once."""
    if not facts.is_judged:
        for law in STATE_LAWS:
            law(facts)
        facts.is_judged = True


def nothing_left(facts: Facts) -> None:
    """All have ended, and no row of theirs is left."""
    live = facts.many(*LIVE)
    if live:
        raise LawBroken(f"{[(i, facts.state(i)) for i in live]} never ended, though a worker asked for all there is")
    for what, found in (("jobs", facts.jobs), ("keys", facts.lines), ("blocked", facts.blocked), ("flags", facts.flags)):
        if found:
            raise LawBroken(f"`{what}` still has {sorted(found)}")
