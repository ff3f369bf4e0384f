"""A pause is told by the workers that stop for it, and so is its end."""

from __future__ import annotations

from collections.abc import Callable

from engine import Engine, PauseQueue
from engine.events import QueuePaused, QueueResumed
from engine.store.redis_store import RedisStore
from tests.support.recorder import Recorder
from tests.support.running import running, until


async def test_a_handler_that_pauses_its_queue_is_heard_and_so_is_the_resume(
    make_engine: Callable[..., Engine], store: RedisStore, queue: str
) -> None:
    engine = make_engine()
    valid = False

    @engine.queue(queue).handler("send")
    async def send(number: int) -> int:
        if not valid:
            raise PauseQueue("token revoked for +5511987654321")
        return number

    async with engine, running(engine):
        with Recorder(engine.events) as recorder:
            handle = await send.enqueue(7)
            paused = await recorder.next(QueuePaused, queue=queue)
            assert "token revoked" in paused.reason
            assert "987654" not in paused.reason, "a number in a reason is masked"
            assert paused.until_ms is None
            counts = await until(lambda: store.counts(queue), lambda c: c.waiting == 1)
            assert counts.paused is not None
            valid = True
            await store.resume(queue)
            await recorder.next(QueueResumed, queue=queue)
            assert await handle.result(timeout=10) == 7
            assert (await store.counts(queue)).retried == 0, "a pause uses no attempt"
