"""The outbox: what leaves with the next call, and that nothing stays behind in it."""

from __future__ import annotations

from engine.services.meter import Meter
from engine.services.outbox import FULL, NOTHING, Outbox
from engine.store.claim import Claim
from engine.store.settles import Settles
from tests.support.factory import claim


def test_an_empty_outbox_answers_the_one_batch_of_nothing_which_nobody_fills() -> None:
    outbox = Outbox()
    assert outbox.take() is NOTHING
    outbox.fill().complete(_claim(1))
    assert outbox.take() is not NOTHING
    assert len(NOTHING) == 0
    assert NOTHING.args(b"") == Settles().args(b"")


def test_a_first_bite_whose_leases_are_all_lost_does_not_hold_up_those_behind_it() -> None:
    outbox = Outbox()
    first = [_claim(n) for n in range(1, FULL + 1)]
    for one in (*first, last := _claim(FULL + 1)):
        outbox.fill().complete(one)
    outbox.drop({one.entry for one in first})
    assert len(outbox) == 1
    left = [one for _ in range(2) for one in outbox.take().claims]
    assert left == [last]
    assert len(outbox) == 0


def test_what_was_counted_of_dropped_settles_leaves_with_the_next_call() -> None:
    """It stayed until the pool settled something else: of a queue that had become idle, or its last jobs, nobody saw it."""
    outbox, meter = Outbox(), Meter("greet")
    outbox.fill().complete(one := _claim(1))
    meter.observe("completed", 3, 0.004)
    outbox.drop({one.entry})
    leaving = outbox.take()
    assert leaving is not NOTHING
    meter.pour(leaving)
    assert "ended|greet|completed" in leaving.args(b"")
    assert outbox.take() is NOTHING


def _claim(n: int) -> Claim:
    return claim(entry=f"1-{n}")
