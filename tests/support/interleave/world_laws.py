"""World laws: what must hold between what the actors know and what the server has."""

from __future__ import annotations

from .facts import Facts
from .state_laws import LawBroken
from .world import Worker, World


def check_world(world: World, facts: Facts) -> None:
    """Every law; LawBroken with the first that does not hold."""
    may_claim = world.gives_out()
    for name, worker in world.workers.items():
        if not worker.is_gone:
            _knows_what_it_holds(name, worker, facts)
            if may_claim:
                _sleeps_well(name, worker, facts)


def _knows_what_it_holds(name: str, worker: Worker, facts: Facts) -> None:
    """A worker that has its answer knows all that is claimed for it: what it does not know, it will never run."""
    if worker.is_open:
        return
    known = {claim.entry for claim in worker.held}
    unknown = [job_id for entry, (owner, job_id, _) in facts.pending.items() if owner == name and entry not in known]
    if unknown:
        raise LawBroken(f"{unknown} are claimed for {name}, which has its answer and does not know: they stand still for a lease")


def _sleeps_well(name: str, worker: Worker, facts: Facts) -> None:
    """Who found less than it wanted has been rung for whatever has become runnable, or due earlier, since."""
    if worker.asleep is None or worker.asleep[0] != facts.bell or any(claim.is_suspect for claim in worker.held):
        return  # one with a suspect looks when that has ended
    spots = [(job_id, places[0]) for job_id, places in facts.spots.items()]
    waiting = [job_id for job_id, spot in spots if spot.state == "waiting" and (spot.tag != "s" or not worker.held)]
    if waiting:
        raise LawBroken(f"{waiting} wait, {name} found nothing and sleeps, and nobody rang since")
    due = min((spot.due_ms for _, spot in spots if spot.due_ms), default=0)
    told = worker.asleep[1]
    if due and (not told or due < told):
        raise LawBroken(f"a job is due at {due}, {name} was told {told or 'of none'} and sleeps, and nobody rang since")
