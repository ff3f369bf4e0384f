"""Bulk: acts on many jobs at once, in paced bites, over what was there when they began.

Every bite is one bounded script call and the next one waits, so that the queue goes on meanwhile. Stopping in the middle
is safe: what was done is done, and a second run does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from ..durations import format_duration
from ..errors import BadInput, BadTime, Refused
from ..job import State
from ..store.rows import JobRow, id_order
from .acting import Acting, clean_reason
from .failures import Filter
from .views import counted

BITE = 50
"""Jobs a call: what keeps the scripts under 2 ms."""

REQUEUE_BITE = 25
"""Jobs a requeue: it costs most a job, up to 40 us on Redis 7."""

RECORDS = 200
"""Records a call of a clean."""

REST_SECONDS = 0.005
"""Between two bites of a clean, so that workers get their turn at the server."""

MOST_RATE = 100_000.0
SAMPLES = 5
LEAST_AGE = 1.0
"""Seconds. An age of nothing would mean everything, and that is never meant by `clean`."""

CleanState = Literal["completed", "cancelled", "dead"]


class BulkView(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk act did, or would do (`dry_run`). `skipped`: met, but changed meanwhile or not able to."""

    matched: int
    done: int
    skipped: int
    looked_at: int
    dry_run: bool
    samples: list[str] = []
    by_queue: dict[str, int] = {}


class Progress(msgspec.Struct, frozen=True):
    """How far a bulk act is; `total` is the most it will look at."""

    looked_at: int
    done: int
    total: int


OnProgress = Callable[[Progress], None]


class _Sum:
    """Adds up a bulk act."""

    def __init__(self, on_progress: OnProgress | None, total: int, *, dry_run: bool) -> None:
        self.matched = self.done = self.skipped = self.looked_at = 0
        self.samples: list[str] = []
        self.by_queue: dict[str, int] = {}
        self._total = total
        self._dry_run = dry_run
        self._on_progress = on_progress

    def meet(self, queue: str, ids: list[str]) -> None:
        self.matched += len(ids)
        self.by_queue[queue] = self.by_queue.get(queue, 0) + len(ids)
        self.samples += [f"{queue}/{job_id}" for job_id in ids[: SAMPLES - len(self.samples)]]

    def tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self.looked_at, self.done, max(self._total, self.looked_at)))

    def view(self) -> BulkView:
        return BulkView(
            matched=self.matched,
            done=self.done,
            skipped=self.skipped,
            looked_at=self.looked_at,
            dry_run=self._dry_run,
            samples=self.samples,
            by_queue=self.by_queue,
        )


