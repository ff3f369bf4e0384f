"""Machine: draws what callers do next, does it to the server and to the model, and compares everything after each step.

Three workers, two producers and an operator. Hypothesis draws the order, and shrinks what fails to the few steps that matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from hypothesis.stateful import run_state_machine_as_test

from .ground import Ground
from .looking import Looking
from .operating import Operating
from .working import Working


class Machine(Working, Operating, Looking):
    """All rules together."""


def play(ground: Ground, *, examples: int, calls: int, seed: int | None = None, shrink: bool = True) -> None:
    """So many examples of at most so many calls, each on a queue of its own; always the same ones without a seed.

    AssertionError where the server and the model differ: its notes tell the shortest way there.
    """

    class HereMachine(Machine):
        """On this ground."""

    HereMachine.ground = ground
    with _the_same_draws():
        run_state_machine_as_test(
            HereMachine if seed is None else seeded(seed)(HereMachine),
            settings=settings(
                max_examples=examples,
                stateful_step_count=calls,
                derandomize=seed is None,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            ),
        )


NONE = Constants()


@contextmanager
def _the_same_draws() -> Iterator[None]:
    """hypothesis mixes numbers into its draws that it finds in whatever modules of ours happen to be loaded: which calls are played,
    and so what is found, then went by the tests that had run before in the same process. It has no setting for it."""
    providers.CONSTANTS_CACHE.cache.clear()
    with mock.patch.object(providers, "_get_local_constants", return_value=NONE):
        yield
    providers.CONSTANTS_CACHE.cache.clear()
