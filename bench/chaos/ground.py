"""Ground: a clean run's evidence to plant violations in. Picks who is to suffer, and answers changed copies; the evidence
stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from .journal import Fault, Record, What
from .kept import Kept, QueueData, Tried
from .story import Evidence, JobStory, Run, Story

MS = 1_000_000
"""Nanoseconds."""
STRANGER = 999_999_999
"""A process that nobody has seen."""


Plant = Callable[["Ground"], Evidence]
"""Answers a run's evidence with one violation in it; raises Nothing when the run has nobody to plant it in."""


class Nothing(Exception):
    """This run has nobody to plant it in."""


class Ground:
    """Evidence, and the story it tells."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.story = Story(evidence)

    # --- who -----------------------------------------------------------------------------------------------------------

    def plain(self) -> Iterator[JobStory]:
        """Jobs that were asked, ran once and are completed: nothing ever happened to them."""
        for job in self.story.jobs.values():
            is_whole = job.ask is not None and len(job.acked) == 1 and len(job.kept) == 1 and len(job.runs) == 1
            if is_whole and job.kept[0].state == "completed" and job.runs[0].end is not None and job.ask and not job.ask.due_ms:
                yield job

    def victim(self, fits: Callable[[JobStory], bool] = lambda job: True) -> JobStory:
        """A plain job out of the middle of the run; Nothing when there is none that fits."""
        found = [job for job in self.plain() if fits(job)]
        if not found:
            raise Nothing
        return found[len(found) // 2]

    def neighbours(self) -> tuple[JobStory, JobStory]:
        """Two plain jobs of one key, one right after the other."""
        for jobs in self.story.by_key().values():
            in_turn = sorted((job for job in jobs if job.runs), key=lambda job: job.runs[0].start_ns)
            plain = set(map(id, self.plain()))
            for before, after in itertools.pairwise(in_turn):
                if id(before) in plain and id(after) in plain:
                    return before, after
        raise Nothing

    def any_job(self, fits: Callable[[JobStory], bool]) -> JobStory:
        """The first job that fits; Nothing when there is none."""
        for job in self.story.jobs.values():
            if fits(job):
                return job
        raise Nothing

    # --- changed copies --------------------------------------------------------------------------------------------------

    def but(self, **changes: Any) -> Evidence:
        """The evidence with other fields."""
        return msgspec.structs.replace(self.evidence, **changes)

    def set_otherwise(self, **changes: Any) -> Evidence:
        """With other settings."""
        return self.but(settings=msgspec.structs.replace(self.evidence.settings, **changes))

    def recorded(self, change: Callable[[Record], Record | None], *more: Record) -> Evidence:
        """With each record changed (None: left out), and some more."""
        changed = [record for old in self.evidence.records if (record := change(old)) is not None]
        return self.but(records=sorted([*changed, *more], key=lambda record: record.mono_ns))

    def keeping(self, job: JobStory, *instead: Kept) -> Evidence:
        """With these in place of what Redis keeps of a job."""
        data = self.evidence.queues[job.queue]
        jobs = [kept for kept in data.jobs if kept.job != job.job]
        return self.queue(job.queue, jobs=[*jobs, *instead])

    def queue(self, name: str, **changes: Any) -> Evidence:
        """With other data of a queue."""
        changed: QueueData = msgspec.structs.replace(self.evidence.queues[name], **changes)
        return self.but(queues={**self.evidence.queues, name: changed})

    def counted(self, name: str, field: str, by: int) -> Evidence:
        """With a counter of `meta` that is off."""
        meta = self.evidence.queues[name].meta
        return self.queue(name, meta={**meta, field: str(int(meta.get(field, "0")) + by)})

    def struck(self, evidence: Evidence, *faults: Fault) -> Evidence:
        """With some more faults."""
        return msgspec.structs.replace(evidence, faults=[*evidence.faults, *faults])


def swap(a: Run, b: Run) -> Callable[[Record], Record]:
    """Two runs at each other's times."""
    assert a.end is not None, "plain jobs have ended"
    assert b.end is not None, "plain jobs have ended"
    times = {id(a.start): b.start, id(b.start): a.start, id(a.end): b.end, id(b.end): a.end}

    def change(record: Record) -> Record:
        other = times.get(id(record))
        return msgspec.structs.replace(record, mono_ns=other.mono_ns, ms=other.ms) if other else record

    return change


def only(target: Record | None, **changes: Any) -> Callable[[Record], Record]:
    """One record with other fields."""
    return lambda record: msgspec.structs.replace(record, **changes) if record is target else record


def shifted(record: Record, ms: int, what: What | None = None, **changes: Any) -> Record:
    """A copy of a record so many ms later."""
    moved = {"mono_ns": record.mono_ns + ms * MS, "ms": record.ms + ms}
    return msgspec.structs.replace(record, **{"what": what or record.what, **moved, **changes})


def last(kept: Kept) -> Tried:
    """Its last recorded attempt."""
    return kept.history[-1]


def planter(plants: dict[str, tuple[str, Plant]]) -> Callable[[str, str], Callable[[Plant], Plant]]:
    """A decorator that adds a plant: what it is, and the law that must see it."""

    def plant(name: str, law: str) -> Callable[[Plant], Plant]:
        def add(function: Plant) -> Plant:
            plants[name] = (law, function)
            return function

        return add

    return plant
