"""Planted: with each of these bugs in the engine the suite turns red, and says which law is broken.

The control is the suite itself: what is run here with a bug is run without it by test_interleavings.py and test_pool_orders.py.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.interleave.explore import Search
from tests.support.interleave.pools import POOL_ORDERS, run_pool_orders, settle_meets_another_server
from tests.support.interleave.set_ups import SET_UPS
from tests.support.interleave.state_laws import LawBroken
from tests.support.planted import BY_NAME as BY_PLANT
from tests.support.planted import planted
from tests.support.plants import PLANTS

BY_NAME = {set_up.name: set_up for set_up in SET_UPS}
ANOTHER_SERVER = "a settle meets another server"

CAUGHT = {
    "no-fence": ("complete while leases run out", "told that [] are lost, and"),
    "ack-without-delete": ("complete while leases run out", "was delivered and belongs to nobody: it will never run"),
    "renewal-without-owner-check": ("renewals that arrive late", "it was told []"),
    "client-retries-on": (ANOTHER_SERVER, "w1 settled at a server that it had not asked"),
    "xautoclaim-from-0-0": ("many leases held, one run out", "has run out, and no look of the reclaimer ever reaches it"),
    "unguarded-delconsumer": ("a worker leaves", "was delivered and belongs to nobody: it will never run"),
    "trimmed-work-stream": ("two settled in one call", "conservation is off by 1: 4 enqueued, 3 accounted for"),
    "remove-then-add-promotion": ("retry, promote, renew", "conservation is off by 1: 2 enqueued, 1 accounted for"),
    "group-recreated-at-the-end": ("the group is lost", "was delivered and belongs to nobody: it will never run"),
    "reader-cancelled-on-stop": ("a stop at any moment, and a lost reply", "are still claimed for a pool that has ended"),
    # claimed for a pool that has ended, or a pool does not end, whichever is met first
    "lost-reply-taken-for-nothing": ("a stop at any moment, and a lost reply", "pool"),
    "settled-before-asking": (ANOTHER_SERVER, "w1 settled at a server that it had not asked"),
    "hand-over-forgotten": ("complete while leases run out", "which is completed: nobody hands it over"),
    "key-given-away-at-retry": ("two replies lost", "two could run at once"),
    "line-served-from-its-end": ("a long line", "somebody overtook"),
    "rung-never-cleared": ("who sleeps is rung", "found nothing and sleeps, and nobody rang since"),
    "number-before-settles": ("a foreign type in a key's place", "refused must change nothing, and did"),
    "old-copies-obeyed": ("complete while leases run out", "was done anew"),
    "numbers-never-kept": ("two replies lost", "was done before and was answered ok"),
    "repeats-add-again": ("two producers, one key", "must change nothing, and did"),
    "dedup-key-not-kept": ("two producers, one dedup key", "told that it is new, and a duplicate is the truth"),
    "priorities-backwards": ("priorities", "claimed past a job of a higher priority"),
    "cancel-of-an-active-job-dropped": ("renewals that arrive late", "nobody will know that the cancel of"),
    "cancel-of-an-active-job-unread": ("cancel of the first and the second", "nobody will read it"),
    "end-not-announced": ("somebody waits for the end", "and was told nothing"),
    "row-left-behind": ("complete while leases run out", "which is completed and needs None"),
    "a-stall-uses-an-attempt": ("complete while leases run out", "is at attempt 2, and 1 is the truth"),
    "promoted-early": ("earlier due than told", "went from scheduled to waiting"),
    "suspects-in-company": ("suspects run alone", "a suspect does not run alone, its worker holds 1 beside it"),
    "given-back-to-the-end": ("suspects given back", "waits in stream 5, and E is its place"),
    "pause-overlooked": ("pause and resume", "1 claimed, at most 0 may be given out"),
    "own-leases-ignored": ("a longer lease beside others", "went from active to waiting"),
}
"""Plant -> the part of the suite that is run with it, and what that part says."""


def run(url: str, part: str) -> None:
    """A part of the suite; LawBroken when a law does not hold."""
    with ThreadPoolExecutor(1) as pool:
        if part == ANOTHER_SERVER:
            pool.submit(lambda: asyncio.run(settle_meets_another_server(url))).result()
        elif part in POOL_ORDERS:
            pool.submit(lambda: asyncio.run(run_pool_orders(url, part))).result()
        else:
            pool.submit(lambda: asyncio.run(Search(url, BY_NAME[part]).run())).result()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # some plants leave connections open: that is the bug
@pytest.mark.parametrize("name", [plant.name for plant in PLANTS])
def test_a_planted_bug_turns_the_suite_red_with_the_laws_sentence(server_url: str, name: str) -> None:
    part, sentence = CAUGHT[name]
    with planted(name), pytest.raises(LawBroken) as broken:
        run(server_url, part)
    assert sentence in str(broken.value)
    del broken
    gc.collect()  # here, and not in the test that comes after it


def test_every_plant_is_tried() -> None:
    assert list(CAUGHT) == [plant.name for plant in PLANTS]
    assert len({plant.instead for plant in PLANTS}) == len(PLANTS)


@pytest.mark.parametrize("where", ["step.lua", "engine.services.pool:Pool._step"])
def test_a_plant_whose_place_is_gone_says_so(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = replace(BY_PLANT["no-fence"].edits[0], where=where, old="what nobody ever wrote")
    monkeypatch.setitem(BY_PLANT, "no-fence", replace(BY_PLANT["no-fence"], edits=(edit,)))
    with pytest.raises(AssertionError, match=f"what it replaces in {where} is there 0 times"), planted("no-fence"):
        pass


@pytest.mark.parametrize("plant", ["hand-over-forgotten", ""])
def test_the_switch_turns_a_run_of_pytest_red_and_without_it_the_run_is_green(server_kind: str, plant: str) -> None:
    part = "tests/store/test_interleavings.py::test_in_every_order_the_laws_hold_after_each_call[two-settled-in-one-call]"
    switch = ["--planted", plant] if plant else []
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--server", server_kind, *switch, part]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == (1 if plant else 0), ran.stdout
    assert ("nobody hands it over" in ran.stdout) == bool(plant)
