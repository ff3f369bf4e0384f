"""Results: waiting for the end of a job, in another process or this one. One reader a queue while somebody waits."""

from __future__ import annotations

import asyncio

from .clock import Clock
from .errors import JobCancelled, JobDead, JobNotFound, ResultTimeout, StoreError
from .store.base import text
from .store.producing import settled_key
from .store.redis_store import RedisStore

BLOCK_SECONDS = 5.0


class Results:
    """Hands the ends of jobs to those who wait for them."""

    def __init__(self, store: RedisStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[str, dict[str, list[asyncio.Future[str]]]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def wait(self, queue: str, job_id: str, timeout: float | None) -> bytes:
        """The packed result of the job, b'' when it returned nothing; waits up to `timeout` seconds for its end.

        Raises:
            ResultTimeout: it had not ended in time.
            JobDead, JobCancelled: it ended otherwise.
            JobNotFound: it is not kept any more.
        """
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
        try:
            while any(self._waiting.get(queue, {}).values()):
                try:
                    reply = await wire.call(
                        "XREAD", "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", key, seen, timeout=BLOCK_SECONDS + 2
                    )
                except StoreError:
                    await self._clock.sleep(0.25)
                    continue
                for entries in (reply or {}).values():
                    for entry, fields in entries:
                        seen = text(entry)
                        for future in self._waiting.get(queue, {}).get(text(fields[1]), []):
                            if not future.done():
                                future.set_result(text(fields[3]))
        finally:
            await wire.drop()

    async def close(self) -> None:
        """End the readers; who still waits hears of it as a cancellation."""
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
