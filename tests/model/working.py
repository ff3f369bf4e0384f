"""Working: the rules of producers, workers and reclaimers, and what becomes of their calls on the way.

A call may be lost, its reply may be lost, a copy of it may arrive late: then the same number is sent again, as the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from engine.declared import NO_LIMIT, Limit
from engine.errors import StoreRefused
from engine.job import State
from engine.store.producing import Enqueued, Entry
from tests.support.factory import body

from .base import PRODUCERS, Base, picks, who
from .ground import Step, Worker
from .memory.workers import LEASE_MS, Ending, Verb

MOST_JOBS = 60
"""Jobs of one example: beyond it there is nothing new, only slower looks."""
Said = tuple[int, Verb, int]

delays = st.sampled_from((0, 1, 50, 1_000, 60_000))
verbs: st.SearchStrategy[Verb] = st.sampled_from(
    (
        "complete",
        "complete",
        "complete",
        "result",
        "retry",
        "retry",
        "snooze",
        "release",
        "release",
        "bury",
        "bury",
        "cancel",
        "expire",
    )
)
endings_of = st.lists(st.tuples(picks, verbs, delays), min_size=1, max_size=4)
fates = st.sampled_from(("ok", "ok", "ok", "ok", "ok", "reply lost", "request lost"))
jobs_of = st.tuples(
    st.sampled_from((1, 1, 2, 3, 12)),
    st.builds(
        Entry,
        st.just(body()),
        priority=st.sampled_from((5, 5, 1, 9)),
        delay_ms=st.sampled_from((0, 0, 0, 50, 1_000)),
        ordering_key=st.sampled_from(("", "", "k", "l")),
        dedup_key=st.sampled_from(("", "", "d", "e")),
        dedup_window_ms=st.sampled_from((100, 60_000, 3_600_000)),
    ),
)
limits = st.sampled_from((NO_LIMIT, NO_LIMIT, Limit(5), Limit(5, "drop-oldest"), Limit(20, "drop-oldest")))
groups_of = st.lists(jobs_of, min_size=1, max_size=3)


class Working(Base):
    """Enqueue, claim, settle, renew, reclaim."""

    def holds(self) -> bool:
        """Whether any worker believes to hold something."""
        return any(worker.held for worker in self.workers)

    def has_room(self) -> bool:
        """Whether the example may grow."""
        return len(self.model.jobs) < MOST_JOBS

    @initialize(groups=groups_of)
    def begin(self, groups: list[tuple[int, Entry]]) -> None:
        """Whoever works was announced before, and there is something to do."""
        for worker in self.workers:
            self.announce(worker)
        self.sent[0].append(([entry for n, entry in groups for _ in range(n)], NO_LIMIT))
        self._enqueue(0, 1)

    # --- producers ---------------------------------------------------------------------------------------------------------

    @precondition(has_room)
    @rule(producer=st.integers(0, PRODUCERS - 1), groups=groups_of, limit=limits)
    def enqueue(self, producer: int, groups: list[tuple[int, Entry]], limit: Limit) -> None:
        self.sent[producer].append(([entry for n, entry in groups for _ in range(n)], limit))
        self._enqueue(producer, len(self.sent[producer]))

    @precondition(has_room)
    @rule(
        n=st.sampled_from((1, 3, 12)), priority=st.sampled_from((5, 1)), key=st.sampled_from(("", "k")), is_later=st.booleans(),
        limit=limits,
    )  # fmt: skip
    def enqueue_alike(self, n: int, priority: int, key: str, is_later: bool, limit: Limit) -> None:
        """The usual call. What is due at an instant is due with others."""
        entry = Entry(body(), priority=priority, ordering_key=key, at_ms=(self.now.ms // 50 + 1) * 50 if is_later else 0)
        self.sent[0].append(([entry] * n, limit))
        self._enqueue(0, len(self.sent[0]))

    @precondition(lambda self: any(self.sent))
    @rule(producer=st.integers(0, PRODUCERS - 1), older=st.integers(0, 1))
    def enqueue_again(self, producer: int, older: int) -> None:
        """The reply was lost, or an old copy comes late. Whoever was silent too long is forgotten, and sends nothing again."""
        number = len(self.sent[producer]) - older
        if number > 0 and f"p{producer}" in self.model.producers:
            self._enqueue(producer, number)

    def _enqueue(self, producer: int, number: int) -> None:
        name, (entries, limit) = f"p{producer}", self.sent[producer][number - 1]
        answer: list[Enqueued] | None
        try:
            answer = self.run(self.store.enqueue(self.queue, name, number, entries, limit))
        except StoreRefused as error:
            assert error.code == "STALE", error
            answer = None
        self.model.enqueue(name, number, entries, limit, answer)
        self.ids += [one.id for one in answer or () if one.id and one.id not in self.ids]

    # --- claim and settle --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.in_state(State.WAITING))
    @rule(w=who, want=st.sampled_from((1, 2, 5, 12)), fate=fates)
    def claim(self, w: int, want: int, fate: str) -> None:
        self._step(self.workers[w], want, [], fate)

    @precondition(holds)
    @rule(w=who, said=endings_of, fate=fates)
    def settle(self, w: int, said: list[Said], fate: str) -> None:
        self._step(self.busy(w), 0, said, fate)

    @precondition(Base.has_jobs)
    @rule(
        calls=st.lists(st.tuples(who, st.sampled_from((0, 1, 5, 12)), endings_of, fates), min_size=4, max_size=12), groups=groups_of
    )  # fmt: skip
    def work(self, calls: list[tuple[int, int, list[Said], str]], groups: list[tuple[int, Entry]]) -> None:
        """A few calls in a row: settle what is held, claim more in the same call. When nothing waits something new comes first."""
        if self.has_room() and not self.model.in_state(State.WAITING):
            self.enqueue(0, groups, NO_LIMIT)
            self.compare_everything()
        for w, want, said, fate in calls:
            worker = self.workers[w]
            self._step(worker, want, said if worker.held else [], fate)
            self.compare_everything()

    @rule(w=who, want=st.sampled_from((1, 5)), held_elsewhere=st.booleans())
    def look_for_work(self, w: int, want: int, held_elsewhere: bool) -> None:
        """A worker that holds nothing here asks, and may go to sleep; its process may hold something of another queue."""
        worker = self.workers[w]
        if not worker.is_unanswered and not worker.held:
            self._send(worker, worker.next_step(want, int(held_elsewhere), []), is_heard=True)

    def _step(self, worker: Worker, want: int, said: Sequence[Said], fate: str) -> None:
        if worker.is_unanswered:  # one call in flight: the same again until it is answered
            self._send(worker, worker.sent[-1], is_heard=True)
            return
        endings: dict[str, Ending] = {}
        for pick, verb, delay_ms in said:
            claim = worker.held[pick % len(worker.held)]
            frees = verb == "result" or claim.id in self.model.notes or claim.envelope.stalls > 0
            result = b"42" if verb == "result" else b""
            endings.setdefault(claim.entry, Ending(verb, claim, delay_ms, result, frees))
        left = [claim for claim in worker.held if claim.entry not in endings]
        runs_alone = any(claim.is_suspect for claim in left)
        step = worker.next_step(0 if runs_alone else want, len(left), list(endings.values()))
        if fate == "request lost":
            self.flying.append((worker, step))
        else:
            self._send(worker, step, is_heard=fate == "ok")

    def _send(self, worker: Worker, step: Step, *, is_heard: bool) -> None:
        reply = self.run(worker.send(step))
        self.model.step(worker.name, step.number, step.want, step.held, step.endings, reply)
        if reply.status == "ok":
            self.ground.claimed += len(reply.rows)
            self.ground.settled += len(step.endings) - len(reply.lost)
        if is_heard:
            worker.take_in(step, reply)

    # --- calls that were lost ------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(w.sent for w in self.workers))
    @rule(w=who, kind=st.sampled_from(("again", "late", "back")), older=st.integers(1, 3))
    def repeat(self, w: int, kind: str, older: int) -> None:
        """The very same call once more; or a copy of an older one; or a claim that waited is called back, with nothing wanted."""
        worker = self.workers[w]
        is_known = worker.name in self.model.calls  # else it was silent too long, and a repeat would be a new call
        if kind == "again" and worker.sent and (is_known or worker.is_unanswered):
            self._send(worker, worker.sent[-1], is_heard=True)
        elif kind == "late" and len(worker.sent) > older and is_known:
            self._send(worker, worker.sent[-1 - older], is_heard=False)
        elif kind == "back" and worker.is_unanswered and worker.sent[-1].want and not worker.sent[-1].endings:
            last = worker.sent.pop()
            self._send(worker, worker.next_step(0, last.held, []), is_heard=True)

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def arrive(self, pick: int) -> None:
        """A call that seemed lost reaches the server after all; nobody hears the answer."""
        worker, step = self.flying.pop(pick % len(self.flying))
        if worker.name in self.model.calls or worker.is_unanswered:
            self._send(worker, step, is_heard=False)

    # --- leases ------------------------------------------------------------------------------------------------------------

    @precondition(holds)
    @rule(
        w=who,
        chosen=st.sets(picks, min_size=1, max_size=4),
        bite=st.sampled_from((0, 1, 40)),
        stall_limit=st.sampled_from((3, 1)),
    )
    def lapse(self, w: int, chosen: set[int], bite: int, stall_limit: int) -> None:
        """Leases run out, and somebody may find it at once."""
        worker = self.busy(w)
        mine = [c for c in self.some_of(worker, chosen) if (job := self.model.holder(c)) and job.owner == worker.name]
        self.run(worker.age(mine))
        for claim in mine:
            self.model.jobs[claim.id].has_lapsed = True
        if bite:
            self._reclaim(self.workers[w - 1], stall_limit, bite, False)

    @precondition(Base.has_jobs)
    @rule(w=who, stall_limit=st.sampled_from((3, 1, 0)), limit=st.sampled_from((40, 1)), grace=st.booleans())
    def reclaim(self, w: int, stall_limit: int, limit: int, grace: bool) -> None:
        """A worker's reclaimer takes one bite, from where its last one ended."""
        self._reclaim(self.workers[w], stall_limit, limit, grace)

    def _reclaim(self, worker: Worker, stall_limit: int, limit: int, grace: bool) -> None:
        call = self.store.reclaim(self.queue, worker.name, LEASE_MS, stall_limit, worker.cursors, limit=limit, grace=grace)
        got = self.run(call)
        self.ids += [c.entry for one in self.workers for c in one.held if c.moved_id and c.entry not in self.ids]
        self.model.reclaim(worker.name, stall_limit, worker.cursors, limit, grace, got)
        worker.cursors = got.cursors

    @precondition(holds)
    @rule(w=who, chosen=st.sets(picks, max_size=4))
    def renew(self, w: int, chosen: set[int]) -> None:
        """Some leases; or all there are, as a worker asks whose loop does not turn."""
        worker = self.busy(w)
        if not chosen:
            self.run(self.store.renew_all(self.queue, worker.name))
            self.model.renew_all(worker.name)
            return
        claims = self.some_of(worker, chosen)
        lost, asked = self.run(self.store.renew(self.queue, worker.name, claims))
        assert (set(lost), set(asked)) == self.model.renew(worker.name, claims), f"renewed: lost {lost}, asked {asked}"

    @precondition(holds)
    @rule(w=who, pick=picks, field=st.sampled_from(("progress", "step:a", "log")), value=st.sampled_from((b"1", b"2")))
    def note(self, w: int, pick: int, field: str, value: bytes) -> None:
        worker = self.busy(w)
        claim = worker.held[pick % len(worker.held)]
        kept = self.run(self.store.note(self.queue, worker.name, claim.tag, claim.entry, claim.id, field, value, 2))
        assert kept == self.model.note(worker.name, claim, field, value, 2)
        ours, found = self.run(self.store.recall(self.queue, worker.name, claim.tag, claim.entry, claim.id, "progress"))
        assert (ours, found) == (kept, self.model.notes[claim.id].get("progress") if kept else None)

    @precondition(Base.has_jobs)
    @rule(w=who, leaves=st.booleans())
    def live(self, w: int, leaves: bool) -> None:
        """A heartbeat; or a worker ends, whatever it holds, and another one with a name of its own takes its place."""
        worker = self.workers[w]
        if leaves and worker.name in self.model.workers:
            self.run(self.store.leave(self.queue, worker.name))
            self.model.leave(worker.name)
            worker = self.workers[w] = Worker(self.ground, self.queue, f"{worker.name}'")
        self.announce(worker)
