"""Promise 5, order: recorded attempts of one key never overlap and never overtake, through retries, stalls, kills and cuts."""

from __future__ import annotations

import pytest

from tests.support.faults import Proxy, calls
from tests.support.worker_main import Config, Script

from .checks import assert_each_ended_once, assert_in_order
from .crew import Crew

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def _plan(n: int) -> tuple[str, ...]:
    """Of each key some fail, some are put off, one kills its worker, one dies."""
    if n in (17, 33):
        return ("kill", "ok")
    return {3: ("fail", "ok"), 5: ("snooze", "ok"), 7: ("fail", "fail", "ok"), 8: ("discard",)}.get(n % 11, ("ok",))


async def test_jobs_of_a_key_run_in_order_through_retries_and_killed_workers(crew: Crew) -> None:
    scripts = [Script(n=n, plan=_plan(n), seconds=0.02, key=f"k{n % 5}") for n in range(60)]
    handles = await crew.add(*scripts)
    died = await crew.keep(3, timeout=60)
    assert died == 2
    counts = await crew.counts()
    assert counts.stalled >= 2
    await assert_each_ended_once(crew, [handle.id for handle in handles])
    await assert_in_order(crew)


async def test_order_holds_while_replies_of_steps_are_lost(config: Config) -> None:
    async with Proxy(config.url) as proxy, Crew(config) as crew:
        cut = proxy.cut(calls("step"), "after", every=4, times=1_000_000)
        for _ in range(2):
            await crew.start(url=proxy.url)
        scripts = [
            Script(n=n, plan=("fail", "ok") if n % 7 == 3 else ("ok",), seconds=0.005, key=f"k{n % 4}") for n in range(120)
        ]
        handles = await crew.add(*scripts)
        await crew.all_ended()
        assert cut.done > 5
        await assert_each_ended_once(crew, [handle.id for handle in handles])
        await assert_in_order(crew)


async def test_a_key_waits_behind_its_retrying_job_while_other_keys_go_on(crew: Crew) -> None:
    await crew.start()
    await crew.add(
        Script(n=0, plan=("retry", "ok"), seconds=0.5, key="a"), Script(n=1, key="a"), Script(n=2, key="b"), Script(n=3, key=None)
    )
    await crew.all_ended()
    assert [x.n for x in crew.journal.starts() if x.key == "a"] == [0, 0, 1]
    assert {2, 3} <= {x.n for x in crew.journal.starts()[:4]}
    await assert_in_order(crew)
