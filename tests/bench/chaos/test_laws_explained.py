"""The laws on runs with faults, written by hand: what a fault explains is no violation, and what it does not explain is one."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import pytest

from bench.chaos.figures import figures_of
from bench.chaos.journal import Record, acknowledged
from bench.chaos.laws.executions import Cause, Extra, unexplained
from bench.chaos.story import JobStory, Run
from tests.bench.chaos.made import LEASE_MS, STALL_LIMIT, WALL, Made


def frozen(**fault: Any) -> Made:
    """Process 1 starts a job at 100 and is frozen from 150 to 3350; process 2 runs it at 2200; process 1 ends it at 3400, too
    late."""
    made = Made()
    made.ask(1)
    made.run(1, 100, 3400, pid=1)
    made.run(1, 2200, 2300, pid=2)
    made.ended(1, (1, 2, 2200, 2300, "completed"), losses=((1, 2190),))
    how: dict[str, Any] = {"begin": 150, "end": 3350, "pids": (1,), **fault}
    made.fault("freeze", how.pop("begin"), how.pop("end"), *how.pop("pids"), **how)
    return made


def test_a_frozen_workers_run_may_overlap_its_successors() -> None:
    assert frozen().broken() == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"pids": (3,)},
        {"begin": 2400, "end": 3350},
        {"injected": False},
        {"loses_lease": False},
        {"entitles": 0},
    ],
    ids=["another process", "began after the lease was lost", "not injected", "takes no lease", "entitles to none"],
)
def test_a_second_start_needs_a_fault_that_explains_it(fault: dict[str, Any]) -> None:
    assert list(frozen(**fault).broken()) == ["executions bounded"]


@pytest.mark.parametrize(("ended", "away", "is_fine"), [(1900, False, True), (500, False, False), (500, True, True)])
def test_handlers_that_had_ended_when_their_process_was_struck_take_no_entitlement(ended: int, away: bool, is_fine: bool) -> None:
    made = Made()
    for n in range(1, 4):
        made.ask(n)
        made.run(n, ended - 20, ended, pid=1)
        again = 5000 + 20 * n
        made.run(n, again, again + 10, pid=2)
        made.ended(n, (1, 2, again, again + 10, "completed"), losses=((1, 4800),))
    made.fault("kill", 2900, 2910, 1, entitles=0)
    if away:
        made.fault("outage", 900, 1500, loses_lease=False, entitles=0, server_away=True)
    assert made.broken() == {} if is_fine else list(made.broken()) == ["executions bounded"]


def test_a_fault_that_is_long_over_explains_nothing_but_the_dead_stay_struck() -> None:
    made = Made()
    made.ask(1)
    made.fault("kill", 100, 110, 1)
    made.run(1, 60_000, pid=1)
    made.run(1, 63_000, 63_010, pid=2)
    made.ended(1, (1, 2, 63_000, 63_010, "completed"), losses=((1, 62_500),))
    assert list(made.broken()) == ["executions bounded"]
    made.note("gone", 105, pid=1, how="-9")
    assert made.broken() == {}


@pytest.mark.parametrize(
    ("pid", "gone_at", "is_fine"),
    [(None, 0, False), (1, 0, True), (2, 0, True), (3, 0, True), (3, 15_000, False), (1, 15_000, True)],
    ids=["nobody", "its own", "who starts it next", "anybody's who is there", "somebody's who has left", "its own, dead since"],
)
def test_where_a_lease_is_longer_it_may_be_found_lost_later_after_a_fault(pid: int | None, gone_at: int, is_fine: bool) -> None:
    made = Made()
    made.ask(1)
    if pid is not None:
        made.note("live", 50, pid=pid, lease_ms=2 * LEASE_MS)
    if gone_at:
        made.note("gone", gone_at, pid=pid, how="0")
    made.run(1, 100, pid=1)
    made.fault("half-open", 150, 350, 1)
    made.run(1, 16_100, 16_110, pid=2)
    made.ended(1, (1, 2, 16_100, 16_110, "completed"), losses=((1, 16_000),))
    assert made.broken() == {} if is_fine else list(made.broken()) == ["executions bounded"]
    figures = figures_of(made.story())
    assert (figures.recovery.count, figures.recovery_disturbed.count) == ((0, 1) if is_fine else (1, 0))


def test_a_worker_that_was_just_thawed_may_start_what_has_ended_meanwhile_but_not_later() -> None:
    def late(start: int) -> dict[str, str]:
        made = Made()
        made.ask(1)
        made.run(1, 2200, 2300, pid=2)
        made.run(1, start, start + 100, "cancelled", pid=1, told=start + 100)
        made.ended(1, (1, 2, 2200, 2300, "completed"), losses=((1, 2190),))
        made.fault("freeze", 150, 3350, 1)
        return made.broken()

    assert late(3360) == {}
    assert list(late(9000)) == ["executions bounded"]


def test_a_start_that_left_no_trace_at_all_needs_a_fault_as_well() -> None:
    made = Made()
    made.ask(1)
    made.run(1, 100, 110, pid=1)
    made.run(1, 300, 310, pid=2)
    made.ended(1, (1, 2, 300, 310, "completed"))
    assert list(made.broken()) == ["executions bounded"]
    made.fault("cut", 105, 200, 1)
    assert made.broken() == {}


def shared(*windows: tuple[int, int]) -> list[Extra]:
    """Starts in one process; which faults fit follows from their windows."""
    found = []
    for n, (begin, end) in enumerate(windows):
        made = Made()
        made.run(n, begin)
        job = JobStory(f"q/{n}")
        found.append(Extra(job, Run(made.records[0]), begin, end, True))
    return found


def test_faults_share_what_they_are_entitled_to() -> None:
    """The first fault fits both starts, the second only one: the first must not be used up by the one that has a choice."""
    early, late = (Cause(name, begin, end, frozenset(), 1, True) for name, begin, end in (("early", 0, 100), ("late", 200, 300)))
    both, one = shared((50, 10**9), (10, 20))
    assert unexplained([both, one], [early, late]) == []
    early.taken, late.taken = [], []
    assert unexplained([one, both], [late, early]) == []
    early.taken, late.taken = [], []
    assert len(unexplained([*shared((50, 10**9), (10, 20)), *shared((50, 10**9))], [early, late])) == 1


# --- jobs that end their process ---------------------------------------------------------------------------------------


def crash(*, told: int, neighbours: int = 1) -> Made:
    """A job ends process 1 at 100 and runs in process 2; jobs beside it start anew, too."""
    made = Made()
    made.ask(1, crashes=told)
    made.run(1, 100, pid=1)
    made.note("gone", 120, pid=1, how="3")
    made.run(1, 2400, 2410, pid=2)
    made.ended(1, (1, 2, 2400, 2410, "completed"), losses=((1, 2300),))
    for n in range(2, 2 + neighbours):
        made.ask(n)
        made.run(n, 90, pid=1)
        again = 2500 + 20 * n
        made.run(n, again, again + 10, pid=2)
        made.ended(n, (1, 2, again, again + 10, "completed"), losses=((1, 2300),))
    return made


def test_a_job_that_was_told_to_end_its_process_may_and_its_neighbours_start_anew() -> None:
    assert crash(told=1, neighbours=4).broken() == {}


def test_it_takes_no_more_along_than_ran_beside_it() -> None:
    assert list(crash(told=1, neighbours=5).broken()) == ["executions bounded"]


def test_it_may_end_processes_no_more_often_than_it_was_told() -> None:
    made = crash(told=1)
    made.run(1, 50, pid=3)
    made.note("gone", 60, pid=3, how="3")
    assert made.broken() == {"executions bounded": "it ended its process 2 times, told to 1 times"}


def test_a_process_that_nobody_told_to_end_is_a_violation() -> None:
    assert set(crash(told=0).broken()) == {"executions bounded", "workers live"}


def dead_for_stalls(want: str, *, stalls: int = STALL_LIMIT + 1, kill: str = "") -> Made:
    """A job that ends each process it runs in (or is killed with it each time), until it is buried."""
    made = Made()
    made.ask(1, want=want, crashes=0 if kill else 1000)
    for pid in range(1, stalls + 1):
        at = pid * 5000
        made.run(1, at, pid=pid)
        if kill:
            made.fault(kill, at + 10, 0, pid)
        made.note("gone", at + 20, pid=pid, how="-9")
    losses = tuple((pid, pid * 5000 + 2500) for pid in range(1, stalls + 1))
    place = {"place": "d:1-1", "reason": "stall limit"}
    made.ended(1, state="dead", at=stalls * 5000 + 2500, losses=losses, **place)
    return made


def test_poison_is_dead_after_one_stall_more_than_the_limit() -> None:
    assert dead_for_stalls("stalled").broken() == {}
    assert list(dead_for_stalls("stalled", stalls=STALL_LIMIT).broken()) == ["ended as told"]


def test_an_innocent_may_be_dead_for_its_stalls_only_when_a_fault_took_each_of_its_leases() -> None:
    assert dead_for_stalls("completed", kill="kill").broken() == {}
    assert list(dead_for_stalls("completed").broken()) == ["ended as told"]


def test_a_job_is_alone_at_its_first_start_after_a_loss_and_only_then() -> None:
    def beside(begin: int, end: int, *, pid: int = 2) -> dict[str, str]:
        made = frozen()
        made.ask(2)
        made.usual(2, begin, end, pid=pid)
        return made.broken()

    assert list(beside(2150, 2250)) == list(beside(2250, 2350)) == list(beside(2150, 2350)) == ["suspects alone"]
    assert beside(2150, 2195) == beside(2305, 2400) == beside(2150, 2350, pid=3) == {}


# --- deploys, cancels, handlers that will not stop -----------------------------------------------------------------------


def test_a_deploy_may_give_jobs_back_and_nothing_else_may() -> None:
    made = Made()
    made.ask(1)
    made.run(1, 100, 5200, "cancelled", pid=1, told=5190)
    made.run(1, 5300, 5310, pid=2)
    made.ended(1, (1, 1, 100, 5200, "released"), (1, 2, 5300, 5310, "completed"))
    assert list(made.broken()) == ["executions bounded"]
    made.fault("deploy", 150, 5250, 1, entitles=1, loses_lease=False)
    assert made.broken() == {}


def test_a_handler_that_would_not_stop_may_outlive_its_attempt_and_one_that_nobody_told_may_not() -> None:
    def outlived(told: int | None) -> dict[str, str]:
        made = Made()
        made.ask(1, 1, key="k", want="dead", fails=3)
        made.ask(2, 2, key="k")
        made.run(1, 100, 110, "failed")
        made.run(1, 200, 210, "failed", attempt=2)
        made.run(1, 300, 9000, "failed", attempt=3, told=told)
        made.ended(
            1,
            *((1, 1, 100, 110, "retry:x"), (2, 1, 200, 210, "retry:x"), (3, 1, 300, 6000, "dead:AttemptTimeout: too long")),
            state="dead",
            reason="attempts used up",
            key="k",
            place="d:1-1",
        )
        made.run(2, 6100, 6110)
        made.ended(2, (1, 1, 6100, 6110, "completed"))
        return made.broken()

    assert outlived(1000) == {}
    assert list(outlived(None)) == ["no overlap"]


def test_a_run_that_was_cancelled_counts_as_recorded_though_redis_keeps_no_worker_of_it() -> None:
    made = Made()
    made.ask(1, want="cancelled")
    made.run(1, 100, 3400, "cancelled", pid=1, told=3399)
    made.note("cancel_asked", 2500, job=made.job(1))
    made.note("cancel_answer", 2501, job=made.job(1), how="requested")
    made.run(1, 2400, 2600, "cancelled", pid=2, told=2590)
    made.fault("freeze", 150, 3350, 1)
    made.ended(1, state="cancelled", at=2601, reason="asked while active", losses=((1, 2300),))
    assert made.broken() == {}
    made.run(1, 2700, 2710, "cancelled", pid=3, told=2709)
    assert "executions bounded" in made.broken()


@pytest.mark.parametrize(
    ("answer", "start", "is_fine"),
    [("requested", 90, True), ("requested", 5000, False), ("cancelled", 90, False), ("late", 90, True)],
)
def test_a_cancel_that_was_acknowledged_holds(answer: str, start: int, is_fine: bool) -> None:
    made = Made()
    made.ask(1, want="cancelled")
    made.note("cancel_asked", 99, job=made.job(1))
    made.note("cancel_answer", 100, job=made.job(1), how=answer)
    made.usual(1, start, start + 20)
    assert made.broken() == {} if is_fine else list(made.broken()) == ["ended as told"]


def test_nobody_is_cancelled_unasked() -> None:
    made = Made()
    made.ask(1)
    made.ended(1, state="cancelled", at=50, reason="why not")
    assert list(made.broken()) == ["ended as told"]


# --- attempts ----------------------------------------------------------------------------------------------------------


def retried(error: str, how: str, *, told: int | None = None, fails: int = 1) -> dict[str, str]:
    """An attempt that is recorded as failed, and one that completes."""
    made = Made()
    made.ask(1, fails=fails)
    made.run(1, 100, 200, how, told=told)
    made.run(1, 300, 310, attempt=2)
    made.ended(1, (1, 1, 100, 200, f"retry:{error}"), (2, 1, 300, 310, "completed"))
    return made.broken()


def test_a_failure_is_recorded_when_the_handler_failed_or_ran_out_of_time() -> None:
    assert retried("OSError: no", "failed") == {}
    assert retried("AttemptTimeout: too long", "cancelled", told=190) == {}
    assert list(retried("HandlerCancelled: who did that", "cancelled", told=190)) == ["outcomes true"]
    assert list(retried("OSError: no", "failed", fails=0)) == ["attempts honest"]


def test_more_attempts_than_there_may_be_are_too_many() -> None:
    made = Made()
    made.ask(1, fails=3)
    for attempt in range(1, 5):
        made.run(1, attempt * 100, attempt * 100 + 10, "failed" if attempt < 4 else "ok", attempt=attempt)
    tries = [
        (attempt, 1, attempt * 100, attempt * 100 + 10, "retry:x" if attempt < 4 else "completed") for attempt in range(1, 5)
    ]
    made.ended(1, *tries)
    assert list(made.broken()) == ["attempts honest"]


def test_dead_before_its_attempts_are_used_up_is_dead_too_soon() -> None:
    made = Made()
    made.ask(1, fails=3, want="dead")
    made.run(1, 100, 110, "failed")
    made.ended(1, (1, 1, 100, 110, "dead:x"), state="dead", reason="attempts used up", place="d:1-1")
    assert made.broken()["attempts honest"] == "it is dead with its attempts used up after 1 failures of 3"


# --- keys --------------------------------------------------------------------------------------------------------------


def test_a_delayed_job_has_a_turn_of_its_own_but_no_place_in_the_order() -> None:
    made = Made()
    made.ask(1, 0, key="k", due_ms=WALL + 500)
    made.ask(2, 10, key="k")
    made.usual(2, 100, 200)
    made.usual(1, 600, 700)
    assert made.broken() == {}


def test_no_other_job_of_a_key_runs_between_the_attempts_of_one() -> None:
    made = Made()
    made.ask(1, 0, key="k", fails=1)
    made.ask(2, 10, key="k")
    made.run(1, 100, 110, "failed")
    made.usual(2, 200, 210)
    made.run(1, 300, 310, attempt=2)
    made.ended(1, (1, 1, 100, 110, "retry:x"), (2, 1, 300, 310, "completed"))
    assert list(made.broken()) == ["in order"]


@pytest.mark.parametrize("ahead", [0, 3_600_000, -3_600_000])
def test_the_servers_clock_may_be_far_off(ahead: int) -> None:
    made = Made(ahead)
    made.ask(1, 0, key="k")
    made.ask(2, 10, key="k")
    made.run(1, 100, 3400, pid=1)
    made.run(1, 2200, 2300, pid=2)
    made.ended(1, (1, 2, 2200, 2300, "completed"), losses=((1, 2190),))
    made.fault("freeze", 150, 3350, 1)
    made.usual(2, 2310, 2320, pid=2)
    assert made.broken() == {}


# --- producers ---------------------------------------------------------------------------------------------------------


def unlucky(what: Any, *, poor: bool = False, away: bool = False, kill: bool = False) -> dict[str, str]:
    """An enqueue that was not acknowledged."""
    made = Made()
    made.note("ask", 100, n=1, pid=100)
    if what:
        made.note(what, 200, n=1, took_ms=100, how="StoreRefused")
    if poor or away:
        made.fault("outage", 50, 150, loses_lease=False, entitles=0, poor=poor, server_away=away)
    if kill:
        made.fault("kill", 150, 160, 100, loses_lease=False, entitles=0)
    return made.broken()


def test_an_enqueue_is_refused_or_unknown_only_for_a_reason() -> None:
    assert list(unlucky("refused")) == list(unlucky("unknown")) == list(unlucky("")) == ["answered"]
    assert unlucky("refused", poor=True) == unlucky("refused", away=True) == unlucky("unknown", away=True) == {}
    assert unlucky("", kill=True) == {}
    assert list(unlucky("refused", kill=True)) == ["answered"]


@pytest.mark.parametrize(
    ("code", "away", "is_fine"),
    [("-15", False, True), ("69", True, True), ("69", False, False), ("1", True, False), ("0", False, True)],
)
def test_a_worker_may_end_at_its_start_when_there_is_no_server(code: str, away: bool, is_fine: bool) -> None:
    made = Made()
    made.note("live", 100, pid=5, worker="w5")
    made.note("gone", 900, pid=5, worker="w5", how=code)
    if away:
        made.fault("outage", 50, 150, loses_lease=False, entitles=0, server_away=True)
    assert made.broken() == {} if is_fine else list(made.broken()) == ["workers live"]


@pytest.mark.parametrize(("kind", "code", "is_fine"), [("delay", "75", True), ("delay", "69", False), ("cut", "75", False)])
def test_a_worker_may_have_no_answer_in_time_at_its_start_while_messages_are_delayed(kind: str, code: str, is_fine: bool) -> None:
    made = Made()
    made.note("live", 100, pid=5, worker="w5")
    made.note("gone", 6200, pid=5, worker="w5", how=code)
    made.fault(kind, 2500, 6100, loses_lease=False, entitles=0)
    assert made.broken() == {} if is_fine else list(made.broken()) == ["workers live"]


# --- figures -----------------------------------------------------------------------------------------------------------


def test_figures_of_a_run_with_a_frozen_worker() -> None:
    made = frozen(server_away=False)
    made.fault("restart", 5000, 6000, loses_lease=False, entitles=0, server_away=True)
    for n, at in ((2, 5500), (3, 6500)):
        made.ask(n, at)
        made.usual(n, 6700 + n, 6710 + n)
    figures = figures_of(made.story())
    assert (figures.jobs, figures.starts, figures.extra, figures.stalls, figures.late) == (3, 4, 1, 1, 0)
    assert (figures.recovery.count, figures.recovery.most) == (1, 2.05)
    assert (figures.restart.count, figures.restart.most) == (1, 0.702)
    assert figures.longest_stall == pytest.approx(1.201)  # number 2 was acknowledged at 5501
    assert figures.ended == {"completed": 3}


def test_examples_in_the_documentation_are_true() -> None:
    found = doctest.testmod(importlib.import_module("bench.chaos.figures"))
    assert found.attempted
    assert not found.failed


def test_a_server_is_back_when_all_that_kept_it_away_is_over_and_has_to_stay_for_work_to_go_on() -> None:
    made = Made()
    made.usual(1, 100, 200)
    made.fault("server-kill", 1000, 3000, loses_lease=False, entitles=0, server_away=True)
    made.fault("outage", 2500, 4000, loses_lease=False, entitles=0, server_away=True)  # overlaps: back at 4000
    made.fault("server-kill", 4500, 5000, loses_lease=False, entitles=0, server_away=True)  # left before anything could start
    made.usual(2, 5400, 5500)
    made.fault("server-kill", 6000, 7000, loses_lease=False, entitles=0, server_away=True)
    made.fault("cut", 8000, 8001, loses_lease=False, entitles=0)
    made.fault("outage", 9500, 9600, loses_lease=False, entitles=0, server_away=True)  # it was there for 2.5 s, and nothing
    made.usual(3, 9700, 9800)
    figures = figures_of(made.story())
    assert (figures.restart.count, figures.restart.p50, figures.restart.most) == (3, 0.4, 2.5)
    assert figures.restart_during == "server-kill, cut"


def test_a_job_that_a_bulk_enqueue_counted_as_in_is_found_by_its_number_or_lost() -> None:
    made = Made()
    for n in (1, 2):
        made.note("ask", 0, n=n, want="completed", pid=100)
        made.note("acked", 5, n=n, how="counted")
    made.run(1, 100, 200)
    made.ended(1, (1, 1, 100, 200, "completed"))
    assert list(made.broken()) == ["nothing lost"]
    made.usual(2, 100, 200)
    assert made.broken() == {}


def test_a_job_told_by_number_and_by_id_is_one_and_a_duplicate_is_none_of_its_own() -> None:
    told = [
        *(Record(what="acked", n=n, how="counted") for n in (1, 2)),
        Record(what="unknown", n=3),
        *(Record(what="acked", n=n, job=f"q/{n}", how="repeated") for n in (2, 3)),
        Record(what="acked", n=4, job="q/3", how="duplicate"),
        Record(what="refused", n=5),
    ]
    assert acknowledged(told) == 3
