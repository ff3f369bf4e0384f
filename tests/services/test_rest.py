"""Rest: an idle pool glances at its queue now and then, in case that a bell was lost."""

from __future__ import annotations

import pytest

from engine.events import JobCompleted
from engine.services import rest
from engine.services.caller import GLANCES
from engine.services.pool import Pool
from engine.store.redis_store import RedisStore
from tests.services.test_pool import Bench
from tests.support.factory import enqueue
from tests.support.running import until


async def _idle(pool: Pool) -> bool:
    return pool.is_idle


async def _glances(looks: list[str]) -> int:
    return looks.count("glance")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "GLANCE", 0.02)


@pytest.mark.usefixtures("quick")
async def test_a_job_whose_bell_nobody_heard_is_found_at_a_glance(store: RedisStore, queue: str) -> None:
    async with Bench(store, queue) as bench:  # it has no bell
        await until(lambda: _idle(bench.pool), bool)
        (job_id,) = await enqueue(store, queue)
        await bench.recorder.next(JobCompleted, id=f"{queue}/{job_id}")


@pytest.mark.usefixtures("quick")
async def test_a_glance_at_an_idle_queue_is_no_step(store: RedisStore, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    glance, step = store.may_have_work, store.step

    async def glanced(queue: str) -> bool:
        looks.append("glance")
        return await glance(queue)

    async def stepped(*args: object) -> object:
        looks.append("step")
        return await step(*args)  # type: ignore[arg-type]  # passed on as they came

    await enqueue(store, queue)
    monkeypatch.setattr(store, "may_have_work", glanced)
    monkeypatch.setattr(store, "step", stepped)
    async with Bench(store, queue):
        await until(lambda: _glances(looks), lambda seen: seen >= 2 * GLANCES)
    first = looks.index("glance")
    assert looks[first : first + 2 * GLANCES] == (["glance"] * (GLANCES - 1) + ["step"]) * 2
