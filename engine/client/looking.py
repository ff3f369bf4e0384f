"""Looking: the answers to "what is going on". Bounded, read-only, masked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

import msgspec

from ..errors import BadInput, JobNotFound
from ..job import State
from ..keys import shown, split_id
from ..masking import mask_text
from ..store.rows import JobRow, QueueCounts, QueueEvent
from .failures import Failures, Filter, Tally
from .footing import LEASE_MS, Footing
from .shapes import JobLine, JobView, StatsView, WorkerView
from .views import instant, job_line, job_view, queue_view, server_view, worker_views
from .why import brief_why, why

ORDER = (
    State.ACTIVE,
    State.WAITING,
    State.RETRYING,
    State.SCHEDULED,
    State.BLOCKED,
    State.DEAD,
    State.COMPLETED,
    State.CANCELLED,
)
"""How `jobs` goes through the states when none is named: what moves first, what ended last."""

MOST_READS = 200
"""Pages one call of `jobs` reads at most while it filters; then it answers with what it has and a cursor."""

MOST_FAILURES = 20_000
"""Dead jobs one call of `failures` looks at; some seconds of reading."""


class JobPage(msgspec.Struct, frozen=True):
    """Some jobs; `cursor` '' is the end. It may be empty with a cursor when much was looked at and little fitted."""

    jobs: list[JobLine]
    cursor: str


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """The conservation law of one queue: `difference` is enqueued minus everything that is accounted for."""

    queue: str
    enqueued: int
    accounted: int
    difference: int


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; `engine tail --json`."""

    at: str | None
    queue: str
    kind: str
    id: str | None
    detail: str | None


