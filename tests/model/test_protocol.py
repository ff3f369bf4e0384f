"""The protocol held against its model: thousands of calls, in orders that nobody thought of, compared after each.

The same orders in every run; `python -m tests.model --minutes 60` tries new ones (docs/reliability.md).
"""

from __future__ import annotations

import pytest

from .ground import Ground
from .machine import play


@pytest.mark.timeout(600)  # a quarter of a minute when all is well; to shrink a failure to its few steps takes minutes
def test_after_every_call_the_server_holds_what_the_model_says(server_url: str) -> None:
    with Ground(server_url) as ground:
        play(ground, examples=120, calls=80)
        assert ground.steps > 4_000
        assert ground.claimed > 500, "a model of a queue in which little happens is true of any"
        assert ground.settled > 250
