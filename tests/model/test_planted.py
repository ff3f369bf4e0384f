"""The model can fail: with each of these bugs in the scripts it says what differs, within the calls that the suite plays.

Left out of tests/support/plants.py are those it can't see or rarely gets to: errors in the midst of a script, a lost group, a look
of the reclaimer that starts anew, a cancel or a suspect at one certain moment; tests/store/test_planted.py has them all.
"""

from __future__ import annotations

import pytest

from tests.support.planted import planted

from .ground import Ground
from .machine import play

CAUGHT = {
    "no-fence": "refused [], not",
    "ack-without-delete": "was delivered, and is nobody's",
    "renewal-without-owner-check": "renewed: lost []",
    "unguarded-delconsumer": "was delivered, and is nobody's",
    "trimmed-work-stream": "seen ready:",
    "hand-over-forgotten": "claimed [], allowed",
    "rung-never-cleared": "sleep, and",
    "old-copies-obeyed": "an older copy was answered",
    "numbers-never-kept": "seen calls: {}",
    "repeats-add-again": "sent again, p0 was answered",
    "dedup-key-not-kept": "seen dedup: {}",
    "priorities-backwards": "seen tags:",
    "cancel-of-an-active-job-dropped": "seen flags: []",
    "end-not-announced": "seen settled: []",
    "row-left-behind": "rows of `where`",
    "a-stall-uses-an-attempt": "seen ready:",
    "given-back-to-the-end": "seen tags:",
    "pause-overlooked": "allowed [[]]",
}
"""Plant -> what the comparison says first."""


@pytest.mark.timeout(300)  # a second or two; as many as test_protocol.py needs when a plant is not met
@pytest.mark.parametrize("name", CAUGHT)
def test_with_a_planted_bug_the_server_and_the_model_differ(server_url: str, name: str) -> None:
    with Ground(server_url) as ground, planted(name), pytest.raises(AssertionError) as differ:
        play(ground, examples=80, calls=80, shrink=False)
    assert CAUGHT[name] in str(differ.value)
