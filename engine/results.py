"""Results: waiting for the end of a job, in another process or this one. One reader a queue while somebody waits."""

from __future__ import annotations

import asyncio
from functools import partial

from .clock import Clock
from .errors import JobCancelled, JobDead, JobNotFound, Refused, ResultTimeout, StoreError
from .store.base import text
from .store.patience import FIRST_PAUSE, pause
from .store.producing import settled_key
from .store.redis_store import RedisStore
from .store.replies import pairs
from .store.translate import is_damage

BLOCK_SECONDS, MARGIN = 5.0, 2.0
"""Longest wait in one call, and seconds more until the connection counts as dead, or the server's clock as set back."""
KEPT_ENDS = 1_000
"""Ends that the server keeps for who reads late (lua/parts/endings.lua). Who gets so many at once may have missed some."""
MOST_WAITING = 100_000
"""Callers of one process that may wait for an end: a future, a coroutine and a mark on the server each."""


class Results:
    """Hands the ends of jobs to those who wait for them."""

    def __init__(self, store: RedisStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[str, dict[str, list[asyncio.Future[str]]]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._callers = 0

    def __repr__(self) -> str:
        return f"<Results {self._callers} wait>"

    async def wait(self, queue: str, job_id: str, timeout: float | None) -> bytes:
        """The packed result of the job, b'' when it returned nothing; waits up to `timeout` seconds for its end.

        Raises:
            ResultTimeout: it had not ended in time.
            JobDead, JobCancelled: it ended otherwise.
            JobNotFound: it is not kept any more.
            Refused: MOST_WAITING callers of this process wait already.
        """
        if self._callers >= MOST_WAITING:
            most = f"{self._callers:,} callers of this process wait for results, and no more may"
            raise Refused(f"{most}: {queue}/{job_id} goes on, ask for its result when some of them have theirs")
        self._callers += 1
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        mine = self._waiting.setdefault(queue, {}).setdefault(job_id, [])
        mine.append(future)  # before asking the store: its end may be told before its answer is here
        try:
            async with asyncio.timeout(timeout):
                patient = self._store.link.patient
                state, start, result = await patient(lambda: self._store.await_end(queue, job_id), timeout=timeout)
                if state == "waiting":
                    self._listen(queue, start)
                    state = await future
                    _, _, result = await patient(lambda: self._store.await_end(queue, job_id), timeout=timeout)
                return await self._conclude(queue, job_id, state, result)
        except TimeoutError:
            raise ResultTimeout(
                f"{queue}/{job_id} had not ended after {timeout} s; it goes on", job_id=f"{queue}/{job_id}"
            ) from None
        finally:
            self._callers -= 1
            mine.remove(future)
            if not mine:
                self._waiting[queue].pop(job_id, None)

    async def _conclude(self, queue: str, job_id: str, state: str, result: bytes) -> bytes:
        full = f"{queue}/{job_id}"
        if state == "ended" and not result:
            found = await self._store.link.patient(lambda: self._store.find_ended(queue, job_id), timeout=None)
            if found is None:
                raise JobNotFound(f"{full} has ended and is not kept any more", job_id=full)
            state = found.state.value
        if state == "dead":
            raise JobDead(f"{full} is dead: engine job {full} tells why", job_id=full)
        if state in ("cancelled", "removed"):
            raise JobCancelled(f"{full} was {state} before it completed", job_id=full)
        return result

    def _listen(self, queue: str, start: str) -> None:
        reader = self._readers.get(queue)
        if reader is None or reader.done():
            self._readers[queue] = asyncio.get_running_loop().create_task(self._read(queue, start), name=f"results/{queue}")

    async def _read(self, queue: str, seen: str) -> None:
        wire = self._store.link.new_wire(queue, BLOCK_SECONDS)
        key = settled_key(queue)
        may_have_missed = False
        failures = 0
        try:
            while any(self._waiting.get(queue, {}).values()):
                try:
                    reply = await wire.call(
                        "XREAD", "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", key, seen, timeout=BLOCK_SECONDS + MARGIN
                    )
                except StoreError as error:
                    may_have_missed = True  # another server may answer next, or this one without its last second
                    failures += 1
                    await self._clock.sleep(max(pause(failures, error, self._clock.random()), FIRST_PAUSE))
                    if is_damage(error):
                        await self._ask_again(queue)  # nobody can be told there
                    continue
                failures = 0
                for entries in (reply or {}).values():
                    may_have_missed = may_have_missed or len(entries) >= KEPT_ENDS
                    for entry, fields in entries:
                        seen, told = text(entry), pairs(fields)
                        for future in self._waiting.get(queue, {}).get(text(told.get("id", b"")), []):
                            if not future.done() and "o" in told:
                                future.set_result(text(told["o"]))
                if may_have_missed:
                    await self._ask_again(queue)
                    may_have_missed = False
        finally:
            await wire.drop()

    async def _ask_again(self, queue: str) -> None:
        """Ends may have been told that nobody heard: ask for each that is waited for."""
        for job_id, futures in list(self._waiting.get(queue, {}).items()):
            if any(not future.done() for future in futures):
                state, _, _ = await self._store.link.patient(partial(self._store.await_end, queue, job_id), timeout=None)
                for future in futures if state != "waiting" else ():
                    if not future.done():
                        future.set_result(state)

    async def close(self) -> None:
        """End the readers; who still waits hears of it as a cancellation."""
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