class Bulk(Acting):
    """The bulk acts. Errors besides their own: StoreUnreachable, StoreUnanswered, StoreRefused; repeat the whole act."""

    async def retry_failed(
        self,
        filters: Filter | None = None,
        *,
        rate: float = 50.0,
        limit: int | None = None,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> BulkView:
        """Requeue dead jobs, oldest first, `rate` a second. Only what was dead when it began: what dies again stays dead.

        Raises:
            UnknownQueue: the filter names no queue there is.
            BadInput: a rate or limit that is none.
            StoreFull: at maxmemory; what was requeued so far is.
        """
        if not 0 < rate <= MOST_RATE:
            raise BadInput(f"rate={rate:g} jobs a second: more than 0, at most {MOST_RATE:.0f}")
        if limit is not None and limit < 1:
            raise BadInput(f"limit={limit} is no number of jobs: at least 1")
        filters = filters or Filter()
        chosen = await self._chosen(filters.queue)
        lines = [(queue, await self.counts(queue), await self._ask(self.store.last_dead, queue)) for queue in chosen]
        sums = _Sum(on_progress, sum(counts.dead for _, counts, _ in lines), dry_run=dry_run)
        for queue, counts, upto in lines:
            since = str(max(counts.now_ms - filters.since_ms, 0)) if filters.since_ms is not None else "0"
            while upto and (limit is None or sums.matched < limit):
                rows = await self._ask(self.store.dead_upto, queue, since=since, upto=upto, limit=BITE)
                sums.looked_at += len(rows)
                meant = [row for row in rows if filters.fits(row, counts.now_ms)]
                meant = meant if limit is None else meant[: limit - sums.matched]
                sums.meet(queue, [row.id for row in meant])
                if not dry_run:
                    await self._requeue_paced(queue, meant, rate, sums)
                sums.tell()
                if len(rows) < BITE:
                    break
                since = rows[-1].entry
        return sums.view()

    async def _requeue_paced(self, queue: str, rows: list[JobRow], rate: float, sums: _Sum) -> None:
        step = max(1, min(REQUEUE_BITE, int(rate / 4)))  # several bites a second, so that a low rate is even
        for start in range(0, len(rows), step):
            began_mono = self._clock.mono()
            ids = [row.id for row in rows[start : start + step]]
            moved, maybe_done = await self._act(self.store.requeue, queue, ids)
            moved = len(ids) if maybe_done else moved
            sums.done += moved
            sums.skipped += len(ids) - moved
            sums.tell()
            await self._clock.sleep(max(len(ids) / rate - (self._clock.mono() - began_mono), 0))

    async def clean(
        self,
        states: tuple[CleanState, ...],
        age_seconds: float,
        *,
        queue: str | None = None,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> BulkView:
        """Drop jobs that ended so longer ago than `age_seconds`; there is no default age, and none below a second.

        Raises:
            BadTime: no age, or one below a second.
            BadInput: no state.
            UnknownQueue: no such queue.
        """
        if not age_seconds >= LEAST_AGE:
            raise BadTime(f"age {age_seconds:g} s is too young to clean by: at least {format_duration(LEAST_AGE)}, such as 7d")
        if not states:
            raise BadInput("nothing to clean: name at least one of completed, cancelled, dead")
        sums = _Sum(on_progress, 0, dry_run=dry_run)
        for name in await self._chosen(queue):
            before_ms = (await self.counts(name)).now_ms - round(age_seconds * 1000)
            for state in states:
                if dry_run:
                    await self._count_old(name, state, before_ms, sums)
                else:
                    await self._drop_old(name, state, before_ms, sums)
        return sums.view()

    async def _drop_old(self, queue: str, state: CleanState, before_ms: int, sums: _Sum) -> None:
        more, cursor = True, ""
        while more:
            if state == "dead":
                bite = await self._ask(self.store.sweep_dead, queue, before_ms, limit=BITE)
            else:
                bite = await self._ask(self.store.sweep_done, queue, before_ms, limit=RECORDS, kind=state, cursor=cursor)
            more, cursor = bite.is_more, bite.cursor
            sums.matched += bite.dropped
            sums.done += bite.dropped
            sums.looked_at += bite.dropped
            sums.by_queue[queue] = sums.by_queue.get(queue, 0) + bite.dropped
            sums.tell()
            await self._clock.sleep(REST_SECONDS)

    async def _count_old(self, queue: str, state: CleanState, before_ms: int, sums: _Sum) -> None:
        cursor, more = "", True
        while more:
            n, cursor = await self._ask(self.store.count_older, queue, State(state), before_ms, cursor)
            more = bool(cursor)
            sums.matched += n
            sums.looked_at += n
            sums.by_queue[queue] = sums.by_queue.get(queue, 0) + n
            sums.tell()

    # --- whole queues ----------------------------------------------------------------------------------------------------

    async def drain(self, queue: str, timeout: float, reason: str = "") -> int:
        """Pause a queue and wait until nothing of it is active; how many still are after `timeout` seconds (0: drained).

        The queue stays paused until resumed, either way; for the reason given, else for the one that stood. Raises UnknownQueue.
        """
        deadline_mono = self._clock.mono() + timeout
        standing = (await self.counts(queue)).paused
        await self.pause(queue, reason or (standing.reason if standing else "") or "being drained")
        while True:
            active = (await self.counts(queue)).active
            if not active or self._clock.mono() >= deadline_mono:
                return active
            await self._clock.sleep(0.1)

    async def empty(self, queue: str, reason: str = "", *, on_progress: OnProgress | None = None) -> BulkView:
        """Delete every job of a queue that has not started: waiting, scheduled, retrying, blocked, as of now.

        Active, dead and ended ones stay, and so does what is enqueued meanwhile. Raises UnknownQueue.
        """
        await self.check_known(queue)
        counts = await self.counts(queue)
        why = clean_reason(reason) or "queue emptied by an operator"
        sums = _Sum(on_progress, counts.pending - counts.active, dry_run=False)
        # a job that is enqueued from here on has an id behind the last one; of now an id tells only while no clock was set back
        line = max((counts.now_ms, 0), id_order(await self._ask(self.store.last_id, queue)))
        # Blocked ones first: deleting the holder of a key would only move the next one up.
        for state in (State.BLOCKED, State.SCHEDULED, State.RETRYING, State.WAITING):
            cursor, more = "", True
            while more:
                page = await self._ask(self.store.page, queue, state, cursor=cursor, limit=BITE)
                for row in page.rows:
                    sums.looked_at += 1
                    if id_order(row.id) <= line:
                        await self._delete_one(queue, row.id, why, sums)
                cursor, more = page.cursor, bool(page.cursor)
                sums.tell()
                await self._clock.sleep(REST_SECONDS)
        return sums.view()

    async def _delete_one(self, queue: str, job_id: str, reason: str, sums: _Sum) -> None:
        removal, maybe_done = await self._act(self.store.delete, queue, job_id, reason)
        sums.meet(queue, [job_id])
        if removal == "done" or maybe_done:
            sums.done += 1
        else:
            sums.skipped += 1

    async def obliterate(self, queue: str, *, force: bool = False) -> None:
        """Remove a queue with everything it ever had, counters included.

        Raises:
            UnknownQueue: no such queue.
            Refused: jobs are active; drain first, or `force`, and their workers lose them.
        """
        await self.check_known(queue)
        while True:
            bite = await self._ask(self.store.obliterate, queue, force=force)
            if bite.active:
                raise Refused(f"{counted(bite.active, 'active job')} in queue {queue!r}: drain it first, or force")
            if bite.is_done:
                await self._ask(self.store.unregister_queue, queue)
                return
            await self._clock.sleep(REST_SECONDS)
