"""Base of the machine: one queue beside its model, and the comparison after every step. The rules are in `working.py` (producers and
workers), `operating.py` and `looking.py`.
"""

from __future__ import annotations

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from engine.declared import Limit
from engine.job import State
from engine.store.claim import Claim
from engine.store.producing import Entry

from .comparing import compare
from .ground import NOTES_MS, Ground, Step, Worker
from .memory.jobs import ModelJob
from .memory.operators import QueueModel
from .seen import Seen, look, read

WORKERS, PRODUCERS = 3, 2
picks = st.integers(0, 11)
"""Which of what there is; counted round."""
who = st.integers(0, WORKERS - 1)


class Base(RuleBasedStateMachine):
    """One example: a queue of its own on the shared ground."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        ground = self.ground
        self.run = ground.run
        self.store = ground.store
        self.queue = ground.new_queue()
        self.now = ground.now
        self.workers = [Worker(ground, self.queue, f"w{i}") for i in range(WORKERS)]
        self.sent: list[list[tuple[list[Entry], Limit]]] = [[] for _ in range(PRODUCERS)]
        """Producer -> the calls it sent."""
        self.ids: list[str] = []
        """Every id there ever was, entry ids that were nobody's among them."""
        self.flying: list[tuple[Worker, Step]] = []
        """Copies of calls that are still on their way."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """There is nothing of the queue."""
        self.model = QueueModel(self.now, NOTES_MS)
        self.seen = read(self.queue, [], self.now.ms, "0-0")

    @invariant()
    def compare_everything(self) -> None:
        """The server and the model say the same."""
        seen: Seen = self.run(look(self.ground.base, self.queue, self.now.ms, self.seen.last_event))
        compare(self.model, seen, self.seen)
        self.seen = seen
        self.ground.steps += 1

    def teardown(self) -> None:
        """Nothing stays on the server."""
        self.ground.obliterate(self.queue)

    # --- for the rules -----------------------------------------------------------------------------------------------------

    def has_jobs(self) -> bool:
        """Whether there was ever anything to act on."""
        return len(self.ids) > 0

    def announce(self, worker: Worker) -> None:
        """A heartbeat."""
        assert self.run(self.store.heartbeat(self.queue, worker.name, b"\x80")) == self.now.ms
        self.model.workers[worker.name] = self.now.ms

    def pick_id(self, pick: int) -> str:
        """Mostly a job that is there; sometimes one that has ended, or an entry id that is no job's."""
        there = list(self.model.jobs)
        names = there if pick % 4 and there else self.ids
        return names[-1 - pick % len(names)] if names else "1-1"

    def in_state(self, state: State, pick: int) -> ModelJob:
        """Some job in a state; there must be one."""
        found = self.model.in_state(state)
        return found[pick % len(found)]

    def busy(self, w: int) -> Worker:
        """That worker, or the next one that holds something."""
        return next(self.workers[(w + i) % WORKERS] for i in range(WORKERS) if self.workers[(w + i) % WORKERS].held)

    def some_of(self, worker: Worker, chosen: set[int]) -> list[Claim]:
        """Claims that a worker believes to hold, each once."""
        return list({(c := worker.held[pick % len(worker.held)]).entry: c for pick in sorted(chosen)}.values())