class Looking(Footing):
    """The reads. Errors of all: StoreUnreachable, StoreUnanswered, StoreRefused (nothing was changed; ask again)."""

    async def counts(self, queue: str) -> QueueCounts:
        """The counts of one queue at one instant; zeros when it never had a job."""
        return await self._ask(self.store.counts, queue)

    async def stats(self) -> StatsView:
        """All queues and the server at a glance."""
        queues = {}
        for name in await self.queue_names():
            queues[name] = queue_view(await self.counts(name), self.queues.get(name))
        info = await self._ask(self.store.server_info)
        return StatsView(queues=queues, redis=server_view(info, self.store.link.where))

    async def audit(self) -> list[AuditView]:
        """The conservation law, for each queue."""
        found = []
        for name in await self.queue_names():
            counts = await self.counts(name)
            accounted = counts.enqueued - counts.difference
            found.append(AuditView(queue=name, enqueued=counts.enqueued, accounted=accounted, difference=counts.difference))
        return found

    async def workers(self, queue: str | None = None) -> list[WorkerView]:
        """Every worker that has not been forgotten, alive or not."""
        rows, now_ms = [], 0
        for name in await self._chosen(queue):
            now_ms = await self._ask(self.store.now_ms, name)
            rows += await self._ask(self.store.workers, name, now_ms)
        return worker_views(rows, now_ms)

    # --- jobs ------------------------------------------------------------------------------------------------------------

    async def job(self, full_id: str, *, reveal: bool = False) -> JobView:
        """One job with its story, and why it waits. `reveal` shows payload and result unmasked.

        Raises:
            BadName: `full_id` is no job id.
            JobNotFound: never enqueued, deleted, or finished and past its retention.
        """
        queue, job_id = split_id(full_id)
        found = await self._ask(self.store.inspect, queue, job_id)
        row = found.row or await self._ask(self.store.find_ended, queue, job_id)
        if row is None:
            raise self._not_found(full_id, found.notes)
        spec = self.queues.get(queue)
        reason = None
        if found.row is not None:
            counts = await self.counts(queue)
            workers = await self._ask(self.store.workers, queue, counts.now_ms)
            reason = why(found, counts, workers, spec.lease_ms if spec else LEASE_MS)
        return job_view(row, spec, why=reason, notes=found.notes, reveal=reveal)

    async def jobs(
        self,
        *,
        queue: str | None = None,
        state: State | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str = "",
        reveal: bool = False,
    ) -> JobPage:
        """A page of jobs, over all queues and states unless one is named.

        Raises:
            BadInput: a limit below 1, or a cursor that no page gave.
            UnknownQueue: no such queue.
        """
        if limit < 1:
            raise BadInput(f"limit={limit} is no number of jobs: at least 1")
        stops = [(q, s) for q in await self._chosen(queue) for s in ((state,) if state else ORDER)]
        at, inner = _read_cursor(cursor, stops)
        views: list[JobLine] = []
        for _ in range(MOST_READS):
            if at >= len(stops) or len(views) >= limit:
                break
            here, state_here = stops[at]
            page = await self._ask(self.store.page, here, state_here, cursor=inner, limit=limit - len(views))
            rows = [row for row in page.rows if name is None or row.name == name]
            views += await self._summaries(here, state_here, rows, reveal=reveal)
            inner = page.cursor
            if not inner:
                at += 1
        return JobPage(views, f"{stops[at][0]}:{stops[at][1].value}:{inner}" if at < len(stops) else "")

    async def _summaries(self, queue: str, state: State, rows: Sequence[JobRow], *, reveal: bool) -> list[JobLine]:
        if not rows:
            return []
        counts = await self.counts(queue)
        results: Mapping[str, bytes] = {}
        if state is State.COMPLETED:
            results = await self._ask(self.store.results, queue, [row.id for row in rows])
        spec = self.queues.get(queue)
        return [job_line(row, spec, why=brief_why(row, counts), result=results.get(row.id), reveal=reveal) for row in rows]

    async def failures(self, filters: Filter | None = None, *, most: int = MOST_FAILURES) -> Failures:
        """The dead jobs in groups of one cause, the largest first; `is_cut` when there are more than were looked at."""
        filters = filters or Filter()
        tally = Tally()
        for queue in await self._chosen(filters.queue):
            before, counts = "", await self.counts(queue)
            now_ms = counts.now_ms
            while counts.dead and tally.looked_at < most:
                page = await self._ask(self.store.dead, queue, before=before)
                for row in page.rows:
                    tally.add(row, fits=filters.fits(row, now_ms))
                before = page.cursor
                if not before or filters.is_before(page.rows[-1], now_ms):
                    break
            else:
                tally.is_cut = tally.is_cut or counts.dead > 0
        return tally.result()

    async def tail(self, queues: Sequence[str] = (), *, poll_seconds: float = 0.25) -> AsyncGenerator[EventView, None]:
        """What happens from now on, completions included, until the caller stops; new queues join when all are followed."""
        followed = {queue: await self._ask(self.store.events_now, queue) for queue in await self._followed(queues)}
        while True:
            happened: list[QueueEvent] = []
            for queue in await self._followed(queues):
                since = followed.get(queue, "")  # a queue that appeared meanwhile: from its beginning
                feed = await self.store.link.patient(partial(self.store.events, queue, since), timeout=None)
                followed[queue] = feed.cursor
                happened += feed.events
            for event in sorted(happened, key=lambda event: event.at_ms):
                yield EventView(
                    at=instant(event.at_ms),
                    queue=event.queue,
                    kind=event.kind,
                    id=f"{event.queue}/{event.id}" if event.id else None,
                    detail=mask_text(event.detail) or None,
                )
            if not happened:
                await self._clock.sleep(poll_seconds)

    async def _followed(self, queues: Sequence[str]) -> list[str]:
        return [await self.check_known(queue) for queue in queues] if queues else await self.queue_names()

    @staticmethod
    def _not_found(full_id: str, notes: Mapping[str, bytes]) -> JobNotFound:
        ended = notes.get("ended", b"0").decode(errors="replace")
        if ended.isdigit() and int(ended):
            return JobNotFound(f"{full_id} ended at {instant(int(ended))} and its record is no longer kept", job_id=full_id)
        gone = f"there is no job {full_id}: never enqueued, deleted, or finished longer ago than its queue keeps records"
        return JobNotFound(gone, job_id=full_id)


def _read_cursor(cursor: str, stops: Sequence[tuple[str, State]]) -> tuple[int, str]:
    """`queue:state:inner` -> where to go on."""
    if not cursor:
        return 0, ""
    queue, _, rest = cursor.partition(":")
    state, _, inner = rest.partition(":")
    for at, (name, of) in enumerate(stops):
        if (name, of.value) == (queue, state):
            return at, inner
    raise BadInput(f"cursor {shown(cursor)} belongs to no page of this list: repeat the same filters, or begin without a cursor")
